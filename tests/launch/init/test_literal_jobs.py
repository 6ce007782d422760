"""`gan-dist init` writes, for fourteen kinds of folders and machines, the jobs that lie in `jobs/`, to the letter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_dist.launch.init.image_survey import survey_images
from gan_dist.launch.init.images import render_job
from gan_dist.launch.init.recipes import Machine, Wish, choose_recipe
from gan_dist.launch.load_job import load_job
from gan_dist.spec.durations import parse_duration

JOBS = Path(__file__).parent / "jobs"
ONE_GPU, ANY = Machine(1, 16), Wish()
DRAWN = 24  # images in a class; the survey is told of more


@dataclass(kw_only=True, frozen=True)
class Kind:
    """A folder of images, and what they are to be trained on.

    Attributes:
        upright: whether mirroring changes the images, whose right half is then darker.
    """

    count: int
    shape: tuple[int, int]
    grey: bool = False
    classes: int = 0
    upright: bool = False
    machine: Machine = ONE_GPU
    wish: Wish = ANY
    pretrained: bool = False


KINDS = {
    "faces-on-two-cpus": Kind(count=600, shape=(64, 64), machine=Machine(0, 2), wish=Wish(seconds=1200)),
    "letters-on-sixteen-cpus": Kind(
        count=60_000, shape=(28, 28), grey=True, classes=2, upright=True, machine=Machine(0, 16)
    ),
    "five-pictures": Kind(count=5, shape=(64, 64), machine=Machine(0, 2)),
    "hundred-paintings": Kind(count=100, shape=(300, 300)),
    "portraits-256": Kind(count=800, shape=(256, 256)),
    "hundred-paintings-pretrained": Kind(count=100, shape=(300, 300), pretrained=True),
    "portraits-256-pretrained": Kind(count=800, shape=(256, 256), pretrained=True),
    "faces-64": Kind(count=600, shape=(64, 64), pretrained=True),
    "fruit-by-class": Kind(count=7_500, shape=(64, 64), classes=2, upright=True),
    "animals-256-pretrained": Kind(count=15_000, shape=(256, 256), pretrained=True),
    "thumbnails-in-two-hours": Kind(count=50_000, shape=(32, 32), wish=Wish(seconds=7200), pretrained=True),
    "thumbnails-for-two-days": Kind(count=200_000, shape=(64, 64), wish=Wish(seconds=172_800), pretrained=True),
    "faces-256-on-eight-gpus": Kind(count=70_000, shape=(256, 256), machine=Machine(8, 64), pretrained=True),
    "wide-landscapes": Kind(count=30_000, shape=(128, 192), wish=Wish(size=(128, 192))),
}


def draw(folder: Path, kind: Kind) -> None:
    """Random squares, with a bright left half, or that mirroring does not change."""
    rng = np.random.default_rng(0)
    for number in range(min(kind.count, DRAWN * max(1, kind.classes))):
        squares = rng.integers(0, 60, (4, 4, 3), dtype=np.uint8)
        squares[:, 2:] = squares[:, 1::-1] - squares[:, 1::-1] // 2 * kind.upright
        pixels = np.asarray(Image.fromarray(squares).resize(kind.shape[::-1], Image.Resampling.NEAREST))
        place = folder / f"class{number % kind.classes}" if kind.classes else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).convert("L" if kind.grey else "RGB").save(place / f"{number}.png")


@pytest.mark.parametrize("name", KINDS)
def test_the_literal_job(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = KINDS[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gan_dist.launch.init.image_survey.LEAST_IN_A_CLASS", DRAWN)
    draw(tmp_path / "photos", kind)
    images = replace(survey_images("photos"), count=kind.count)
    recipe = choose_recipe(images, kind.machine, kind.wish, kind.pretrained)
    text = render_job(images, kind.machine, recipe, kind.wish).replace(f"{tmp_path}/", "")
    assert text == (JOBS / f"{name}.yaml").read_text()
    load_job(JOBS / f"{name}.yaml")
    told = text.splitlines()[1].removeprefix("# Written by: gan-dist init photos").split()
    lasts = dict(pairwise(told)).get("--for")
    assert (None if lasts is None else parse_duration(lasts)) == kind.wish.seconds
