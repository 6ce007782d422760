"""What can be read: the name of a source to its parts, and a part to its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gan_dist.data.codec import Codec
from gan_dist.data.downloads import with_local_source
from gan_dist.data.image_decoding import (
    ImageForm,
    array_to_image,
    begin_image,
    channels_of,
    deep_values,
    open_image,
    stretch_bytes,
    to_pixels,
)
from gan_dist.data.labels import Conditions
from gan_dist.data.picture_formats import NAMES, ending_of, is_picture_name
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
    conditions_of,
    explain_unreachable,
    printable,
    state_of,
)
from gan_dist.data.sources.archives import is_archive, list_archives, read_archive
from gan_dist.data.sources.arrays import idx_images, is_array, list_array, read_array, read_array_block
from gan_dist.data.sources.builtin import (
    SCHEME,
    list_digits,
    list_torchvision,
    read_digits,
    read_noise,
    read_torchvision,
)
from gan_dist.data.sources.domains import find_domains
from gan_dist.data.sources.image_files import is_table, list_folder, list_table, read_files
from gan_dist.data.sources.image_pairs import check_alike, halves, list_pairs, read_pairs
from gan_dist.data.sources.own_datasets import KIND, list_own, read_own
from gan_dist.data.sources.parquet import is_parquet, list_parquet, read_parquet
from gan_dist.data.sources.shapes import KIND as SHAPES
from gan_dist.data.sources.shapes import list_shapes, read_shapes
from gan_dist.data.sources.walk import walk
from gan_dist.data.text.builtin import KIND as BUILT_IN_TEXT
from gan_dist.data.text.builtin import read_built_in_text
from gan_dist.data.text.corpus import find_text
from gan_dist.data.text.file_formats import read_sentences
from gan_dist.data.text.oracle import read_oracle
from gan_dist.data.value_range import Ranges, check_spread, describe_ranges, ranges_of, to_uint8
from gan_dist.errors import DataError, StorageError, UnreadableSample
from gan_dist.runs.storage import Folder, locate
from gan_dist.spec.data import (
    BUILT_IN_TEXTS,
    DRAWN,
    SAME,
    DataSpec,
    ImageData,
    PairData,
    PictureData,
    TextData,
    UnpairedData,
    is_own_data,
)
from gan_dist.spec.image_size import sides

READERS: dict[str, Callable[[Part], Iterator[RawSample]]] = {
    "digits": read_digits,
    SHAPES: read_shapes,
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
TRIED = 8  # pictures whose pixels are looked at before all that are probed are


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
    if isinstance(data, UnpairedData):
        return find_domains(data, find_source)
    return source_of(data, list_source(data))


def source_of(data: ImageData | PairData, listing: Listing) -> Source:
    """The parts of what was listed.

    Raises:
        DataError: some samples have no label.
    """
    given = conditions_of(listing, data.labels)
    options = (data.size, data.channels, data.fit, data.background, data.range, _pair(data))
    known = (given.numbers, given.classes, given.state)
    key = state_of([FORMAT, listing.state, listing.kind, *known, options, listing.note])
    return Source(listing.where, key, lambda: _look(data, listing, given))


def _look(data: PictureData, listing: Listing, given: Conditions) -> Contents:
    """What some of the pictures say of all: grey or coloured, and which values are black and white.

    Raises:
        DataError: their values are those of no picture, or all the same.
    """
    seen = glance(listing, PROBED)
    asked = None if data.range == "auto" else data.range
    ranges = ranges_of((values for one in seen if (values := one.deep()) is not None), asked)
    channels = data.channels
    if channels == "auto":
        # A grey picture loses nothing in RGB, and a coloured one would in grey.
        channels = 3 if any(one.channels == 3 for one in seen) else 1
    form = ImageForm(data.size, channels, data.fit, data.background, _pair(data), ranges)
    told = describe_ranges(ranges, asked is not None)
    _check_spread(seen, form, "; ".join(told))
    remarks = [*told, *listing.remarks, *given.describe()]
    return Contents(
        Parts(listing, form, given.numbers),
        given.classes,
        form,
        vectors=given.vectors,
        channels_open=data.channels == "auto",
        remarks=remarks,
    )


def _check_spread(seen: list[Glimpse], form: ImageForm, told: str) -> None:
    few = seen[:: max(1, len(seen) // TRIED)]
    for some in (few, seen):
        try:
            check_spread((pixels for one in some if (pixels := one.pixels(form)) is not None), told)
            return
        except DataError:
            if some is seen:
                raise


def _pair(data: PictureData) -> str:
    if not isinstance(data, PairData):
        return ""
    if data.of_itself:
        return SAME
    return (data.side or "auto") if data.inputs is None else "apart"


@dataclass(frozen=True)
class Glimpse:
    """A picture of which only the beginning was looked at, or an array."""

    content: Image.Image | NDArray[Any]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        if isinstance(self.content, np.ndarray):
            return self.content.shape[1], self.content.shape[0]
        return self.content.size

    @property
    def channels(self) -> int:
        """1 grey, 3 coloured."""
        if isinstance(self.content, np.ndarray):
            return 1 if self.content.ndim == 2 or self.content.shape[2] == 1 else 3
        return channels_of(self.content)

    def deep(self) -> NDArray[Any] | None:
        """The values of a picture that holds more than bytes; None for others, and for what is damaged."""
        if isinstance(self.content, np.ndarray):
            return self.content if self.content.dtype != np.uint8 else None
        try:
            return deep_values(self.content)
        except MemoryError:
            raise
        except Exception:  # it is rejected by name when it is read
            return None

    def pixels(self, form: ImageForm) -> NDArray[np.uint8] | None:
        """As the form brings it; None for what is damaged."""
        try:
            return to_pixels(_opened(self.content, form.ranges), form)
        except MemoryError:
            raise
        except Exception:  # as above
            return None


def glance(listing: Listing, most: int) -> list[Glimpse]:
    """Some evenly spaced pictures, of which only the beginning is looked at; those that cannot be are left out."""
    rows = range(0, len(listing.names), max(1, len(listing.names) // most))
    seen: list[Glimpse] = []
    for found in READERS[listing.kind](listing.part(rows, ImageForm(1, 3))):
        for content in found.content if isinstance(found.content, tuple) else (found.content,):
            try:
                if isinstance(content, bytes):
                    seen.append(Glimpse(begin_image(content)[0]))
                elif isinstance(content, np.ndarray | Image.Image):
                    seen.append(Glimpse(content))
            except UnreadableSample:
                continue
    return seen


def list_source(data: ImageData | PairData) -> Listing:
    """The samples that `data.source` holds, one by one. Raises what `find_source` raises."""
    if data.source in BUILT_IN_TEXTS:
        raise DataError(
            f"data.source: {data.source!r} is text; set data.modality: text, or name a folder ./{data.source}"
        )
    data = with_local_source(data)
    if isinstance(data, PairData) and not data.of_itself:
        return list_pairs(data)
    if isinstance(data, PairData):
        shared = {key: getattr(data, key) for key in ImageData.model_fields if key in PairData.model_fields}
        data = ImageData(**shared | {"modality": "image"})
    assert isinstance(data, ImageData)
    if data.source == "digits":
        return list_digits(data)
    if data.source in DRAWN:
        return list_shapes(data)
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
        found = found._replace(name=printable(found.name))
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
        except (MemoryError, DataError, StorageError):
            raise
        except Exception as error:  # whatever a library makes of one sample, the others are good
            reason = f"cannot be decoded: {error or type(error).__name__}"
            yield DecodedSample(name=found.name, sample=None, label=found.label, native="", reason=reason)


def read_ready(part: Part) -> NDArray[np.uint8] | None:
    """Every sample of a part at once, [N, C, H, W], where its source is an array that already has the form; None for
    all others, whose samples are brought to it one by one."""
    if part.kind != "array" or not isinstance(part.form, ImageForm) or part.form.pair or not part.names:
        return None
    values = read_array_block(part)
    if values.shape[1:] != (*sides(part.form.size), part.form.channels):
        return None
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return None  # those that are not finite are rejected by name
    try:
        return np.ascontiguousarray(to_uint8(values, part.form.ranges).transpose(0, 3, 1, 2))
    except UnreadableSample:
        return None


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
        made, given = (_opened(one, look.ranges) for one in content)
        check_alike(made, given)
        return [made, given]
    image = _opened(content, look.ranges)
    if look.pair == SAME:
        return [image, image]
    return halves(image, None if look.pair == "auto" else look.pair) if look.pair else [image]


def _opened(content: One | str, ranges: Ranges) -> Image.Image:
    if isinstance(content, UnreadableSample):
        raise content
    assert not isinstance(content, str), "a picture is no text"
    if isinstance(content, np.ndarray):
        return array_to_image(content, ranges)
    return stretch_bytes(open_image(content) if isinstance(content, bytes) else content, ranges)


def _in_folder(data: ImageData, folder: Folder) -> Listing:
    """A set of IDX files, images below, or files that each hold many."""
    found = walk(folder)
    names = [entry.name for entry in found.entries]
    if (images := idx_images(names)) is not None:
        return list_array(data, folder, images)
    if (listing := list_folder(data, folder, found)) is not None:
        return listing
    for belongs, look_in in ((is_parquet, list_parquet), (is_archive, list_archives)):
        if files := [name for name in names if belongs(name)]:
            return look_in(data, folder, files)
    counted = ", ".join(f"{count} {ending}" for ending, count in sorted(Counter(map(ending_of, names)).items()))
    raise DataError(f"data.source: no images in {folder.uri!r} (looked for {NAMES}; it holds {counted or 'no files'})")


def _in_file(data: ImageData, folder: Folder, name: str) -> Listing:
    if is_array(name):
        return list_array(data, folder, name)
    if is_archive(name):
        return list_archives(data, folder, [name])
    if is_parquet(name):
        return list_parquet(data, folder, [name])
    if is_table(name):
        return list_table(data, folder, name)
    if is_picture_name(name):
        raise DataError(f"data.source: {data.source!r} is one picture; name the folder of all: {folder.uri}")
    if folder.entry(name).size == 0:
        raise DataError(f"data.source: {data.source!r} is an empty file")
    raise DataError(
        f"data.source: {data.source!r} is a file of no known kind (zip, tar, parquet, csv, jsonl, npy, npz, or IDX)"
    )
