"""The handwritten digits that come with scikit-learn (UCI's optical recognition test set)."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.source import Counted, Listing, Part, RawSample, state_of
from gan_dist.errors import DataError
from gan_dist.spec.data import ImageData


def list_digits(data: ImageData) -> Listing:
    if data.labels == "folders":
        raise DataError("data.labels: 'folders' needs a folder of images; for digits use 'source' or 'none'")
    _, shown = load_digits()
    names = Counted("digit", len(shown))
    labels = [int(label) for label in shown] if data.labels == "source" else []
    return Listing("digits", "digits", state_of(["digits"]), "", names, labels)


def read_digits(part: Part) -> Iterator[RawSample]:
    greys, _ = load_digits()
    for name, place, label in part.rows():
        yield RawSample(name, np.rint(greys[place] * (255 / 16)), label)


def load_digits() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Grey pictures [1797, 8, 8] from 0 to 16, and the digits they show [1797].

    Only the file is read: importing scikit-learn takes two seconds.
    """
    package: Any = find_spec("sklearn")
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1]
