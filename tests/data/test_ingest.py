"""Rows in memory: each position gives its own pixels and label, from whichever block holds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gan_dist.data.ingest import Memory
from gan_dist.data.sources import find, read, source_of
from gan_dist.data.standin import list_noise
from gan_dist.modalities.image import decode, encode, grid
from tests.data.corpus import ingest, noise, put, spec
from tests.helpers import CPU


def mixed(root: Path) -> Memory:
    """Eleven images over five blocks, three of them broken."""
    for number in range(11):
        name = f"{'ab'[number % 2]}/{number:02d}.png"
        put(root, name, b"" if number in (0, 4, 5) else noise(8, seed=number))
    read = ingest(spec(root, labels="folders", max_rejected=0.5), rows=3)
    assert len(read.blocks) > 2 and read.facts.count == 8
    return Memory(read.blocks, read.labels, read.facts, seed=0, batch=3)


def test_each_position_gives_its_own_image_and_label(tmp_path: Path) -> None:
    rows = mixed(tmp_path)
    usable = [row for part in find(spec(tmp_path, labels="folders")).parts for row in read(part) if not row.reason]
    positions = np.array([5, 0, 7, 5, 3])
    pixels, labels = rows.rows(positions)
    for found, label, position in zip(pixels, labels, positions, strict=True):
        assert np.array_equal(found.numpy(), usable[position].pixels) and label == usable[position].label


def test_an_epoch_shows_every_usable_image(tmp_path: Path) -> None:
    rows = mixed(tmp_path)
    seen = {tensor.numpy().tobytes() for drawn in range(0, 60, 3) for tensor in rows.rows(rows.positions(drawn))[0]}
    assert len(seen) == 8


def test_pixels_are_only_copied_never_changed(tmp_path: Path) -> None:
    rows = mixed(tmp_path)
    pixels, _ = rows.rows(np.array([1]))
    pixels.zero_()
    assert rows.rows(np.array([1]))[0].any()


def test_encoding_and_decoding_are_inverse() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    samples = encode(pixels, CPU, torch.float32)
    assert (samples.min(), samples.max()) == (-1, 1) and torch.equal(decode(samples), pixels)
    assert decode(torch.tensor([[-7.0, 7.0]])).tolist() == [[0, 255]]


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (8, 8, 1), (9, 8, 2), (17, 4, 5)])
def test_a_grid_shows_each_sample_in_reading_order(count: int, columns: int, rows: int) -> None:
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 5, 4)
    picture = np.asarray(grid(pixels, columns))
    assert picture.shape == (rows * 7 - 2, columns * 6 - 2, 3)
    shown = picture[::7, ::6, 0].flatten()
    assert shown[:count].tolist() == list(range(count)) and (shown[count:] == 245).all()


def test_a_stand_in_has_the_shape_of_the_job() -> None:
    data = spec("missing", size=16, channels=1, labels="folders")
    source = source_of(data, list_noise(data, 20))
    rows = [row for part in source.parts for row in read(part)]
    assert source.count == len(rows) == 20 and len(source.classes) == 10
    assert all(row.pixels.shape == (1, 16, 16) for row in rows) and [row.label for row in rows][:12] == [
        *range(10),
        0,
        1,
    ]
    assert len({row.pixels.tobytes() for row in rows}) == 20
