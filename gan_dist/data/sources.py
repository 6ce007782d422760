"""What can be read: the name of a source to its parts, and a part to its rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gan_dist.data.digits import find_digits, read_digits
from gan_dist.data.folders import find_folder, read_folder
from gan_dist.data.idx import find_idx, idx_images, read_idx
from gan_dist.data.source import DataError, Part, Row, Source
from gan_dist.data.standin import read_noise
from gan_dist.spec.job import DataSpec

READERS = {"digits": read_digits, "folder": read_folder, "idx": read_idx, "noise": read_noise}


def find(data: DataSpec) -> Source:
    """List what `data.source` holds.

    Raises:
        DataError: nothing is there, nothing in it is an image, or the labels asked for do not exist.
    """
    if data.source == "digits":
        return find_digits(data)
    if "://" in data.source:
        raise DataError(
            f"data.source: {data.source!r} is a URI; this version reads 'digits', a folder of images, or IDX files"
        )
    path = Path(data.source).expanduser()
    if not path.exists():
        raise DataError(f"data.source: {data.source!r} does not exist{_nearest(path)}")
    if (images := idx_images(path)) is not None:
        return find_idx(data, images)
    if path.is_file():
        raise DataError(f"data.source: {data.source!r} is a file but not an IDX image file")
    return find_folder(data, path)


def read(part: Part) -> Iterator[Row]:
    """Every row of a part, rejected ones with their reason."""
    yield from READERS[part.kind](part)


def _nearest(path: Path) -> str:
    from difflib import get_close_matches

    if not path.parent.is_dir():
        return ""
    near = get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    return f"; did you mean {str(path.parent / near[0])!r}?" if near else ""
