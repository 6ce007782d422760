"""Pictures made of a person's own pictures, by a generator that was trained on pairs or on two domains."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_dist.data.encoding import image
from gan_dist.data.facts import PairFacts
from gan_dist.data.sources.registry import find_source, read_part
from gan_dist.errors import DataError, UsageError
from gan_dist.generation.model import Model
from gan_dist.generation.samples import CHUNK
from gan_dist.generation.sampling import move_into_place
from gan_dist.spec.data import ImageData, PictureData

SHOWN, ROWS = 24, 8
NamedImages = tuple[list[str], Tensor]


def read_inputs(model: Model, source: str) -> Iterator[NamedImages]:
    """Names and pixels, uint8 [n, C, H, W], of 64 pictures at a time, brought to the form that the model learnt from.

    Args:
        source: a folder, archive or table of pictures.

    Raises:
        ValueError: the model makes nothing of pictures.
        DataError: nothing is there, or a picture cannot be read.
    """
    facts, data = model.facts, model.spec.data
    if not isinstance(facts, PairFacts) or not isinstance(data, PictureData):
        raise UsageError(f"--inputs: {model.name} makes {facts.described} of noise alone; leave it out")
    channels = facts.input_channels
    asked = {"source": source, "size": facts.size, "channels": channels, "fit": data.fit, "background": data.background}
    rows = chain.from_iterable(map(read_part, find_source(ImageData.model_validate(asked)).parts))
    names: list[str] = []
    pixels: list[Tensor] = []
    for row in rows:
        if row.sample is None:
            raise DataError(f"--inputs: {row.name} in {source!r} cannot be used: {row.reason}")
        names.append(row.name)
        pixels.append(torch.from_numpy(np.array(row.sample)))
        if len(names) == CHUNK:
            yield names, torch.stack(pixels)
            names, pixels = [], []
    if names:
        yield names, torch.stack(pixels)


def translate(model: Model, given: Iterator[NamedImages], seed: int) -> Iterator[tuple[list[str], Tensor, Tensor]]:
    """Names, inputs and what is made of them; the noise of each belongs to the seed and its number."""
    first = 0
    for names, pixels in given:
        yield names, pixels, model.translate(pixels, seed=seed, first=first)
        first += len(names)


def translation_sheet(model: Model, source: str, seed: int) -> Image.Image:
    """The first 24 pictures, each beside what is made of it."""
    _, given, made = next(translate(model, read_inputs(model, source), seed))
    side_by_side = torch.stack([given[:SHOWN], made[:SHOWN]], 1).flatten(0, 1)
    return image.enlarge(image.make_grid(side_by_side, 2 * min(len(given), SHOWN // ROWS)))


def write_images(model: Model, source: str, seed: int, out: Path) -> int:
    """One PNG file for each picture, with its name, into a folder that appears when it is full; how many. In a folder
    with other files, those of the same names are replaced.

    Raises:
        ValueError: two would have the same name.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f".{out.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    count = 0
    try:
        for names, _, made in translate(model, read_inputs(model, source), seed):
            for name, pixels in zip(names, made, strict=True):
                path = fresh / Path(name).with_suffix(".png")
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.exists():
                    raise UsageError(f"--inputs: two pictures of {source!r} would be called {path.relative_to(fresh)}")
                path.write_bytes(image.encode_png(image.make_grid(pixels[None], 1)))
                count += 1
        move_into_place(fresh, out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return count
