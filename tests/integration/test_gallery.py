"""What makes the gallery: pairs with some kept from training, and commands that are folded without being changed."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import gallery


def test_pairs_hold_a_picture_and_its_edges_and_some_are_kept_from_training(tmp_path: Path) -> None:
    for kind in gallery.KINDS:
        (tmp_path / "watercolours" / kind).mkdir(parents=True)
    for number in range(gallery.HELD_OUT + 1):
        pixels = np.full((64, 64, 3), 250, np.uint8)
        pixels[16:48, 16:48] = (200, 40, number)
        Image.fromarray(pixels).save(tmp_path / "watercolours" / "plums" / f"{number:03d}.jpg")
    gallery.make_pairs(tmp_path)
    kept = [path.name for path in (tmp_path / "pairs" / "test").iterdir()]
    assert kept == [f"plums-{gallery.HELD_OUT - 1:03d}.png"] and len(list((tmp_path / "pairs/train").iterdir())) == 20
    both = np.asarray(Image.open(tmp_path / "pairs" / "test" / kept[0]))
    assert both.shape == (64, 128, 3)
    outline = np.asarray(Image.open(tmp_path / "edges" / kept[0]))[..., 0]
    assert (both[:, 64:, 0] == outline).all()
    assert outline[32, 32] > 200 and outline[30:34, 14:18].min() < 100  # white inside, dark at the border


@pytest.mark.parametrize("one", gallery.EXHIBITS, ids=lambda one: one.name)
def test_folded_commands_are_the_same_commands(one: gallery.Exhibit) -> None:
    for command in (one.train, *one.draw):
        folded = gallery.folded(command)
        assert shlex.split(folded.replace("\\\n", "")) == shlex.split(command)
        assert all(len(line) <= 110 for line in folded.splitlines())
