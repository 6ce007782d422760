"""What a set of images is like: how many, how large, grey or coloured, in which classes."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gan_dist.data.image_decoding import channels_of
from gan_dist.data.source import Source
from gan_dist.data.sources.registry import find, glance, list_source
from gan_dist.errors import DataError, UsageError
from gan_dist.spec.data import ImageData

Labels = Literal["none", "folders", "source"]
SAMPLED = 200
LEAST_IN_A_CLASS = 50
DIGITS = "digits"
_ANY_SIZE = 32


@dataclass(frozen=True)
class ImageSurvey:
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


def survey_images(source: str) -> ImageSurvey:
    """Looks at `digits`, a folder of images, or IDX files. Raises ValueError for what holds no images."""
    path = Path(source).expanduser()
    listing = list_source(ImageData(source=source, size=_ANY_SIZE))
    seen = glance(listing, SAMPLED)
    if not seen:
        raise UsageError(f"{source}: none of its images can be opened; are they whole?")
    side = int(statistics.median(min(image.size) for image in seen))
    channels = 1 if sum(channels_of(image) == 1 for image in seen) > len(seen) / 2 else 3
    labels, classes, why = _labels(source)
    others = sum(len(files) for _, _, files in os.walk(path)) - len(listing.names) if listing.kind == "files" else 0
    return ImageSurvey(source, len(listing.names), side, channels, labels, classes, why, max(0, others))


def _labels(source: str) -> tuple[Labels, int, str]:
    for kind in ("source", "folders"):
        try:
            found = find(ImageData(source=source, size=_ANY_SIZE, labels=kind))
        except DataError:
            continue
        if kind == "source":
            return "source", len(found.classes), f"the {len(found.classes)} classes that come with the images"
        return _labels_of_folders(found)
    return "none", 0, "the images are not sorted into a folder per class, and no labels come with them"


def _labels_of_folders(found: Source) -> tuple[Labels, int, str]:
    if len(found.classes) < 2:
        return "none", 0, "all images are in one folder"
    sizes = Counter(label for part in found.parts for label in part.classes)
    label, least = min(sizes.items(), key=lambda item: item[1])
    if least < LEAST_IN_A_CLASS:
        name = " ".join(found.classes[label].split())
        return "none", 0, f"folder '{name}' has only {least} images, too few to learn a class from"
    return "folders", len(found.classes), f"{len(found.classes)} folders of {least} or more images"
