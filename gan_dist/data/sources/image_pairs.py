"""Pairs of images: two folders with the same names, or files that hold both side by side."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping

from PIL import Image

from gan_dist.data.picture_formats import NAMES
from gan_dist.data.source import Listing, Part, RawSample, explain_unreachable, state_of
from gan_dist.data.sources.image_files import pictures_among, read_image
from gan_dist.data.sources.layout import split_folders
from gan_dist.data.sources.walk import walk
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.runs.storage import Entry, Folder, locate
from gan_dist.spec.data import PairData

SIDES, SAME = "\0", "\x1f"  # between the two sides of a pair, and between several files of one name


def list_pairs(data: PairData) -> Listing:
    """Every pair of `data.source`, in the order of their names. What lacks a partner is listed, and rejected when read.

    Raises:
        DataError: a folder is none, holds no images, or no name is in both.
    """
    made = _folder(data.source, "data.source")
    entries, remarks = _entries(data, made, "data.source")
    if data.inputs is None:
        names = sorted(entry.name for one in entries.values() for entry in one)
        return Listing(
            kind="files",
            where=made.uri,
            state=state_of(sorted(entries.items())),
            root=made.uri,
            names=names,
            remarks=remarks,
            file_bytes=_bytes(entries),
        )
    given = _folder(data.inputs, "data.inputs")
    inputs, said = _entries(data, given, "data.inputs")
    if not entries.keys() & inputs.keys():
        examples = f"{min(entries)!r} in one, {min(inputs)!r} in the other"
        raise DataError(f"data.inputs: no image has the same name in {made.uri!r} and {given.uri!r} ({examples})")
    names = [_joined(entries.get(stem, []), inputs.get(stem, [])) for stem in sorted(entries.keys() | inputs.keys())]
    return Listing(
        kind="pairs",
        where=made.uri,
        state=state_of([*sorted(entries.items()), *sorted(inputs.items())]),
        root=made.uri,
        names=names,
        note=given.uri,
        remarks=[*remarks, *(f"inputs: {one}" for one in said)],
        file_bytes=_bytes(entries) + _bytes(inputs),
    )


def read_pairs(part: Part) -> Iterator[RawSample]:
    made, given = Folder(part.root), Folder(part.note)
    for joined, _, label in part.rows():
        first, second = (side.split(SAME) for side in joined.split(SIDES))
        name = first[0] or second[0]
        if len(first) > 1 or len(second) > 1:
            several = ", ".join(first if len(first) > 1 else second)
            yield RawSample(name, UnreadableSample(f"several images of one name: {several}"), label)
        elif not (first[0] and second[0]):
            where = part.note if first[0] else part.root
            yield RawSample(name, UnreadableSample(f"no image of that name in {where!r}"), label)
        else:
            yield RawSample(name, (read_image(made, first[0]), read_image(given, second[0])), label)


def halves(image: Image.Image, side: str | None) -> list[Image.Image]:
    """Of a picture with two side by side, the one to be made and the input.

    Args:
        side: where the input is; None where the job does not say, which takes the left half of what can be two squares.

    Raises:
        UnreadableSample: it does not hold two.
    """
    width, height = image.size
    if width % 2:
        raise UnreadableSample(f"a width of {width} pixels has no two halves")
    if side is None and width != 2 * height:
        raise UnreadableSample(
            f"{width} x {height} pixels are no two squares side by side; say data.side: left (or right) if its halves "
            "are a pair, or data.inputs if the inputs are in another folder"
        )
    left, right = image.crop((0, 0, width // 2, height)), image.crop((width // 2, 0, width, height))
    return [left, right] if side == "right" else [right, left]


def check_alike(made: Image.Image, given: Image.Image) -> None:
    """Whether both pictures of a pair have the same shape, so that they match once they are brought to one size.

    Raises:
        UnreadableSample: they have not, by more than a pixel.
    """
    (width, height), (other_width, other_height) = made.size, given.size
    if abs(width * other_height - other_width * height) > max(width, height, other_width, other_height):
        raise UnreadableSample(f"a pair of unlike shape: {width} x {height} and {other_width} x {other_height} pixels")


def _folder(where: str, key: str) -> Folder:
    with explain_unreachable(where, key):
        folder, name = locate(where)
    if name is not None:
        raise DataError(f"{key}: {where!r} is a file; pairs are read from folders of images")
    return folder


def _entries(data: PairData, folder: Folder, key: str) -> tuple[Mapping[str, list[Entry]], list[str]]:
    """The images below by their names without ends (`a/1.jpg` and `a/1.png` are called `a/1`), in Unicode's composed
    form, and what is said of the other files."""
    with explain_unreachable(folder.uri, key):
        pictures, remarks = pictures_among(data, folder, walk(folder))
    if not pictures:
        raise DataError(f"{key}: no images in {folder.uri!r} (looked for {NAMES})")
    layout = split_folders([entry.name for entry in pictures], data.split)
    found: dict[str, list[Entry]] = {}
    for place, tail in zip(layout.kept, layout.tails, strict=True):
        stem = tail.rpartition(".")[0] or tail
        found.setdefault(unicodedata.normalize("NFC", stem), []).append(pictures[place])
    return found, [*layout.remarks, *remarks]


def _bytes(entries: Mapping[str, list[Entry]]) -> int:
    return sum(entry.size for one in entries.values() for entry in one)


def _joined(made: list[Entry], given: list[Entry]) -> str:
    """Both sides of a pair as one name; a side where nothing is there is empty."""
    return SIDES.join(SAME.join(entry.name for entry in side) for side in (made, given))
