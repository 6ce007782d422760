"""What a set of images is like: how many, how large, grey or coloured, in which classes."""

from __future__ import annotations

import gzip
import os
import statistics
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from gan_dist.data.source import DataError, Source
from gan_dist.data.sources import find
from gan_dist.spec.sections import DataSpec

Labels = Literal["none", "folders", "source"]
SAMPLED = 200
LEAST_IN_A_CLASS = 50
TEXT_SUFFIXES = (".txt", ".json", ".jsonl", ".csv", ".tsv")
DIGITS = "digits"
_ANY_SIZE = 32


@dataclass(frozen=True)
class Survey:
    """What there is to learn from.

    Attributes:
        source: as the user named it.
        count: images.
        side: median of the images' shorter sides, in pixels.
        channels: 1 grey, 3 colour.
        labels: the `data.labels` that fits.
        classes: how many classes there are with these labels; 0 for none.
        why: why these labels.
        others: files beside the images that are none.
    """

    source: str
    count: int
    side: int
    channels: int
    labels: Labels
    classes: int
    why: str
    others: int


def survey(source: str) -> Survey:
    """Looks at `digits`, a folder of images, or IDX files. Raises ValueError for what holds no images."""
    path = Path(source).expanduser()
    if path.is_file() and path.suffix.lower() in TEXT_SUFFIXES:
        raise ValueError(f"{source}: is text; text jobs are not available in this version, only images")
    found = find(DataSpec(source=source, size=_ANY_SIZE))
    if source != DIGITS and found.parts[0].kind == "folder":
        return _survey_folder(source, path, found)
    side = 8 if source == DIGITS else _idx_side(Path(found.parts[0].root))
    labels, classes, why = _labels_of_source(source)
    return Survey(source, found.count, side, found.channels, labels, classes, why, 0)


def _survey_folder(source: str, path: Path, found: Source) -> Survey:
    names = [name for part in found.parts for name in part.names]
    side = _median_side(path, names)
    labels, classes, why = _labels_of_folder(source)
    others = sum(len(files) for _, _, files in os.walk(path)) - len(names)
    return Survey(source, found.count, side, found.channels, labels, classes, why, others)


def _labels_of_source(source: str) -> tuple[Labels, int, str]:
    try:
        classes = len(find(DataSpec(source=source, size=_ANY_SIZE, labels="source")).classes)
    except DataError:
        return "none", 0, "there is no file of labels beside the images"
    return "source", classes, f"the {classes} classes that come with the images"


def _labels_of_folder(source: str) -> tuple[Labels, int, str]:
    try:
        found = find(DataSpec(source=source, size=_ANY_SIZE, labels="folders"))
    except DataError:
        return "none", 0, "the images are not sorted into a folder per class"
    if len(found.classes) < 2:
        return "none", 0, "all images are in one folder"
    sizes = Counter(label for part in found.parts for label in part.classes)
    label, least = min(sizes.items(), key=lambda item: item[1])
    if least < LEAST_IN_A_CLASS:
        name = " ".join(found.classes[label].split())
        return "none", 0, f"folder '{name}' has only {least} images, too few to learn a class from"
    return (
        "folders",
        len(found.classes),
        f"{len(found.classes)} folders of {least} or more images",
    )


def _median_side(root: Path, names: list[str]) -> int:
    sides = []
    for name in names[:: max(1, len(names) // SAMPLED)]:
        try:
            with Image.open(root / name) as image:
                sides.append(min(image.size))
        except (OSError, Image.DecompressionBombError):
            continue
    if not sides:
        raise ValueError(f"{root}: none of its images can be opened; are they whole?")
    return int(statistics.median(sides))


def _idx_side(file: Path) -> int:
    """The shorter side of the images in an IDX file, from its header."""
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        height, width = struct.unpack(">2I", stream.read(16)[8:])
    return int(min(height, width))
