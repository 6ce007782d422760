"""Rows in memory: each position gives its own pixels and label, from whichever block holds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gan_dist.data import source as parts_of_sources
from gan_dist.data.encoding.image import decode, encode, make_grid, random_mirror
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.ingest import Memory, OnDevice, Stream, choose_ingest, load_into_memory, move_to_device
from gan_dist.data.prepare import Prepared, prepare_or_load
from gan_dist.data.sources.builtin import stand_in
from gan_dist.data.sources.registry import find_source, read_part
from gan_dist.errors import DataError
from gan_dist.runs.storage import Folder
from tests.data.corpus import ingest, noise, put, spec
from tests.helpers import CPU, kill_at, small, train


def mixed(root: Path) -> Memory:
    """Eleven images, three of them broken, over four blocks as in Ray's object store."""
    for number in range(11):
        name = f"{'ab'[number % 2]}/{number:02d}.png"
        put(root, name, b"" if number in (0, 4, 5) else noise(8, seed=number))
    read = ingest(spec(root, labels="folders", max_rejected=0.5), rows=3)
    assert read.facts.count == 8
    blocks = np.split(np.concatenate(read.blocks), [2, 3, 6])
    return Memory(blocks=blocks, labels=read.labels, facts=read.facts, seed=0, batch=3)


def test_each_position_gives_its_own_image_and_label(tmp_path: Path) -> None:
    rows = mixed(tmp_path)
    usable = [
        row for part in find_source(spec(tmp_path, labels="folders")).parts for row in read_part(part) if not row.reason
    ]
    positions = np.array([5, 0, 7, 5, 3])
    pixels, labels = rows.rows(positions)
    for found, label, position in zip(pixels, labels, positions, strict=True):
        assert np.array_equal(found.numpy(), usable[position].sample) and label == usable[position].label


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
    picture = np.asarray(make_grid(pixels, columns))
    assert picture.shape == (rows * 7 - 2, columns * 6 - 2, 3)
    shown = picture[::7, ::6, 0].flatten()
    assert shown[:count].tolist() == list(range(count)) and (shown[count:] == 245).all()


def test_a_stand_in_has_the_shape_of_the_job() -> None:
    data = spec("missing", size=16, channels=1, labels="folders")
    source = stand_in(data, 20)
    rows = [row for part in source.parts for row in read_part(part)]
    assert source.count == len(rows) == 20 and len(source.classes) == 10
    assert all(row.sample.shape == (1, 16, 16) for row in rows) and [row.label for row in rows][:12] == [
        *range(10),
        0,
        1,
    ]
    assert len({row.sample.tobytes() for row in rows}) == 20


def shards(tmp_path: Path, count: int = 40) -> Prepared:
    """Forty images in ten shards, of two classes."""
    for number in range(count):
        put(tmp_path / "in", f"{'ab'[number % 2]}/{number:03d}.png", noise(8, seed=number))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts_of_sources, "rows_of_a_part", lambda look: 4)
        data = spec(tmp_path / "in", labels="folders")
        return prepare_or_load(
            data, Folder.at(tmp_path / "cache"), executor=write_shards_on_processes, progress=lambda done, total: None
        )


@pytest.mark.parametrize("window", [1, 3, 50])
def test_a_stream_gives_the_rows_that_memory_gives(tmp_path: Path, window: int) -> None:
    found = shards(tmp_path)
    memory, stream = load_into_memory(found, 1, 6), Stream(found, window, 1, 6)
    for drawn in range(0, 200, 6):
        positions = stream.positions(drawn)
        for one, other in zip(stream.rows(positions), memory.rows(positions), strict=True):
            assert torch.equal(one, other)
        assert len(stream._held) <= 3 * window


def test_a_stream_goes_on_anywhere(tmp_path: Path) -> None:
    found = shards(tmp_path)
    straight = Stream(found, 2, 1, 6)
    served = [straight.rows(straight.positions(drawn))[0] for drawn in range(0, 120, 6)]
    for number in (0, 7, 19):
        fresh = Stream(found, 2, 1, 6)
        assert torch.equal(fresh.rows(fresh.positions(6 * number))[0], served[number])


