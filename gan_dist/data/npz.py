"""Arrays in NumPy's zip archives, whose headers are read before any memory is taken."""

from __future__ import annotations

import math
import zipfile
from typing import Any

import numpy as np
from numpy.lib import format as numpy_format
from numpy.typing import NDArray

from gan_dist.runs.unpacking import most_unpacked, size_of_stream, too_far


class Npz:
    """The arrays of an open `.npz` file by name.

    Args:
        stream: the file.

    Raises:
        zipfile.BadZipFile: it is no zip archive.
    """

    def __init__(self, stream: Any) -> None:
        self._stored = size_of_stream(stream)
        self._archive = zipfile.ZipFile(stream)
        self._members = {member.filename.removesuffix(".npy"): member for member in self._archive.infolist()}

    @property
    def files(self) -> list[str]:
        """The names of its arrays."""
        return list(self._members)

    def read(self, *names: str) -> list[NDArray[Any]]:
        """Some of its arrays.

        Raises:
            EOFError: together they unfold too far, or one is shorter than its header says.
            ValueError: one is no array, or one of Python's objects.
        """
        members = [self._members[name] for name in names]
        if sum(member.file_size for member in members) > most_unpacked(self._stored):
            raise EOFError(too_far(self._stored, f"what it holds as {', '.join(names)}"))
        found = []
        for member in members:
            with self._archive.open(member) as opened:
                check_header(opened, member.file_size)
            with self._archive.open(member) as opened:
                found.append(np.asarray(numpy_format.read_array(opened, allow_pickle=False)))
        return found


def check_header(stream: Any, size: int) -> None:
    """Whether an array is as long as its header says: NumPy takes that much memory before it reads.

    Args:
        stream: at the beginning of a `.npy` file.
        size: its bytes.

    Raises:
        EOFError: it is shorter.
        ValueError: it is no array.
    """
    version = numpy_format.read_magic(stream)
    read = numpy_format.read_array_header_1_0 if version == (1, 0) else numpy_format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize > size:
        raise EOFError(f"cut short: {size:,} bytes where its header says {dtype} of shape {shape}")
