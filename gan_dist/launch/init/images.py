"""A first job for a set of images: chosen by what is known to work, each choice with its reason beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gan_dist.data.source import Source
from gan_dist.data.sources.registry import find_source, glance, list_source
from gan_dist.distributed.machine import usable_cpus
from gan_dist.errors import DataError, UsageError
from gan_dist.launch.init.text import is_text, write_text_job
from gan_dist.registry.aliases import ALIASES
from gan_dist.registry.signatures import read_constant
from gan_dist.spec.amounts import Amount
from gan_dist.spec.data import ImageData, absolute_source
from gan_dist.spec.image_size import Size, SizeRule, show_size, sides, size_of, size_text
from gan_dist.spec.job_file import scalar
from gan_dist.spec.paths import absolute_path

SIZES = (16, 32, 64, 128, 256)  # of what dcgan makes, in pixels
MADE = SizeRule.of(read_constant(ALIASES["generator"]["dcgan"], "sizes"))
NO_SQUARE = 1.15  # times as long as the other side
LARGEST_ON_CPU = 32
FEW = 10_000


class Machine(NamedTuple):
    """What there is to train on, here."""

    gpu: bool
    cpus: int


class Recipe(NamedTuple):
    """What follows from images and machine; `few`: so few images that D would know them by heart."""

    size: Size
    width: int
    batch: int
    until: int
    few: bool


def write_job(source: str, size: Size | None = None) -> str:
    """A commented job file for `digits`, a folder of images, IDX files, or text.

    Args:
        source: where the images are.
        size: N or (height, width) to train at, in pixels; by default what fits the images and this machine.

    Raises:
        ValueError: there is nothing to learn from, or no network for that size.
    """
    if is_text(source):
        if size is not None:
            raise UsageError(f"--size {size_text(size)}: is for images, but {source} is text")
        return write_text_job(source)
    if size is not None and not MADE.takes(size):
        near = size_text(MADE.nearest(size))
        raise UsageError(f"--size {size_text(size)}: dcgan makes images of {MADE}; {near} is nearest")
    images = survey_images(source)
    machine = Machine(shutil.which("nvidia-smi") is not None, usable_cpus())
    return render_job(images, machine, choose_recipe(images, machine, size))


def choose_recipe(images: ImageSurvey, machine: Machine, size: Size | None = None) -> Recipe:
    """The numbers of the job. `size` is the user's own, in pixels."""
    fitting = max((one for one in SIZES if one <= 1.25 * images.side), default=SIZES[0])
    shown, least, most = (200, 500_000, 5_000_000) if machine.gpu else (60, 100_000, 300_000)
    return Recipe(
        size=size or (fitting if machine.gpu else min(fitting, LARGEST_ON_CPU)),
        width=64 if machine.gpu else 32,
        batch=min(64, images.count),
        until=round(max(least, min(most, images.count * shown)), -4),
        few=images.count < FEW,
    )


def render_job(images: ImageSurvey, machine: Machine, recipe: Recipe) -> str:
    """The job file as text."""
    parts = (
        _head(images, machine),
        _data(images, machine, recipe),
        _model(machine, recipe),
        _run(images, machine, recipe),
    )
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _head(images: ImageSurvey, machine: Machine) -> list[str]:
    others = f" (files that are none, ignored: {images.others})" if images.others else ""
    place = f"{'a GPU' if machine.gpu else 'no GPU'}, {machine.cpus} CPUs"
    return [
        "# gan-dist submit job.yaml",
        f"# Written by: gan-dist init {_text(images.source)}",
        f"# {images.count:,} {_colour(images)} images of about {images.side} pixels{others}; {place}.",
        "version: 1",
        f"name: {_name(images.source)}",
    ]


def _data(images: ImageSurvey, machine: Machine, recipe: Recipe) -> list[str]:
    return [
        "data:",
        f"  source: {_text(absolute_source(images.source))}",
        f"  size: {show_size(recipe.size)}  # {_why_size(images, machine, recipe)}",
        f"  channels: {images.channels}  # most of the images are {_colour(images)}",
        f"  labels: {images.labels}  # {images.why}",
    ]


