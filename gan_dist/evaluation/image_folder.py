"""A folder of images as data that samples are compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from gan_dist.data.facts import ImageFacts
from gan_dist.data.ingest import Memory, load_into_memory
from gan_dist.data.prepare import open_prepared
from gan_dist.data.sources.image_files import list_folder
from gan_dist.data.sources.registry import Row, read, source_of
from gan_dist.errors import DataError
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import ImageData


def read_image_folder(where: str) -> Memory:
    """The images of a folder, or of prepared data, as they are: nothing is resized.

    Raises:
        DataError: there are none, one cannot be read, or they are not all squares of one size.
    """
    if not Path(where).is_dir():
        raise DataError(f"{where!r} is no folder of images")
    if (found := open_prepared(Folder.at(where))) is not None:
        return load_into_memory(found, 0, 1)
    rows = list(_rows(Path(where)))
    pixels = np.stack([row.sample for row in rows if row.sample is not None])
    count, channels, size, _ = pixels.shape
    checksum = hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest()
    facts = ImageFacts(count=count, size=size, channels=channels, checksum=checksum)
    return Memory([pixels], np.zeros(count, np.int64), facts, 0, 1)


def _rows(root: Path) -> Iterator[Row]:
    listing = list_folder(ImageData(source=str(root), size=64), Folder.at(root))
    if listing is None:
        raise DataError(f"no images in {str(root)!r}")
    names = listing.names
    (width, height), first = _size(root / names[0]), names[0]
    for name in names:
        if _size(root / name) != (width, width):
            raise DataError(
                f"{str(root)!r} holds images of several sizes, or no squares: {first} is {width}x{height}, {name} is "
                f"{'x'.join(map(str, _size(root / name)))}; resize them first, for how it is done moves every metric"
            )
    for part in source_of(ImageData(source=str(root), size=width), listing).parts:
        for row in read(part):
            if row.sample is None:
                raise DataError(f"{str(root)!r}: {row.name} cannot be read: {row.reason}")
            yield row


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {error}") from error
