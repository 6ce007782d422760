"""The handwritten digits that come with scikit-learn (UCI's optical recognition test set)."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.images import grey_to_pixels
from gan_dist.data.source import DataError, Part, Row, Source, cuts, rows_of_a_part, state_of
from gan_dist.spec.job import DataSpec

COUNT = 1797


def find_digits(data: DataSpec) -> Source:
    if data.labels == "folders":
        raise DataError("data.labels: 'folders' needs a folder of images; for digits use 'source' or 'none'")
    classes = tuple(str(digit) for digit in range(10)) if data.labels == "source" else ()
    channels = 1 if data.channels == "auto" else data.channels
    parts = tuple(
        Part("digits", rows.start, len(rows), data.size, channels, labels="yes" if classes else "")
        for rows in cuts(COUNT, rows_of_a_part(data.size, channels))
    )
    return Source("digits", state_of(["digits"]), parts, classes, channels, data.channels != "auto")


def read_digits(part: Part) -> Iterator[Row]:
    greys, labels = load_digits()
    for number in range(part.first, part.first + part.count):
        pixels = grey_to_pixels(np.rint(greys[number] * (255 / 16)), part.size, part.channels)
        yield Row(f"digit {number}", pixels, int(labels[number]) if part.labels else 0, 1)


def load_digits() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Grey pictures [1797, 8, 8] from 0 to 16, and the digits they show [1797].

    Only the file is read: importing scikit-learn takes two seconds.
    """
    package: Any = find_spec("sklearn")
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1]