def _why_size(images: ImageSurvey, machine: Machine, recipe: Recipe) -> str:
    made = f"dcgan makes {MADE.least} to {MADE.most}"
    if min(sides(recipe.size)) > images.side:
        why = f"the images, of about {images.side}, are enlarged; {made}"
    elif not machine.gpu and recipe.size == LARGEST_ON_CPU < images.side:
        why = "small, as there is no GPU; --size takes more, at 4 times the work for each doubling"
    else:
        why = f"the images are about {images.side}; {made}"
    return f"{why}{_of_their_shape(images, recipe)}"


def _of_their_shape(images: ImageSurvey, recipe: Recipe) -> str:
    """What keeps the shape of images that would be cut to squares."""
    if isinstance(recipe.size, tuple) or max(images.ratio, 1 / images.ratio) < NO_SQUARE:
        return ""
    longer = round(recipe.size * max(images.ratio, 1 / images.ratio))
    kept = MADE.nearest(size_of(recipe.size, longer) if images.ratio > 1 else size_of(longer, recipe.size))
    return f"; they are cut to squares, --size {size_text(kept)} would keep their shape"


def _model(machine: Machine, recipe: Recipe) -> list[str]:
    why_width = "the paper's width" if machine.gpu else "half the paper's width, for a CPU"
    networks = [
        "generator:",
        "  use: dcgan",
        f"  width: {recipe.width}  # {why_width}",
        "discriminator:",
        "  use: dcgan",
        f"  width: {recipe.width}",
    ]
    if not recipe.few:
        return [
            *networks,
            "objective: {use: non_saturating}  # this loss and optimiser are the DCGAN paper's",
            "optimizer: {use: adam, lr: 2e-4, betas: [0.5, 0.999]}",
        ]
    return [
        *networks,
        "  norm: none  # batch normalisation does not go with a gradient penalty",
        "objective: {use: hinge}",
        "penalties: [{use: r1, gamma: 1.0}]  # keeps D from learning so few images by heart",
        "optimizer: {use: adam, lr: 2e-4, betas: [0.0, 0.99]}  # no momentum, as is usual with r1",
    ]


def _run(images: ImageSurvey, machine: Machine, recipe: Recipe) -> list[str]:
    times = max(1, round(recipe.until / images.count))
    return [
        f"ema: {{half_life: {Amount(recipe.until // 40)}}}  # samples come from averaged weights",
        f"batch: {recipe.batch}  # over all workers; {_why_batch(images)}",
        f"until: {Amount(recipe.until)}  # each image {times} times; for more: --resume last -o until=N",
        "every:",
        f"  report: {Amount(recipe.until // 100)}",
        f"  grid: {Amount(recipe.until // 20)}  # 20 sample grids, and some early ones",
        f"  checkpoint: {Amount(recipe.until // 10)}",
        f"resources: {{workers: auto}}  # {'one for each GPU' if machine.gpu else 'two on CPUs'}",
    ]


def _why_batch(images: ImageSurvey) -> str:
    return "all images there are" if images.count < 64 else "larger ones train more stably, but take fewer steps"


def _colour(images: ImageSurvey) -> str:
    return "grey" if images.channels == 1 else "colour"


def _name(source: str) -> str:
    folder = absolute_path(source).name if source != DIGITS else DIGITS
    word = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-") or "images"
    return f"dcgan-{word}"[:60].rstrip("-")


def _text(value: str) -> str:
    """Text as YAML, in quotes where it needs them."""
    plain = re.fullmatch(r"[\w./~+-]+", value) and scalar(value) == value
    return value if plain else json.dumps(value)


Labels = Literal["none", "folders", "source"]
SAMPLED = 200
LEAST_IN_A_CLASS = 50
DIGITS = "digits"
_ANY_SIZE = 32


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


def survey_images(source: str) -> ImageSurvey:
    """Looks at `digits`, a folder of images, or IDX files. Raises ValueError for what holds no images."""
    path = absolute_path(source)
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
    )


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
