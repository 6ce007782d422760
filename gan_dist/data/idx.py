"""IDX files, the format of MNIST's own page: arrays of unsigned bytes, gzipped or not."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.images import grey_to_pixels
from gan_dist.data.source import DataError, Part, Row, Source, cuts, rows_of_a_part, state_of
from gan_dist.spec.job import DataSpec


def idx_images(path: Path) -> Path | None:
    """The image file of an IDX set: the path itself, or the training set of a folder that holds one."""
    if path.is_file():
        return path if "idx3" in path.name else None
    found = sorted(path.glob("*images*idx3*"))
    train = [file for file in found if file.name.startswith("train")]
    return next(iter(train or found), None)


def find_idx(data: DataSpec, images: Path) -> Source:
    """The images of an IDX file, with the labels beside it if the job asks for them."""
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
    whole = Part("idx", 0, 0, data.size, channels, root=str(images.absolute()), labels=labels)
    each = cuts(count, rows_of_a_part(data.size, channels))
    parts = tuple(replace(whole, first=rows.start, count=len(rows)) for rows in each)
    files = [images, *([Path(labels)] if labels else [])]
    state = state_of((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return Source(str(images), state, parts, classes, channels, data.channels != "auto")


def read_idx(part: Part) -> Iterator[Row]:
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
