"""Many samples, cut into numbered stretches. What is in one is a pure function of the checkpoint, the seed and the
place, so that anybody may make it, in any order, and again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from gan_dist.data.facts import DataFacts, ImageFacts
from gan_dist.distributed.device import pick_device
from gan_dist.errors import UsageError
from gan_dist.generation.model import Model, load
from gan_dist.generation.output_formats import encode_samples
from gan_dist.generation.samples import CHUNK

MOST, MOST_BYTES = 1024, 64 << 20
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


class SampleRange(NamedTuple):
    """Consecutive samples of one seed, `many` from `first` on; `number` counts stretches."""

    number: int
    seed: int
    first: int
    many: int


@dataclass(frozen=True)
class SamplingPlan:
    """What is drawn: all that decides a sample, and the form it is kept in.

    Attributes:
        checkpoint: folder of a checkpoint or of an exported generator.
        seeds, n: the first n samples of each seed.
        form: png, parquet or txt.
        weights, truncation, cls: as in `gan_dist.load` and `Model.sample`.
        temperature, top_k, top_p, prefix: of text, as in `Model.draw_with`.
        device: auto, cpu or cuda; a seed's samples are the same on one kind of device.
    """

    checkpoint: str
    seeds: Sequence[int]
    n: int
    form: str = "png"
    weights: str = "ema"
    truncation: float | None = None
    cls: str | None = None
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    prefix: str = ""
    device: str = "cpu"

    def model(self) -> Model:
        """The model that draws them. Raises what `load` and `draw_with` raise."""
        found = load(self.checkpoint, self.weights, self.truncation)
        if (self.temperature, self.top_k, self.top_p, self.prefix) != (1.0, None, 1.0, ""):
            found.draw_with(self.temperature, self.top_k, self.top_p, self.prefix)
        found.generator.to(pick_device(self.device))
        return found

    def stretches(self, facts: DataFacts) -> list[SampleRange]:
        """What is to be made, at most 1024 samples or 64 MiB of pixels at a time."""
        size = MOST
        if isinstance(facts, ImageFacts):
            each = facts.channels * facts.size**2
            size = min(MOST, max(1, MOST_BYTES // each // CHUNK) * CHUNK)
        places = [(seed, first) for seed in self.seeds for first in range(0, self.n, size)]
        return [
            SampleRange(number, seed, first, min(size, self.n - first)) for number, (seed, first) in enumerate(places)
        ]

    def content(self, model: Model, stretch: SampleRange) -> bytes:
        """A stretch as a file's content."""
        prefix = f"seed{stretch.seed}-" if len(self.seeds) > 1 else ""
        classes = model.classes_of(stretch.many, self.cls, stretch.first)
        chunks = model.sample_chunks(stretch.many, stretch.seed, self.cls, stretch.first)
        return encode_samples(
            chunks, self.form, model.facts, stretch, prefix, None if classes is None else classes.tolist()
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SamplingPlan:
        return cls(**json.loads(text))


Executor = Callable[[SamplingPlan, Sequence[SampleRange]], Iterator[tuple[int, bytes]]]


def sample_in_process(sampling: SamplingPlan, stretches: Sequence[SampleRange]) -> Iterator[tuple[int, bytes]]:
    """The executor of this process: each stretch's number and content."""
    model = sampling.model()
    for stretch in stretches:
        yield stretch.number, sampling.content(model, stretch)


def parse_seeds(written: str) -> list[int]:
    """`7`, `1-4` or `1,5,7-9` as a list of seeds, in this order.

    Raises:
        ValueError: it is none of these.
    """
    found: list[int] = []
    for part in written.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"seeds: {written!r} must be a number, a range such as 1-4, or several: 1,5,7-9")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    if len(set(found)) < len(found):
        raise UsageError(f"seeds: {written!r} names a seed twice")
    return found