def test_a_lost_shard_stops_a_stream_with_its_name(tmp_path: Path) -> None:
    found = shards(tmp_path)
    stream = Stream(found, 2, 1, 6)
    for path in Path(found.folder.uri).glob("shard-00000001*.npy"):
        path.unlink()
    with pytest.raises(DataError, match="shard-00000001"):
        for drawn in range(0, 40, 6):
            stream.rows(stream.positions(drawn))


def test_on_the_device_the_rows_are_those_of_memory(tmp_path: Path) -> None:
    memory = load_into_memory(shards(tmp_path), 1, 6)
    there = move_to_device(memory, "device", CPU)
    assert isinstance(there, OnDevice) and move_to_device(memory, "auto", CPU) is memory
    for drawn in (0, 6, 120):
        positions = there.positions(drawn)
        assert np.array_equal(positions, memory.positions(drawn))
        for one, other in zip(there.rows(positions), memory.rows(positions), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("ingest", ["stream", "device", "memory"])
def test_training_resumes_exactly_from_every_ingest(tmp_path: Path, ingest: str) -> None:
    found = shards(tmp_path)
    job = small(
        data={"source": "x", "size": 8, "labels": "folders", "ingest": ingest, "window": 2, "xflip": True},
        until="12 steps",
        micro_batch=4,
    )

    def rows() -> Memory | Stream:
        memory = load_into_memory(found, job.seed, job.batch)
        return Stream(found.served(2), 2, job.seed, job.batch) if ingest == "stream" else memory

    whole = train(job, tmp_path / "whole", rows=rows()).newest
    train(job, tmp_path / "parts", kill_at(7), rows=rows())
    parts = train(job, tmp_path / "parts", attempt=2, rows=rows()).newest
    assert whole.meta["checksums"] == parts.meta["checksums"]
    assert whole.meta["data"]["window"] == (2 if ingest == "stream" else 0)


def test_mirrored_images_are_mirrored_and_the_others_are_not() -> None:
    images = torch.arange(24.0).view(2, 1, 3, 4)
    found = random_mirror(images, torch.tensor([True, False]))
    assert torch.equal(found[0], images[0].flip(2)) and torch.equal(found[1], images[1])


@pytest.mark.parametrize(
    ("asked", "held", "before", "kind", "window"),
    [
        ("auto", 40, None, "memory", 0),
        ("auto", 60, None, "stream", 8),
        ("memory", 60, None, "memory", 0),
        ("device", 60, None, "memory", 0),
        ("stream", 1, None, "stream", 8),
        ("auto", 1, 4, "stream", 4),
        ("auto", 99, 0, "memory", 0),
        ("stream", 1, 0, "memory", 0),
    ],
)
def test_the_ingest_goes_by_job_earlier_attempts_and_size(
    asked: str, held: int, before: int | None, kind: str, window: int
) -> None:
    chosen = choose_ingest(spec("x", ingest=asked), held, 100, before)
    assert (chosen.kind, chosen.window) == (kind, window) and chosen.why


@pytest.mark.parametrize(("asked", "before"), [("memory", None), ("auto", 0)])
def test_what_must_be_in_memory_and_does_not_fit_is_refused(asked: str, before: int | None) -> None:
    with pytest.raises(DataError, match="do not fit"):
        choose_ingest(spec("x", ingest=asked), 101, 100, before)


def test_a_batch_of_more_shards_than_are_held_is_whole(tmp_path: Path) -> None:
    found = shards(tmp_path)
    straight, batch = load_into_memory(found, 1, 6), found.facts.count
    stream = Stream(found, 1, 1, batch)
    assert len(found.records) > 3, "more than a window, the next one and one more"
    for epoch in range(3):
        positions = stream.positions(epoch * batch)
        assert torch.equal(stream.rows(positions)[0], straight.rows(positions)[0])
