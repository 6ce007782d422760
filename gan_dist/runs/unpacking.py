"""What a packed file may unfold to: a few bytes can stand for gigabytes. Whoever unpacks asks here first."""

from __future__ import annotations

import io
import os
import zipfile
from typing import Any, Self

LARGEST_BYTES = 512 << 20  # of one file or member that is held whole
UNPACKED = 256 << 20  # that any packed file may unfold to
RATIO = 200  # and how many times what is stored, where that is more; text and flat pictures stay below
LARGEST_JSON = 64 << 20  # of a record of ours


def most_unpacked(stored: int) -> int:
    """The most bytes that a packed file of `stored` bytes may unfold to."""
    return max(UNPACKED, RATIO * stored)


def too_far(stored: int, what: str = "it") -> str:
    """What is said of a packed file that unfolds to more."""
    return f"{what} unfolds to more than {most_unpacked(stored):,} bytes, and {stored:,} are stored"


def size_of_stream(stream: Any) -> int:
    """The bytes of an open file; it stands at its beginning then."""
    size = int(stream.seek(0, os.SEEK_END))
    stream.seek(0)
    return size


class Unpacked:
    """What a packed stream holds, as far as it may unfold.

    Args:
        stream: which unpacks as it is read.
        stored: how many bytes it unpacks.
    """

    def __init__(self, stream: Any, stored: int) -> None:
        self.stream, self.stored = stream, stored
        self.left = most_unpacked(stored)

    def read(self, count: int = -1) -> bytes:
        """Some bytes, or all.

        Raises:
            EOFError: there are more than there may be.
        """
        wanted = self.left + 1 if count < 0 else min(count, self.left + 1)
        content = bytes(self.stream.read(wanted))
        self.left -= len(content)
        if self.left < 0:
            raise EOFError(too_far(self.stored))
        return content

    def close(self) -> None:
        """Close the packed stream."""
        self.stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_zip(archive: zipfile.ZipFile, stored: int) -> None:
    """Whether the members of a zip archive of `stored` bytes may be unpacked. No member gives more than it says.

    Raises:
        EOFError: together they unfold too far.
    """
    if sum(member.file_size for member in archive.infolist()) > most_unpacked(stored):
        raise EOFError(too_far(stored))


def open_zip(content: bytes) -> zipfile.ZipFile:
    """A zip archive in memory whose members may be unpacked.

    Raises:
        EOFError: they unfold too far.
        zipfile.BadZipFile: it is none.
    """
    archive = zipfile.ZipFile(io.BytesIO(content))
    check_zip(archive, len(content))
    return archive
