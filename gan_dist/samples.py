"""Grids and samples of a generator, with their own randomness: training's is never touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from gan_dist.data.facts import DataFacts, TextFacts
from gan_dist.data.prepare import Prepared
from gan_dist.data.shards import SAMPLE, read_shard, samples_of
from gan_dist.data.tokens import EOS
from gan_dist.feed import Rows, drawn_classes
from gan_dist.modalities import image, text
from gan_dist.randomness import LEAST_LANE, Rng

COLUMNS, ROWS = 8, 8
CHUNK = 64


Sheet = Image.Image | list[str]


def fixed_sheet(generator: nn.Module, seed: int, facts: DataFacts, device: torch.device) -> Sheet:
    """Samples on the noise that belongs to `seed`, 8 a row, or as lines; with classes, 8 of each."""
    samples, cond = fixed_samples(generator, seed, facts, device)
    return sheet(samples, facts, cond)


def fixed_samples(
    generator: nn.Module, seed: int, facts: DataFacts, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """The samples of `fixed_sheet`, and their classes."""
    classes = len(facts.classes)
    count = COLUMNS * (classes or ROWS)
    cond = torch.arange(count, device=device) // COLUMNS if classes else None
    return generate(generator, count, seed, cond, device), cond


def sheet(samples: Tensor, facts: DataFacts, cond: Tensor | None = None) -> Sheet:
    """Samples as people look at them: one picture, or lines of text with their classes."""
    if not isinstance(facts, TextFacts):
        return image.enlarged(image.grid(samples, min(COLUMNS, len(samples))))
    lines = text.lines(samples, facts.codec)
    if cond is None:
        return lines
    return [f"{facts.classes[number]}: {line}" for number, line in zip(cond.tolist(), lines, strict=True)]


def real_sheet(rows: Rows, seed: int) -> Sheet:
    """The same of real samples."""
    samples, labels = real_samples(rows, seed)
    return sheet(samples, rows.facts, labels if rows.facts.classes else None)


def real_samples(rows: Rows, seed: int) -> tuple[Tensor, Tensor]:
    """The samples of `real_sheet`, and their labels."""
    shuffled = np.random.Generator(np.random.Philox(seed)).permutation(rows.facts.count)
    of_class = [shuffled[rows.labels[shuffled] == label] for label in range(len(rows.facts.classes))]
    chosen = np.concatenate([np.resize(one, COLUMNS) for one in of_class if len(one)] or [shuffled[: COLUMNS * ROWS]])
    return rows.rows(chosen)


def generate(generator: nn.Module, count: int, seed: int, cond: Tensor | None, device: torch.device) -> Tensor:
    """Samples, uint8 [count, C, H, W] or ids [count, T]; sample i of a seed is the same however many are asked for.

    Raises:
        ValueError: `count` is below 1.
    """
    return torch.cat(list(generate_chunks(generator, count, seed, cond, device)))


def generate_chunks(
    generator: nn.Module, count: int, seed: int, cond: Tensor | None, device: torch.device
) -> Iterator[Tensor]:
    """The same in chunks of 64, each made when asked for.

    Raises:
        ValueError: `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"samples: {count} were asked for; at least 1")
    starts = range(0, count, CHUNK)
    return (_chunk(generator, range(s, min(s + CHUNK, count)), seed, cond, device) for s in starts)


def _chunk(generator: nn.Module, wanted: range, seed: int, cond: Tensor | None, device: torch.device) -> Tensor:
    """Samples of a stretch that begins with a lane. A lane's numbers are drawn whole or they would be others, so the
    last one may hold samples that nobody wants; they are cut off."""
    rng = _rng(generator, wanted, (seed, "sample"), device)
    classes = None
    if cond is not None:
        known = cond[wanted.start : wanted.stop]
        classes = torch.cat([known, known[-1:].expand(rng.n - len(wanted))])
    return _made(generator, rng, classes)[: len(wanted)]


def measured(generator: nn.Module, wanted: range, seed: int, shares: Tensor | None, device: torch.device) -> Tensor:
    """Samples for metrics: the same ones for a seed wherever the run stands, of whole lanes.

    Args:
        shares: how often each class is to come, summed up, [classes]; None when unconditional.
    """
    rng = _rng(generator, wanted, (seed, "metric"), device)
    classes = None
    if shares is not None:
        classes = drawn_classes(shares, _rng(generator, wanted, (seed, "metric", "classes"), device))
    return _made(generator, rng, classes)


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
        path.write_bytes(image.png(shown))
    return path


def save_files(chunks: Iterable[Tensor], facts: DataFacts, folder: Path) -> list[Path]:
    """Each picture as `000000.png`, `000001.png`, ..., or all sentences as lines of `samples.txt`; the files' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(facts, TextFacts):
        with (folder / "samples.txt").open("w") as stream:
            for chunk in chunks:
                stream.writelines(f"{line}\n" for line in text.lines(chunk, facts.codec))
        return [folder / "samples.txt"]
    written: list[Path] = []
    for chunk in chunks:
        for pixels in chunk:
            path = folder / f"{len(written):06d}.png"
            path.write_bytes(image.png(image.grid(pixels[None], 1)))
            written.append(path)
    return written


def sentence_lengths(found: Prepared) -> NDArray[np.int64]:
    """Tokens of each sentence of a prepared folder, without its end, in canonical order."""
    blocks = [samples_of(read_shard(found.folder, file, [SAMPLE])) for file in found.shards]
    return np.concatenate([(block > EOS).sum(1) for block in blocks])


def contact_sheet(found: Prepared, stem: Path) -> Path:
    """64 evenly spaced samples of a prepared folder in one file; its path."""
    chosen = np.linspace(0, found.facts.count - 1, min(COLUMNS * ROWS, found.facts.count)).astype(int)
    shown, first = [], 0
    for file, rows in found.shards.items():
        here = chosen[(chosen >= first) & (chosen < first + rows)] - first
        if len(here):
            shown.append(samples_of(read_shard(found.folder, file, [SAMPLE]))[here])
        first += rows
    return save_sheet(sheet(torch.from_numpy(np.concatenate(shown)), found.facts), stem)
