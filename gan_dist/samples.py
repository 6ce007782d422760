"""Grids and samples of a generator, with their own randomness: training's is never touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gan_dist.feed import Rows
from gan_dist.modalities import image
from gan_dist.randomness import one_lane

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
    """uint8 samples [count, C, H, W]; the same for the same seed, whatever the chunk."""
    return torch.cat(list(generate_chunks(generator, count, seed, cond, device)))


@torch.no_grad()
def generate_chunks(
    generator: nn.Module, count: int, seed: int, cond: Tensor | None, device: torch.device
) -> Iterator[Tensor]:
    """The same in chunks of 64, for any number of samples."""
    maker: Any = generator
    dtype = next(generator.parameters()).dtype
    with torch.random.fork_rng(devices=[]):
        for start in range(0, count, CHUNK):
            n = min(CHUNK, count - start)
            rng = one_lane((seed, "sample", start), n, device, dtype)
            classes = cond[start : start + n] if cond is not None else None
            yield image.decode(maker(maker.draw(n, rng), classes))


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
