"""The handwritten digits that come with scikit-learn (UCI's optical recognition test set)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def load_digits() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Grey pictures [1797, 8, 8] from 0 to 16, and the digits they show [1797].

    Only the file is read: importing scikit-learn takes two seconds.
    """
    package: Any = find_spec("sklearn")
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1]
