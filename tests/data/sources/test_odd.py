"""Odd input that once was misread, lost without a word, or ended in a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gan_dist.data import source as parts_of_sources
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.labels import number_classes
from gan_dist.data.prepare import prepare_into, prepare_or_load
from gan_dist.data.sources import registry
from gan_dist.data.sources.arrays import idx_images
from gan_dist.data.sources.walk import walk
from gan_dist.errors import DataError, StorageError
from gan_dist.runs.storage import Folder
from tests.data.corpus import encoded, ingest, many, noise, pixels_in, put, spec
from tests.data.sources.test_containers import PIXELS, png, zipped
from tests.data.test_image_decoding import _exif


def quiet(done: int, total: int) -> None:
    """Progress that nobody looks at."""


def test_damaged_exif_of_any_byte_costs_no_image(tmp_path: Path) -> None:
    whole = encoded(noise(), "JPEG", exif=_exif(), quality=95)
    for place in range(20, 60):
        put(tmp_path, f"{place}.jpg", bytes([*whole[:place], 0, *whole[place + 1 :]]))
    read = ingest(spec(tmp_path, max_rejected=1))
    assert read.facts.count + len(read.facts.rejected) == 40 and read.facts.count > 20


def test_a_read_error_of_the_moment_is_no_rejection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many(tmp_path / "in", 4)
    reading = Folder.read

    def fails(self: Folder, name: str, *most: int) -> bytes:
        if name == "002.png":
            raise OSError(5, "Input/output error")
        return reading(self, name, *most)

    monkeypatch.setattr(Folder, "read", fails)
    with pytest.raises(DataError, match=r"002\.png cannot be read now: .*Input/output error"):
        prepare_or_load(
            spec(tmp_path / "in", max_rejected=1),
            Folder.at(tmp_path / "c"),
            executor=write_shards_on_processes,
            progress=quiet,
        )
    monkeypatch.undo()
    assert (
        prepare_or_load(
            spec(tmp_path / "in"), Folder.at(tmp_path / "c"), executor=write_shards_on_processes, progress=quiet
        ).facts.count
        == 4
    )


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "cat/a.png", noise())
    put(tmp_path, "dog/b.png", noise())
    import os

    listing = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(OSError, match="Permission denied"):
        walk(Folder.at(tmp_path))
    with pytest.raises(DataError, match="Permission denied"):
        registry.find_source(spec(tmp_path))


@pytest.mark.parametrize("labels", ["none", "folders"])
def test_a_stand_in_is_only_for_what_is_not_there(tmp_path: Path, labels: str) -> None:
    many(tmp_path / "in", 4)
    if labels == "none":
        put(tmp_path / "in", "bad.png", b"")
    with pytest.raises(DataError):
        prepare_or_load(
            spec(tmp_path / "in", labels=labels),
            Folder.at(tmp_path / "c"),
            executor=write_shards_on_processes,
            progress=quiet,
            stand_in_of=8,
        )
    found = prepare_or_load(
        spec(tmp_path / "gone", labels=labels),
        Folder.at(tmp_path / "c"),
        executor=write_shards_on_processes,
        progress=quiet,
        stand_in_of=8,
    )
    assert found.facts.stand_in


def test_hidden_archives_are_passed_over_and_names_may_hold_any_mark(tmp_path: Path) -> None:
    zipped(tmp_path / "best!.zip", {"a!b.png": png(0), "c.png": png(1)})
    put(tmp_path, "._best!.zip", b"of another system")
    assert np.array_equal(pixels_in(ingest(spec(tmp_path))), PIXELS[:2])


def test_labels_beside_images_are_only_read_when_asked_for(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.png": png(0), "dataset.json": b"[1, 2]"})
    assert ingest(spec(path)).facts.count == 1
    with pytest.raises(DataError, match=r"dataset\.json cannot be read: it is no mapping"):
        ingest(spec(path, labels="source"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(7)[:, None], ""),
        (np.array(3), r"a class is a number or a word, one a sample \[N\]; it holds int64 of shape \(\)"),
        (np.array([[0, 1]] * 7), r"one a sample \[N\]; it holds int64 of shape \(7, 2\)"),
        (np.linspace(0, 1, 7), r"5 of 7 labels are no class .*first: 'image 1' has 0\.1666"),
        (np.array([0.0, np.nan] * 3 + [1.0]), r"3 of 7 samples have no label \(first: 'image 1'\)"),
        (np.arange(6), "6 labels for 7 images"),
    ],
)
def test_labels_of_arrays(tmp_path: Path, labels: Any, message: str) -> None:
    np.savez(tmp_path / "x.npz", images=PIXELS, labels=labels)
    if not message:
        assert ingest(spec(tmp_path / "x.npz", labels="source")).labels.tolist() == list(range(7))
        return
    with pytest.raises(DataError, match=message):
        ingest(spec(tmp_path / "x.npz", labels="source"))


def test_catalogue_numbers_are_counted_anew() -> None:
    assert number_classes([20_000_000, 7, 20_000_000], list("abc")) == (("7", "20000000"), (1, 0, 1))
    assert number_classes([0, 3], list("ab")) == (("0", "1", "2", "3"), (0, 3))


def test_a_line_of_json_may_hold_any_character(tmp_path: Path) -> None:
    put(tmp_path, "a.png", png(0))
    put(tmp_path, "x.jsonl", '{"path": "a.png", "note": "one\u2028two"}\n'.encode())
    assert ingest(spec(tmp_path / "x.jsonl")).facts.count == 1


def test_the_training_set_of_idx_files_wherever_its_name_says_so() -> None:
    assert idx_images(["emnist-test-images-idx3-ubyte", "emnist-train-images-idx3-ubyte"]) == (
        "emnist-train-images-idx3-ubyte"
    )


def test_a_part_of_a_large_row_group_reads_no_more_than_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"image": [png(n % 7) for n in range(300)]}), tmp_path / "x.parquet")
    monkeypatch.setattr(parts_of_sources, "rows_of_a_part", lambda look: 100)
    first = registry.find_source(spec(tmp_path / "x.parquet")).parts[0]
    served: list[int] = []
    batches = pq.ParquetFile.iter_batches

    def counting(self: Any, *args: Any, **keys: Any) -> Any:
        for batch in batches(self, *args, **keys):
            served.append(len(batch))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counting)
    assert len(list(registry.read_part(first))) == 100 and sum(served) == 128


def test_a_uri_with_a_query_is_refused() -> None:
    with pytest.raises(StorageError, match="leave the query out"):
        Folder.at("s3://bucket/runs?region=eu-west-1")


def test_prepared_data_are_not_prepared_again(tmp_path: Path) -> None:
    many(tmp_path / "in", 4)
    prepare_into(spec(tmp_path / "in"), str(tmp_path / "ready"), write_shards_on_processes, quiet)
    with pytest.raises(DataError, match="is prepared already"):
        prepare_into(spec(tmp_path / "ready"), str(tmp_path / "again"), write_shards_on_processes, quiet)
    put(tmp_path, "other/source.json", b'{"name": "mine"}')
    with pytest.raises(DataError, match="is not empty, and no preparation"):
        prepare_into(spec(tmp_path / "in"), str(tmp_path / "other"), write_shards_on_processes, quiet)
