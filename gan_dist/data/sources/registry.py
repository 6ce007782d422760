"""What can be read: the name of a source to its parts, and a part to its rows."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gan_dist.data.codec import Codec
from gan_dist.data.downloads import with_local_source
from gan_dist.data.image_decoding import SUFFIXES, ImageForm, array_to_image, channels_of, open_image, to_pixels
from gan_dist.data.source import (
    FORMAT,
    Content,
    Contents,
    Listing,
    One,
    Part,
    Parts,
    RawSample,
    Source,
    explain_unreachable,
    numbered,
    state_of,
)
from gan_dist.data.sources.archives import is_archive, list_archives, read_archive
from gan_dist.data.sources.arrays import idx_images, is_array, list_array, read_array
from gan_dist.data.sources.builtin import (
    SCHEME,
    list_digits,
    list_torchvision,
    read_digits,
    read_noise,
    read_torchvision,
)
from gan_dist.data.sources.image_files import list_folder, list_table, read_files
from gan_dist.data.sources.image_pairs import halves, list_pairs, read_pairs
from gan_dist.data.sources.own_datasets import KIND, list_own, read_own
from gan_dist.data.sources.parquet import is_parquet, list_parquet, read_parquet
from gan_dist.data.text.builtin import KIND as BUILT_IN_TEXT
from gan_dist.data.text.builtin import read_built_in_text
from gan_dist.data.text.corpus import find_text
from gan_dist.data.text.file_formats import read_sentences
from gan_dist.data.text.oracle import read_oracle
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.runs.storage import HIDDEN, Folder, locate
from gan_dist.spec.data import BUILT_IN_TEXTS, DataSpec, ImageData, PairData, PictureData, TextData, is_own_data

READERS: dict[str, Callable[[Part], Iterator[RawSample]]] = {
    "digits": read_digits,
    "files": read_files,
    "pairs": read_pairs,
    "archive": read_archive,
    "array": read_array,
    "parquet": read_parquet,
    "torchvision": read_torchvision,
    "noise": read_noise,
    KIND: read_own,
    "sentences": read_sentences,
    "oracle": read_oracle,
    BUILT_IN_TEXT: read_built_in_text,
}
PROBED = 64
TABLES = (".csv", ".jsonl")


class DecodedSample(NamedTuple):
    """One sample, or, when `reason` says why not, the place of one that was rejected. `native` tells apart what kinds
    of samples were met."""

    name: str
    sample: NDArray[Any] | None
    label: int
    native: str
    reason: str = ""


def find_source(data: DataSpec) -> Source:
    """What `data.source` holds.

    Raises:
        DataError: nothing is there, nothing in it can be a sample, or the labels asked for do not exist.
    """
    if isinstance(data, TextData):
        return find_text(with_local_source(data))
    return source_of(data, list_source(data))


def source_of(data: PictureData, listing: Listing) -> Source:
    """The parts of what was listed.

    Raises:
        DataError: some samples have no label.
    """
    classes, numbers = numbered(listing.labels, listing.names)
    given = data.channels != "auto"
    channels = data.channels if data.channels != "auto" else _channels(listing)
    look = ImageForm(data.size, channels, data.fit, data.background, _pair(data))
    contents = Contents(Parts(listing, look, numbers), classes, look, given)
    key = state_of([FORMAT, listing.state, look, listing.kind, numbers, classes, given])
    return Source(listing.where, key, lambda: contents)


def _pair(data: PictureData) -> str:
    if not isinstance(data, PairData):
        return ""
    return data.side if data.inputs is None else "apart"


def glance(listing: Listing, most: int) -> list[Image.Image]:
    """Some evenly spaced pictures, of which only the beginning is looked at; those that cannot be are left out."""
    rows = range(0, len(listing.names), max(1, len(listing.names) // most))
    seen = []
    for found in READERS[listing.kind](listing.part(rows, ImageForm(1, 3))):
        for content in found.content if isinstance(found.content, tuple) else (found.content,):
            try:
                seen.append(Image.open(io.BytesIO(content)) if isinstance(content, bytes) else _opened(content))
            except (OSError, UnreadableSample, Image.DecompressionBombError):
                continue
    return seen


def _channels(listing: Listing) -> Literal[1, 3]:
    """What most of some pictures are."""
    votes = Counter(channels_of(image) for image in glance(listing, PROBED))
    return 1 if votes[1] > votes[3] else 3


def list_source(data: PictureData) -> Listing:
    """The samples that `data.source` holds, one by one. Raises what `find_source` raises."""
    if data.source in BUILT_IN_TEXTS:
        raise DataError(
            f"data.source: {data.source!r} is text; set data.modality: text, or name a folder ./{data.source}"
        )
    data = with_local_source(data)
    if isinstance(data, PairData):
        return list_pairs(data)
    assert isinstance(data, ImageData)
    if data.source == "digits":
        return list_digits(data)
    if data.source.startswith(SCHEME):
        return list_torchvision(data)
    if is_own_data(data.source):
        return list_own(data)
    with explain_unreachable(data.source):
        folder, name = locate(data.source)
        return _in_folder(data, folder) if name is None else _in_file(data, folder, name)


def read_part(part: Part) -> Iterator[DecodedSample]:
    """Every row of a part, rejected ones with their reason."""
    for found in READERS[part.kind](part):
        try:
            if isinstance(part.form, ImageForm):
                images = _images(found.content, part.form)
                pixels = [to_pixels(image, part.form) for image in images]
                native = str(max(map(channels_of, images)))
                yield DecodedSample(
                    name=found.name,
                    sample=pixels[0] if len(pixels) == 1 else np.concatenate(pixels),
                    label=found.label,
                    native=native,
                )
            else:
                yield DecodedSample(
                    name=found.name, sample=_encoded(found.content, part.form), label=found.label, native=""
                )
        except UnreadableSample as error:
            yield DecodedSample(name=found.name, sample=None, label=found.label, native="", reason=str(error))


def _encoded(content: Content, codec: Codec) -> NDArray[Any]:
    if isinstance(content, UnreadableSample):
        raise content
    if isinstance(content, str):
        return codec.encode(content)
    assert isinstance(content, np.ndarray), "a sentence is text, or its ids"
    return codec.row(content)


def _images(content: Content, look: ImageForm) -> list[Image.Image]:
    """The picture of a sample; of a pair what is to be made, then what it is made of."""
    if isinstance(content, tuple):
        return [_opened(one) for one in content]
    image = _opened(content)
    return halves(image, look.pair) if look.pair else [image]


def _opened(content: One | str) -> Image.Image:
    if isinstance(content, UnreadableSample):
        raise content
    if isinstance(content, bytes):
        return open_image(content)
    assert not isinstance(content, str), "a picture is no text"
    return array_to_image(content) if isinstance(content, np.ndarray) else content


def _in_folder(data: ImageData, folder: Folder) -> Listing:
    """A set of IDX files, images below, or files that each hold many."""
    names = folder.names()
    if (images := idx_images(names)) is not None:
        return list_array(data, folder, images)
    if (found := list_folder(data, folder)) is not None:
        return found
    below = [entry.name for entry in folder.below() if not entry.name.rpartition("/")[2].startswith(HIDDEN)]
    for belongs, look_in in ((is_parquet, list_parquet), (is_archive, list_archives)):
        if files := [name for name in below if belongs(name)]:
            return look_in(data, folder, files)
    raise DataError(f"data.source: no images in {folder.uri!r} (looked for {', '.join(SUFFIXES)})")


def _in_file(data: ImageData, folder: Folder, name: str) -> Listing:
    if is_array(name):
        return list_array(data, folder, name)
    if is_archive(name):
        return list_archives(data, folder, [name])
    if is_parquet(name):
        return list_parquet(data, folder, [name])
    if name.lower().endswith(TABLES):
        return list_table(data, folder, name)
    raise DataError(
        f"data.source: {data.source!r} is a file of no known kind (zip, tar, parquet, csv, jsonl, npy, npz, or IDX)"
    )
