"""The files below a local folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HIDDEN = (".", "__MACOSX")


class Entry(NamedTuple):
    """A file below a folder: its path relative to the folder, bytes, and time of change in nanoseconds."""

    name: str
    size: int
    changed: int


def list_files(root: Path) -> Iterator[Entry]:
    """Every file below, through links too, each folder once; hidden folders are passed over.

    Raises:
        OSError: a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise error

    seen: set[tuple[int, int]] = set()
    for here, folders, files in os.walk(root, followlinks=True, onerror=refuse):
        at = os.stat(here)
        if (at.st_dev, at.st_ino) in seen:
            folders.clear()
            continue
        seen.add((at.st_dev, at.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        below = "" if here == str(root) else f"{Path(here).relative_to(root).as_posix()}/"
        for name in files:
            try:
                found = os.stat(os.path.join(here, name))
                size, changed = found.st_size, found.st_mtime_ns
            except OSError:
                size, changed = 0, 0
            yield Entry(below + name, size, changed)
