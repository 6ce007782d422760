"""Grids and samples of a generator, with their own randomness: training's is never touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gan_dist.data.prepare import Prepared
from gan_dist.data.shards import pixels_of, read_shard
from gan_dist.feed import Rows, drawn_classes
from gan_dist.modalities import image
from gan_dist.randomness import LEAST_LANE, Rng

COLUMNS, ROWS = 8, 8
CHUNK = 64


def fixed_grid(generator: nn.Module, seed: int, classes: int, device: torch.device) -> Image.Image:
    """Samples on the noise that belongs to `seed`, 8 a row; with classes, a row for each."""
    count = COLUMNS * (classes or ROWS)
    cond = torch.arange(count, device=device) // COLUMNS if classes else None
    return image.enlarged(image.grid(generate(generator, count, seed, cond, device), COLUMNS))


def real_grid(rows: Rows, seed: int) -> Image.Image:
    """A grid of real samples; with classes, a row for each."""
    shuffled = np.random.Generator(np.random.Philox(seed)).permutation(rows.facts.count)
    of_class = [shuffled[rows.labels[shuffled] == label] for label in range(len(rows.facts.classes))]
    chosen = np.concatenate([np.resize(one, COLUMNS) for one in of_class if len(one)] or [shuffled[: COLUMNS * ROWS]])
    return image.enlarged(image.grid(rows.rows(chosen)[0], COLUMNS))


def generate(generator: nn.Module, count: int, seed: int, cond: Tensor | None, device: torch.device) -> Tensor:
    """uint8 samples [count, C, H, W]; sample i of a seed is the same however many are asked for.

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
    """uint8 samples for metrics: the same ones for a seed wherever the run stands, of whole lanes.

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
        return image.decode(maker(maker.draw(rng.n, rng), classes))


def save_grid(pixels: Tensor, path: Path) -> Path:
    """Samples as one picture, 8 in a row; the file's path."""
    path.write_bytes(image.png(image.enlarged(image.grid(pixels, min(COLUMNS, len(pixels))))))
    return path


def save_files(chunks: Iterable[Tensor], folder: Path) -> list[Path]:
    """Each sample as `000000.png`, `000001.png`, ...; the files' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for chunk in chunks:
        for pixels in chunk:
            path = folder / f"{len(written):06d}.png"
            path.write_bytes(image.png(image.grid(pixels[None], 1)))
            written.append(path)
    return written


def contact_sheet(found: Prepared, path: Path) -> Path:
    """64 evenly spaced images of a prepared folder as one picture; the file's path."""
    chosen = np.linspace(0, found.facts.count - 1, min(COLUMNS * ROWS, found.facts.count)).astype(int)
    shown, first = [], 0
    for file, rows in found.shards.items():
        here = chosen[(chosen >= first) & (chosen < first + rows)] - first
        if len(here):
            shown.append(pixels_of(read_shard(found.folder, file, ["image"]))[here])
        first += rows
    return save_grid(torch.from_numpy(np.concatenate(shown)), path)
