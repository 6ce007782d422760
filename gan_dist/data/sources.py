"""What can be read: the embedded digits, a folder of images, IDX files. Each part of a source is read alone."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gan_dist.data.digits import load_digits
from gan_dist.data.images import (
    SUFFIXES,
    Pixels,
    Unreadable,
    channels_of,
    grey_to_pixels,
    open_image,
    to_pixels,
)
from gan_dist.spec.job import DataSpec

PROBED = 64


class DataError(ValueError):
    """The data of a job cannot be used; the text says what is wrong and what would work."""


class Row(NamedTuple):
    """One sample, or, when `reason` says why not, the place of one that was rejected."""

    name: str
    pixels: Pixels | None
    label: int
    native_channels: int
    reason: str = ""


@dataclass(frozen=True)
class Part:
    """A piece of a source that one task reads: files, or rows of one file. Rows are numbered from `first`."""

    kind: str
    first: int
    count: int
    size: int
    channels: int
    root: str = ""
    labels: str = ""
    names: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Source:
    """Everything there is to read, in canonical order, before anything was decoded."""

    where: str
    parts: tuple[Part, ...]
    classes: tuple[str, ...]
    channels: int
    channels_given: bool

    @property
    def count(self) -> int:
        return sum(part.count for part in self.parts)


def find(data: DataSpec, pieces: int = 8) -> Source:
    """List what `data.source` holds, cut into about `pieces` parts.

    Raises:
        DataError: nothing is there, nothing in it is an image, or the labels asked for do not exist.
    """
    if data.source == "digits":
        return _digits(data)
    if "://" in data.source:
        raise DataError(
            f"data.source: {data.source!r} is a URI; this version reads 'digits', a folder of images, or IDX files"
        )
    path = Path(data.source).expanduser()
    if not path.exists():
        raise DataError(f"data.source: {data.source!r} does not exist{_nearest(path)}")
    if (images := _idx_images(path)) is not None:
        return _idx(data, images, pieces)
    if path.is_file():
        raise DataError(f"data.source: {data.source!r} is a file but not an IDX image file")
    return _folder(data, path, pieces)


def read(part: Part) -> Iterator[Row]:
    """Every row of a part, rejected ones with their reason."""
    yield from {"digits": _read_digits, "folder": _read_folder, "idx": _read_idx}[part.kind](part)


def _digits(data: DataSpec) -> Source:
    if data.labels == "folders":
        raise DataError("data.labels: 'folders' needs a folder of images; for digits use 'source' or 'none'")
    classes = tuple(str(digit) for digit in range(10)) if data.labels == "source" else ()
    channels = 1 if data.channels == "auto" else data.channels
    part = Part("digits", 0, 1797, data.size, channels, labels="yes" if classes else "")
    return Source("digits", (part,), classes, channels, data.channels != "auto")


def _read_digits(part: Part) -> Iterator[Row]:
    for number, (grey, label) in enumerate(zip(*load_digits(), strict=True)):
        pixels = grey_to_pixels(np.rint(grey * (255 / 16)), part.size, part.channels)
        yield Row(f"digit {number}", pixels, int(label) if part.labels else 0, 1)


def _folder(data: DataSpec, root: Path, pieces: int) -> Source:
    if data.labels == "source":
        raise DataError("data.labels: 'source' needs digits or IDX files; for a folder use 'folders' or 'none'")
    names = sorted(_image_files(root))
    if not names:
        raise DataError(f"data.source: no images in {str(root)!r} (looked for {', '.join(SUFFIXES)})")
    classes = _class_folders(root, names) if data.labels == "folders" else ()
    number = {name: index for index, name in enumerate(classes)}
    labels = tuple(number[name.split("/")[0]] if classes else 0 for name in names)
    channels = _probe_channels(root, names) if data.channels == "auto" else data.channels
    each = max(1, -(-len(names) // pieces))
    parts = tuple(
        Part(
            "folder",
            first,
            len(names[first : first + each]),
            data.size,
            channels,
            root=str(root.absolute()),
            names=tuple(names[first : first + each]),
            classes=labels[first : first + each],
        )
        for first in range(0, len(names), each)
    )
    return Source(str(root), parts, classes, channels, data.channels != "auto")


def _image_files(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        below = Path(folder).relative_to(root)
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield (below / name).as_posix()


def _class_folders(root: Path, names: list[str]) -> tuple[str, ...]:
    loose = [name for name in names if "/" not in name]
    if loose:
        raise DataError(
            f"data.labels: 'folders' wants each image in its class's folder, but {len(loose)} lie directly "
            f"in {str(root)!r} (first: {loose[0]!r})"
        )
    return tuple(sorted({name.split("/")[0] for name in names}))


def _probe_channels(root: Path, names: list[str]) -> int:
    """What most of some evenly spaced pictures are; only headers are read."""
    votes = []
    for name in names[:: max(1, len(names) // PROBED)]:
        try:
            with Image.open(root / name) as image:
                votes.append(channels_of(image))
        except (OSError, Image.DecompressionBombError):
            continue
    return 1 if votes.count(1) > votes.count(3) else 3


def _read_folder(part: Part) -> Iterator[Row]:
    for name, label in zip(part.names, part.classes, strict=True):
        try:
            image = open_image((Path(part.root) / name).read_bytes())
            yield Row(name, to_pixels(image, part.size, part.channels), label, channels_of(image))
        except (Unreadable, OSError) as error:
            yield Row(name, None, label, 0, str(error))


def _idx_images(path: Path) -> Path | None:
    """The image file of an IDX set: the path itself, or the training set of a folder that holds one."""
    if path.is_file():
        return path if "idx3" in path.name else None
    found = sorted(path.glob("*images*idx3*"))
    train = [file for file in found if file.name.startswith("train")]
    return next(iter(train or found), None)


def _idx(data: DataSpec, images: Path, pieces: int) -> Source:
    if data.labels == "folders":
        raise DataError("data.labels: 'folders' needs a folder of images; for IDX files use 'source' or 'none'")
    shape = _idx_array(str(images)).shape
    if len(shape) != 3 or 0 in shape:
        raise DataError(f"data.source: {str(images)!r} holds an array of shape {shape}, not images [N, H, W]")
    count = shape[0]
    labels = ""
    classes: tuple[str, ...] = ()
    if data.labels == "source":
        labels = str(images.with_name(images.name.replace("images", "labels").replace("idx3", "idx1")))
        if not Path(labels).exists():
            raise DataError(f"data.labels: 'source', but {Path(labels).name!r} is not beside {images.name!r}")
        values = _idx_array(labels)
        if len(values) != count:
            raise DataError(f"{labels!r} has {len(values)} labels for {count} images")
        classes = tuple(str(value) for value in range(int(values.max()) + 1))
    channels = 1 if data.channels == "auto" else data.channels
    each = max(1, -(-count // pieces))
    whole = Part("idx", 0, 0, data.size, channels, root=str(images.absolute()), labels=labels)
    parts = tuple(replace(whole, first=first, count=min(each, count - first)) for first in range(0, count, each))
    return Source(str(images), parts, classes, channels, data.channels != "auto")


def _read_idx(part: Part) -> Iterator[Row]:
    rows = slice(part.first, part.first + part.count)
    images = _idx_array(part.root)[rows]
    labels = _idx_array(part.labels)[rows] if part.labels else np.zeros(part.count, np.uint8)
    for number, (grey, label) in enumerate(zip(images, labels, strict=True), part.first):
        yield Row(f"image {number}", grey_to_pixels(grey, part.size, part.channels), int(label), 1)


@lru_cache(maxsize=2)
def _idx_array(path: str) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes, gzipped or not (the format of MNIST's own page).

    Raises:
        DataError: another magic number, or a file shorter than its header says.
    """
    try:
        content = Path(path).read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"data.source: {path!r} cannot be read: {error}") from error
    if content[:3] != b"\0\0\x08" or not b"\1" <= content[3:4] <= b"\4" or len(content) < 4 + 4 * content[3]:
        raise DataError(f"data.source: {path!r} is not an IDX file of unsigned bytes (its first bytes say so)")
    dimensions = content[3]
    shape: tuple[Any, ...] = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    if len(values) != np.prod(shape):
        raise DataError(
            f"data.source: {path!r} is cut short: {len(values)} values where its header says {np.prod(shape)}"
        )
    return values.reshape(shape)


def _nearest(path: Path) -> str:
    from difflib import get_close_matches

    if not path.parent.is_dir():
        return ""
    near = get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    return f"; did you mean {str(path.parent / near[0])!r}?" if near else ""
