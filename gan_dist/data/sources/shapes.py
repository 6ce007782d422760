"""Two domains of drawn pictures, for trying translation offline: discs and squares of one colour, and striped ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.source import Counted, Listing, Part, RawSample, state_of
from gan_dist.distributed.lanes import seed_of
from gan_dist.errors import DataError
from gan_dist.spec.data import DRAWN, ImageData

KIND, COUNT, SIDE, MOST = "shapes", 1000, 64, 3
STRIPE = 9.0  # pixels from one stripe to the next


def list_shapes(data: ImageData) -> Listing:
    """The 1000 pictures of one domain, each drawn by its number.

    Raises:
        DataError: labels are asked for.
    """
    if data.labels != "none":
        raise DataError(f"data.labels: {data.labels!r}, but {data.source} has none; leave it out")
    names = Counted("picture", COUNT)
    return Listing(kind=KIND, where=data.source, state=state_of([data.source]), root=data.source, names=names)


def read_shapes(part: Part) -> Iterator[RawSample]:
    """The pictures of a part, uint8 [64, 64, 3] each."""
    for name, place, label in part.rows():
        yield RawSample(name, draw_shapes(part.root == DRAWN[1], place), label)


def draw_shapes(striped: bool, number: int) -> NDArray[np.uint8]:
    """One to three shapes on a dark ground, [64, 64, 3]. Both domains draw places, sizes and colours alike, each for
    itself, so that no picture of one has a partner in the other."""
    random = np.random.Generator(np.random.Philox(seed_of("shapes", striped, number)))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    picture = np.broadcast_to(random.uniform(10, 60, 3), (SIDE, SIDE, 3)).copy()
    for _ in range(random.integers(1, MOST + 1)):
        colour, radius = random.uniform(100, 255, 3), random.uniform(8, 16)
        high, wide = random.uniform(radius, SIDE - radius, 2)
        inside = _inside(rows - high, columns - wide, radius, disc=random.uniform() < 0.5)
        picture[inside] = _light(rows + columns, colour, striped)[inside]
    return np.rint(picture).astype(np.uint8)


def _inside(rows: NDArray[Any], columns: NDArray[Any], radius: float, *, disc: bool) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (
        rows**2 + columns**2 < radius**2 if disc else np.maximum(abs(rows), abs(columns)) < 0.85 * radius
    )
    return found


def _light(diagonal: NDArray[Any], colour: NDArray[np.float64], striped: bool) -> NDArray[np.float64]:
    """The colour of each place, in stripes between it and black where it is striped, [64, 64, 3]."""
    share = 0.5 + 0.5 * np.cos(2 * np.pi * diagonal / STRIPE / np.sqrt(2)) if striped else np.ones(diagonal.shape)
    return share[:, :, None] * colour
