"""What there is to learn from in a set of images: how many, how large, of which colours and classes, and whether their
mirror images look like them."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.image_decoding import ImageForm
from gan_dist.data.source import Source
from gan_dist.data.sources.registry import Glimpse, find_source, glance, list_source
from gan_dist.errors import DataError, UsageError
from gan_dist.spec.data import ImageData
from gan_dist.spec.paths import absolute_path

Labels = Literal["none", "folders", "source"]
SAMPLED = 200
LEAST_IN_A_CLASS = 50
_ANY_SIZE = 32
MIRROR_FORM = ImageForm(16, 1)  # small and grey, so that shapes count and not detail
MIRROR_SAMPLED = 100
LEAST_FOR_MIRRORS = 20  # a share of fewer images says nothing


@dataclass(kw_only=True, frozen=True)
class ImageSurvey:
    """What there is to learn from.

    Attributes:
        source: as the user named it.
        count: images.
        side: median of the images' shorter sides, in pixels.
        ratio: median of their widths over their heights.
        channels: 1 grey, 3 colour.
        labels: the `data.labels` that fits.
        classes: how many classes there are with these labels; 0 for none.
        why: why these labels.
        others: files beside the images that are none.
        upright: share of the images whose nearest other one is nearer as it is than mirrored, 1/2 where mirroring
            changes nothing; None where too few images were looked at.
    """

    source: str
    count: int
    side: int
    channels: int
    labels: Labels
    classes: int
    why: str
    others: int
    ratio: float = 1.0
    upright: float | None = None


def survey_images(source: str) -> ImageSurvey:
    """Looks at `digits`, a folder of images, or IDX files. Raises ValueError for what holds no images."""
    path = absolute_path(source)
    _refuse_domains(source, path)
    listing = list_source(ImageData(source=source, size=_ANY_SIZE))
    seen = glance(listing, SAMPLED)
    if not seen:
        raise UsageError(f"{source}: none of its images can be opened; are they whole?")
    side = int(statistics.median(min(image.size) for image in seen))
    channels = 1 if sum(image.channels == 1 for image in seen) > len(seen) / 2 else 3
    labels, classes, why = _labels(source)
    others = sum(len(files) for _, _, files in os.walk(path)) - len(listing.names) if listing.kind == "files" else 0
    return ImageSurvey(
        source=source,
        count=len(listing.names),
        side=side,
        channels=channels,
        labels=labels,
        classes=classes,
        why=why,
        others=max(0, others),
        ratio=statistics.median(image.size[0] / image.size[1] for image in seen),
        upright=_upright(seen[:: max(1, len(seen) // MIRROR_SAMPLED)]),
    )


def _refuse_domains(source: str, path: Path) -> None:
    """Raises UsageError where a folder holds two domains, for which a job is ready."""
    if path.is_dir() and {"traina", "trainb"} <= {name.lower() for name in os.listdir(path)}:
        raise UsageError(
            f"{source} holds two domains, trainA and trainB, for which a job is ready: gan-dist submit jobs/cut.yaml "
            f"-o data.source={source}"
        )


def upright_share(pixels: NDArray[np.float64]) -> float:
    """Share of images [N, H, W] whose nearest other image is nearer as it is than the nearest mirrored one, in mean
    squared difference; those that are as near count half. 1/2 where mirrored images are as likely as others."""
    rows = pixels.reshape(len(pixels), -1)
    mirrored = pixels[:, :, ::-1].reshape(len(pixels), -1)
    upright, turned = _nearest_others(rows, rows), _nearest_others(rows, mirrored)
    return float(np.mean(np.where(np.isclose(upright, turned), 0.5, upright < turned)))


def _upright(seen: Sequence[Glimpse]) -> float | None:
    """`upright_share` of what was looked at. Damaged images are left out."""
    found = [pixels[0] / 255 for one in seen if (pixels := one.pixels(MIRROR_FORM)) is not None]
    return upright_share(np.stack(found)) if len(found) >= LEAST_FOR_MIRRORS else None


def _nearest_others(rows: NDArray[np.float64], among: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distance of each of [N, D] from the nearest of [N, D], not from that of its own place."""
    apart = (rows**2).sum(1)[:, None] + (among**2).sum(1)[None] - 2 * rows @ among.T
    np.fill_diagonal(apart, np.inf)
    nearest: NDArray[np.float64] = np.maximum(apart.min(1), 0)
    return nearest


def _labels(source: str) -> tuple[Labels, int, str]:
    for kind in ("source", "folders"):
        try:
            found = find_source(ImageData(source=source, size=_ANY_SIZE, labels=kind))
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
