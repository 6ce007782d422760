"""Grids and samples of a generator, with their own randomness: training's is never touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.data.codec import EOS
from gan_dist.data.conditioning import Conditioning
from gan_dist.data.encoding import image, text
from gan_dist.data.facts import DataFacts, LatentFacts, TextFacts
from gan_dist.data.ingest import Ingest
from gan_dist.data.prepare import Prepared
from gan_dist.data.shards import ShardReader
from gan_dist.distributed.lanes import LEAST_LANE
from gan_dist.distributed.randomness import Rng
from gan_dist.errors import UsageError
from gan_dist.generation.latent_codec import LatentCodec

COLUMNS, ROWS = 8, 8
CHUNK = 64


Sheet = Image.Image | list[str]


def fixed_samples(
    generator: nn.Module, seed: int, facts: DataFacts, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Samples on the noise that belongs to `seed`, 64 or 8 of each class, known vector or prompt; and these."""
    known = known_conditions(facts)
    count = COLUMNS * (ROWS if known is None else len(known))
    number = torch.arange(count, device=device) // COLUMNS
    cond = None if known is None else known.to(device)[number]
    return generate(generator, count, seed, cond, device), cond


def known_conditions(facts: DataFacts) -> Tensor | None:
    """What samples can be conditioned on without the data: all classes [M], some vectors [M, K], or some prompts [M,
    P]; None where on nothing."""
    if facts.vectors:
        return torch.tensor(facts.vectors)
    if isinstance(facts, TextFacts) and facts.codec.prompt is not None:
        return text.encode_prompts(facts.prompts, facts.codec)
    return torch.arange(len(facts.classes)) if facts.classes else None


def render_sheet(samples: Tensor, facts: DataFacts, cond: Tensor | None = None) -> Sheet:
    """Samples as people look at them: one picture, or lines of text with their classes or prompts."""
    if not isinstance(facts, TextFacts):
        return image.enlarge(image.make_grid(samples, min(COLUMNS, len(samples))))
    if facts.codec.prompt is not None and cond is not None:
        return text.decode_prompted(cond, samples, facts.codec)
    lines = text.decode_lines(samples, facts.codec)
    if cond is None:
        return lines
    return [f"{facts.classes[number]}: {line}" for number, line in zip(cond.tolist(), lines, strict=True)]


def real_samples(rows: Ingest, seed: int) -> tuple[Tensor, Tensor]:
    """Real samples for a sheet, 64 or 8 of each class, and their labels, on the CPU."""
    shuffled = np.random.Generator(np.random.Philox(seed)).permutation(rows.facts.count)
    of_class = [shuffled[rows.labels[shuffled] == label] for label in range(len(rows.facts.classes))]
    chosen = np.concatenate([np.resize(one, COLUMNS) for one in of_class if len(one)] or [shuffled[: COLUMNS * ROWS]])
    samples, labels = rows.rows(chosen)
    return samples.cpu(), labels.cpu()


def generate(generator: nn.Module, count: int, seed: int, cond: Tensor | None, device: torch.device) -> Tensor:
    """Samples, uint8 [count, C, H, W] or ids [count, T]; sample i of a seed is the same however many are asked for.

    Raises:
        ValueError: `count` is below 1.
    """
    return torch.cat(list(generate_chunks(generator, count, seed, cond, device)))


