"""What samples share with real data: nearest training samples, and held-out sentences that the generator has seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gan_dist.data.codec import UNK, Codec
from gan_dist.data.encoding import image
from gan_dist.data.facts import TextFacts
from gan_dist.data.ingest import Ingest
from gan_dist.evaluation import metric_runner
from gan_dist.evaluation.inputs import EvaluationSamples
from gan_dist.evaluation.metric_runner import MetricRunner
from gan_dist.metrics.image.prdc import nearest_distances
from gan_dist.metrics.text.copies import find_copies
from gan_dist.metrics.text.references import TokenSentences, strip_padding
from gan_dist.spec.fields import Held

CHUNK = 2**14  # sentences that are looked at together


@dataclass(frozen=True)
class HeldOutOverlap:
    """What was compared with.

    Attributes:
        split: what these sentences are for.
        count: how many there are.
        known: how many of them stand in the training text too.
    """

    split: Held
    count: int
    known: int

    @property
    def warnings(self) -> list[str]:
        if not self.known:
            return []
        return [f"{self.known:,} of {self.count:,} {self.split} sentences are in the training text too"]


def find_held_out_overlap(measuring: MetricRunner, rows: Ingest, split: Held) -> HeldOutOverlap | None:
    """The held-out sentences that metrics compare with; None where none does.

    Args:
        measuring: the metrics.
        rows: what is learnt from.
        split: which sentences these metrics were built with.
    """
    facts = rows.facts
    if not isinstance(facts, TextFacts) or not any(getattr(one.metric, "by_split", ()) for one in measuring.built):
        return None
    if (kept := facts.held_out(split)) is None:
        return None
    # A word that training does not know may be any word.
    asked = Counter(row.tobytes() for row in kept.rows() if UNK not in row or facts.oracle is not None)
    seen: set[bytes] = set()
    for start in range(0, facts.count, CHUNK):
        learnt = rows.rows(np.arange(start, min(start + CHUNK, facts.count)))[0].numpy().astype(np.int64)
        seen |= asked.keys() & {row.tobytes() for row in learnt}
    return HeldOutOverlap(split, len(kept.texts), sum(asked[row] for row in seen))


PASSAGE = 8  # tokens of the shortest passage that is listed
LISTED = 1000  # generated sentences that are looked at, unless another number is asked for


class CopiedText(NamedTuple):
    """A passage that a generated sentence takes from the training text word for word.

    Attributes:
        sample: number of the generated sentence.
        text: what it says.
        passage: what both say.
        tokens: how long that is.
        stands: place of the training sentence in canonical order.
        name: what it is called there, such as `stories.txt:17`; empty where nobody knows.
        source: what it says.
    """

    sample: int
    text: str
    passage: str
    tokens: int
    stands: int
    name: str
    source: str


def find_copied_texts(a: EvaluationSamples, b: Ingest, samples: int) -> list[CopiedText]:
    """Passages of eight tokens or more of A's samples that stand in B, the longest first.

    Args:
        samples: how many of A's are looked through.
    """
    facts = b.facts
    assert isinstance(facts, TextFacts)
    made = drawn_sentences(a, facts.codec.eos, samples)
    starts = range(0, facts.count, CHUNK)
    parts = [b.rows(np.arange(at, min(at + CHUNK, facts.count)))[0].cpu() for at in starts]
    known = strip_padding(torch.cat(parts), facts.codec.eos)
    ours, theirs = (np.split(text.tokens, text.ends[:-1]) for text in (made, known))
    found = [
        CopiedText(
            sample=one.sentence,
            text=_written(ours[one.sentence], facts.codec),
            passage=_written(ours[one.sentence][one.begins : one.begins + one.length], facts.codec),
            tokens=one.length,
            stands=one.source,
            name="",
            source=_written(theirs[one.source], facts.codec),
        )
        for one in find_copies(made, known, PASSAGE)
    ]
    return sorted(found, key=lambda one: (-one.tokens, one.sample))


def drawn_sentences(a: EvaluationSamples, eos: int | None, samples: int) -> TokenSentences:
    """The first of A's sentences."""
    chunks = range(0, samples, metric_runner.CHUNK)
    drawn = torch.cat([a.draw(range(at, at + metric_runner.CHUNK)).cpu() for at in chunks])[:samples]
    return strip_padding(drawn, eos)


def _written(ids: NDArray[np.int64], codec: Codec) -> str:
    return codec.text(ids.tolist())


SHOWN, BESIDE = 8, 5
METRIC = "memorised"


class NearestNeighbors(NamedTuple):
    """Samples beside the training samples that are nearest to them, by features: what `memorised` counts, to be seen.

    Of each sample, the place of the nearest training sample and the distance; and the closest pairs as a picture.
    """

    places: NDArray[np.int64]
    distances: NDArray[np.float64]
    picture: Image.Image


def find_nearest_neighbors(measuring: MetricRunner, a: EvaluationSamples, b: Ingest) -> NearestNeighbors:
    """The samples of A and their nearest neighbours among all of B.

    The picture has a row for each of the eight samples that are closest to the data: the sample, its nearest
    neighbour, and the four after it.

    Args:
        measuring: of the metric `memorised` alone.
    """
    real, fake = measuring.features(a.draw, b)
    distances, places = nearest_distances(fake, real)
    chosen = distances.argsort()[:SHOWN]
    far = torch.cdist(fake[chosen].double(), real.double())
    beside = far.argsort(1)[:, : min(BESIDE, len(real))].cpu()
    rows = []
    for number, near in zip(chosen.tolist(), beside, strict=True):
        # By whole chunks, as for their features; each of those, and not many thousand samples for one picture.
        drawn = metric_runner.CHUNK
        start = number // drawn * drawn
        rows.append(a.draw(range(start, start + drawn))[number - start : number - start + 1].cpu())
        rows.append(b.rows(near.numpy())[0])
    picture = image.enlarge(image.make_grid(torch.cat(rows), 1 + beside.shape[1]))
    return NearestNeighbors(places.cpu().numpy(), distances.cpu().numpy(), picture)