def generate_chunks(
    generator: nn.Module, count: int, seed: int, cond: Tensor | None, device: torch.device, first: int = 0
) -> Iterator[Tensor]:
    """The same in chunks of 64, each made when asked for.

    Args:
        cond: classes of these samples, [count], vectors, [count, K], or of pairs what they are made of, [count, C, H,
            W].
        first: number of the first one; a multiple of 64, so that every sample is computed in the same batch of 64.

    Raises:
        ValueError: `count` is below 1.
    """
    assert first % CHUNK == 0
    if count < 1:
        raise UsageError(f"samples: {count} were asked for; at least 1")
    parts: list[Tensor | None] = [None] * -(-count // CHUNK) if cond is None else list(torch.split(cond, CHUNK))
    starts = range(first, first + count, CHUNK)
    return (
        _chunk(generator, range(start, min(start + CHUNK, first + count)), seed, part, device)
        for start, part in zip(starts, parts, strict=True)
    )


def _chunk(generator: nn.Module, wanted: range, seed: int, cond: Tensor | None, device: torch.device) -> Tensor:
    """Samples of a range that begins with a lane. A lane's numbers are drawn whole or they would be others, so the
    last one may hold samples that nobody wants; they are cut off."""
    rng = _rng(generator, wanted, (seed, "sample"), device)
    if cond is not None:
        cond = torch.cat([cond, cond[-1:].expand(rng.n - len(wanted), *cond.shape[1:])]).to(device)
    return _made(generator, rng, cond)[: len(wanted)]


def first_noise(generator: nn.Module, seeds: Sequence[int], device: torch.device) -> Any:
    """The noise of the first sample of each seed, in the generator's own form with one row for each."""
    maker: Any = generator
    drawn = []
    for seed in seeds:
        rng = _rng(generator, range(1), (seed, "sample"), device)
        drawn.append(map_tensors(lambda leaf: leaf[:1], maker.draw(rng.n, rng)))
    return map_tensors(lambda *leaves: torch.cat(leaves), *drawn)


def map_tensors(change: Callable[..., Tensor], *noises: Any) -> Any:
    """Noises of one form, changed together tensor by tensor."""
    if isinstance(noises[0], Tensor):
        return change(*noises)
    if isinstance(noises[0], dict):
        return {key: map_tensors(change, *(noise[key] for noise in noises)) for key in noises[0]}
    return type(noises[0])(map_tensors(change, *parts) for parts in zip(*noises, strict=True))


def metric_samples(
    generator: nn.Module,
    wanted: range,
    seed: int,
    conditioning: Conditioning | None,
    device: torch.device,
    given: Tensor | None = None,
) -> Tensor:
    """Samples for metrics: the same ones for a seed wherever the run stands, of whole lanes.

    Args:
        conditioning: what they are conditioned on; None when unconditional.
        given: of pairs, what each is made of.
    """
    if conditioning is not None:
        given = conditioning.at(metric_labels(generator, wanted, seed, conditioning, device))
    return _made(generator, _rng(generator, wanted, (seed, "metric"), device), given)


def metric_labels(
    generator: nn.Module, wanted: range, seed: int, conditioning: Conditioning, device: torch.device
) -> Tensor:
    """The numbers of their classes or vectors, of whole lanes too."""
    return conditioning.draw_numbers(_rng(generator, wanted, (seed, "metric", "classes"), device))


def _rng(generator: nn.Module, wanted: range, key: tuple[object, ...], device: torch.device) -> Rng:
    lanes = range(wanted.start // LEAST_LANE, -(-wanted.stop // LEAST_LANE))
    return Rng(key, [(lane, LEAST_LANE) for lane in lanes], device, next(generator.parameters()).dtype)


@torch.no_grad()
def _made(generator: nn.Module, rng: Rng, classes: Tensor | None) -> Tensor:
    maker: Any = generator
    with torch.random.fork_rng(devices=[]):
        made = maker(maker.draw(rng.n, rng), classes)
    # Token ids are what they are; only pictures are numbers in between.
    return image.decode(made) if made.is_floating_point() else made.cpu()


def save_sheet(shown: Sheet, stem: Path) -> Path:
    """Samples in one file, a PNG or text; the file's path."""
    if isinstance(shown, list):
        path = stem.with_name(f"{stem.name}.txt")
        path.write_text("".join(f"{line}\n" for line in shown))
    else:
        path = stem.with_name(f"{stem.name}.png")
        path.write_bytes(image.encode_png(shown))
    return path


def sentence_lengths(found: Prepared) -> NDArray[np.int64]:
    """Tokens of each sentence of a prepared folder, without its end and its prompt, in canonical order."""
    form = found.facts
    first = form.codec.prompt_length if isinstance(form, TextFacts) else 0
    shards = ShardReader(found.folder, found.records, found.column("label"))
    return np.concatenate([(shards.read(number)[:, first:] > EOS).sum(1) for number in range(len(found.records))])


def contact_sheet(found: Prepared, stem: Path) -> Path:
    """64 evenly spaced samples of a prepared folder in one file; its path."""
    chosen = np.linspace(0, found.facts.count - 1, min(COLUMNS * ROWS, found.facts.count)).astype(int)
    shards = ShardReader(found.folder, found.records, found.column("label"))
    shown, first = [], 0
    for number, rows in enumerate(found.shards.values()):
        here = chosen[(chosen >= first) & (chosen < first + rows)] - first
        if len(here):
            shown.append(shards.read(number)[here])
        first += rows
    samples, given = torch.from_numpy(np.concatenate(shown)), None
    if isinstance(found.facts, TextFacts):
        samples, given = text.split_prompts(samples, found.facts.codec)
    if isinstance(found.facts, LatentFacts):
        samples = LatentCodec.of(found.facts, torch.device("cpu")).pictures(samples)
    return save_sheet(render_sheet(samples, found.facts, given), stem)


COMPARED = 64


LARGEST = 64  # pixels, which tell samples apart as well as more do


def mean_nearest_distance(samples: Tensor) -> float:
    """Mean distance of each of the first 64 samples to the nearest other one.

    Args:
        samples: uint8 pixels [N, C, H, W], compared by their Euclidean distance at 64 pixels or less, or token ids
            [N, T], by the share of places in which they differ.
    """
    if samples.ndim > 2:
        pixels = samples[:COMPARED].float() / 255
        height, width = (min(LARGEST, side) for side in pixels.shape[2:])
        rows = F.adaptive_avg_pool2d(pixels, (height, width)).flatten(1)
        between = torch.cdist(rows, rows)
    else:
        rows = samples[:COMPARED]
        between = (rows[:, None] != rows[None]).float().mean(2)
    return float(between.fill_diagonal_(float("inf")).amin(1).mean())
