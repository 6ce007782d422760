"""Shards and their manifest: whole or not read, done once, and redone where the source has changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan_dist.data import prepare as preparing
from gan_dist.data import source as parts_of_sources
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.image_decoding import ImageForm
from gan_dist.data.ingest import load_into_memory
from gan_dist.data.prepare import MANIFEST, Prepared, open_prepared, prepare_or_load
from gan_dist.data.source import Counted, Listing, Part, Parts, cuts, files_of_a_part, rows_of_a_part
from gan_dist.data.sources.registry import find_source
from gan_dist.errors import DataError
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import DataSpec
from tests.data.corpus import many, noise, put, spec


class Counting:
    """The executor of this process, which notes what it was asked for and may die."""

    def __init__(self, dies_after: int | None = None) -> None:
        self.parts: list[int] = []
        self.dies_after = dies_after

    def __call__(self, parts: list[Part], folder: Folder) -> Iterator[dict[str, Any]]:
        for number, part in enumerate(parts):
            if number == self.dies_after:
                raise KeyboardInterrupt
            self.parts.append(part.first)
            yield from write_shards_on_processes([part], folder)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_of_sources, "rows_of_a_part", lambda look: 4)


def ready(data: DataSpec, cache: Path, executor: Any = write_shards_on_processes, **keys: Any) -> Prepared:
    return prepare_or_load(
        data, Folder.at(cache), executor=executor, progress=keys.pop("progress", lambda done, total: None), **keys
    )


def test_a_second_reading_decodes_nothing(tmp_path: Path) -> None:
    many(tmp_path / "in", 10)
    first, second = Counting(), Counting()
    data = spec(tmp_path / "in")
    one, two = ready(data, tmp_path / "cache", first), ready(data, tmp_path / "cache", second)
    assert (first.parts, second.parts) == ([0, 3, 6], [])
    assert one.folder == two.folder and one.facts == two.facts
    assert load_into_memory(one, 0, 1).labels.tolist() == [0] * 10


def test_wide_images_are_prepared_and_known_again(tmp_path: Path) -> None:
    many(tmp_path / "in", 5)
    made = ready(spec(tmp_path / "in", size=[8, 12]), tmp_path / "cache")
    assert (made.facts.shape, made.facts.described) == ((3, 8, 12), "images of 8x12 RGB")
    given = made.folder.uri
    again = ready(spec(given, size=[8, 12]), tmp_path / "other", Counting(dies_after=0))
    assert again.facts == made.facts and load_into_memory(again, 0, 1).rows(np.arange(5))[0].shape == (5, 3, 8, 12)
    wrong = r"data.size: \[12, 8\], but .* was prepared at \[8, 12\]; set data.size: \[8, 12\], or"
    with pytest.raises(DataError, match=wrong):
        ready(spec(given, size=[12, 8]), tmp_path / "other")
    part = find_source(spec(tmp_path / "in", size=[8, 12])).parts[0]
    assert Part.of(json.loads(json.dumps(asdict(part)))) == part


@pytest.mark.parametrize("labels", ["none", "folders"])
def test_a_stand_in_has_the_shape_of_the_job(tmp_path: Path, labels: str) -> None:
    made = ready(spec(tmp_path / "nowhere", size=[8, 12], labels=labels), tmp_path / "cache", stand_in_of=6)
    assert made.facts.stand_in and made.facts.shape == (3, 8, 12)


def test_shards_that_are_whole_are_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many(tmp_path / "in", 10)
    data = spec(tmp_path / "in")
    with pytest.raises(KeyboardInterrupt):
        ready(data, tmp_path / "cache", Counting(dies_after=2))
    (folder,) = (tmp_path / "cache").iterdir()
    assert not (folder / MANIFEST).exists() and len(list(folder.glob("*.parquet"))) == 2
    times = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}
    found = ready(data, tmp_path / "cache")
    assert found.facts.count == 10
    assert {name: (folder / name).stat().st_mtime_ns for name in times} == times


def test_a_shard_without_its_record_is_made_again(tmp_path: Path) -> None:
    many(tmp_path / "in", 5)
    data = spec(tmp_path / "in")
    found = ready(data, tmp_path / "cache")
    folder = Path(found.folder.uri)
    for name in (MANIFEST, "shard-000000002.json"):
        (folder / name).unlink()
    (folder / "shard-000000002.parquet").write_bytes(b"half")
    again = ready(data, tmp_path / "cache")
    assert again.facts == found.facts and [record["rows"] for record in again.records] == [2, 3]
    assert len(load_into_memory(again, 0, 1).labels) == 5


@pytest.mark.parametrize("change", ["size", "touched", "added", "removed", "renamed", "option"])
def test_a_changed_source_is_prepared_anew(tmp_path: Path, change: str) -> None:
    many(tmp_path / "in", 5)
    before = ready(spec(tmp_path / "in"), tmp_path / "cache")
    path, data = tmp_path / "in" / "003.png", spec(tmp_path / "in")
    if change == "size":
        put(tmp_path / "in", "003.png", noise(side=30))
    elif change == "touched":
        os.utime(path, ns=(1, 1))
    elif change == "added":
        put(tmp_path / "in", "new.png", noise(seed=77))
    elif change == "removed":
        path.unlink()
    elif change == "renamed":
        path.rename(tmp_path / "in" / "zzz.png")
    else:
        data = spec(tmp_path / "in", size=16)
    assert ready(data, tmp_path / "cache").folder != before.folder


def test_a_moved_source_is_the_same(tmp_path: Path) -> None:
    many(tmp_path / "in", 5)
    before = find_source(spec(tmp_path / "in")).key
    (tmp_path / "in").rename(tmp_path / "moved")
    assert find_source(spec(tmp_path / "moved")).key == before


def test_rejections_are_in_the_manifest_and_checked_each_time(tmp_path: Path) -> None:
    many(tmp_path / "in", 9)
    put(tmp_path / "in", "zz.png", b"")
    found = ready(spec(tmp_path / "in", max_rejected=0.2), tmp_path / "cache")
    manifest = json.loads((Path(found.folder.uri) / MANIFEST).read_text())
    assert manifest["rejected"] == [["zz.png", "empty file"]] and manifest["count"] == 9
    with pytest.raises(DataError, match=r"zz\.png: empty file"):
        ready(spec(tmp_path / "in"), tmp_path / "cache")


def test_too_many_rejections_leave_no_manifest(tmp_path: Path) -> None:
    many(tmp_path / "in", 2)
    put(tmp_path / "in", "zz.png", b"")
    with pytest.raises(DataError, match="1 of 3 samples"):
        ready(spec(tmp_path / "in"), tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    assert open_prepared(Folder.at(folder)) is None


@pytest.mark.parametrize("ending", ["npy", "parquet"])
@pytest.mark.parametrize("place", [100, 200, -100])
def test_a_damaged_shard_is_named(tmp_path: Path, ending: str, place: int) -> None:
    many(tmp_path / "in", 4)
    found = ready(spec(tmp_path / "in"), tmp_path / "cache")
    path = Path(found.folder.uri) / f"shard-000000000.{ending}"
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    try:
        read = load_into_memory(found, 0, 1)
    except DataError as error:
        assert str(path) in str(error) and "prepared anew" in str(error)
    else:  # a byte that means nothing; of samples each means something
        assert place == 100 or ending != "npy"
        assert np.array_equal(
            read.blocks[0], load_into_memory(ready(spec(tmp_path / "in"), tmp_path / "b"), 0, 1).blocks[0]
        )


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    many(tmp_path / "in", 4)
    found = ready(spec(tmp_path / "in"), tmp_path / "cache")
    for ending in ("npy", "parquet"):
        (Path(found.folder.uri) / f"shard-000000000.{ending}").unlink()
        with pytest.raises(DataError, match=rf"shard-000000000\.{ending}"):
            load_into_memory(found, 0, 1)


def test_a_prepared_folder_is_a_source(tmp_path: Path) -> None:
    for number in range(6):
        put(tmp_path / "in", f"{'ab'[number % 2]}/{number}.png", noise(seed=number))
    made = ready(spec(tmp_path / "in", labels="folders"), tmp_path / "cache")
    there = tmp_path / "ready"
    Path(made.folder.uri).rename(there)
    for path in (tmp_path / "in").rglob("*.png"):
        path.unlink()
    found = ready(spec(there, labels="source"), tmp_path / "cache", Counting(dies_after=0))
    assert found.facts.classes == ("a", "b") and found.facts.class_counts == (3, 3)
    assert ready(spec(there), tmp_path / "cache").facts.classes == ()
    with pytest.raises(DataError, match=r"data\.size: 16, but .* was prepared at 8; set data\.size: 8"):
        ready(spec(there, size=16), tmp_path / "cache")
    with pytest.raises(DataError, match=r"data\.channels: 1, but .* was prepared with 3"):
        ready(spec(there, channels=1), tmp_path / "cache")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    put(tmp_path, MANIFEST, json.dumps({"format": preparing.FORMAT + 1, "shards": []}).encode())
    with pytest.raises(DataError, match="newer gan-dist"):
        open_prepared(Folder.at(tmp_path))


def test_progress_counts_shards(tmp_path: Path) -> None:
    many(tmp_path / "in", 10)
    told: list[tuple[int, int]] = []
    ready(spec(tmp_path / "in"), tmp_path / "cache", progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_stand_in_is_marked_and_only_made_when_asked_for(tmp_path: Path) -> None:
    data = spec(tmp_path / "absent")
    with pytest.raises(DataError):
        ready(data, tmp_path / "cache")
    found = ready(data, tmp_path / "cache", stand_in_of=7)
    assert found.facts.stand_in and found.facts.count == 7


@pytest.mark.parametrize(("size", "channels", "rows"), [(8, 1, 8192), (32, 3, 5461), (256, 3, 85), (1024, 3, 64)])
def test_shards_are_of_some_megabytes(size: int, channels: int, rows: int) -> None:
    assert rows_of_a_part(ImageForm(size, channels)) == rows


@pytest.mark.parametrize(
    ("count", "mib", "rows"),
    [(536, 2_000, 16), (536, 21, 204), (536, 0, 536), (50_000, 200_000, 782), (10, 900, 16), (0, 0, 1)],
)
def test_large_files_are_decoded_by_many(count: int, mib: int, rows: int) -> None:
    """However few shards they fill; where it is not known what a part reads, the shards alone count."""
    listing = Listing(
        kind="files", where="", state="", root="", names=Counted("photo", count), file_bytes=mib * 1024 * 1024
    )
    assert files_of_a_part(listing) == rows
    parts = Parts(listing, ImageForm(64, 3), ())
    assert sum(map(len, parts.rows)) == count and all(len(one) <= min(rows, 1365) for one in parts.rows)


@pytest.mark.parametrize("packed", ["", "zip", "tar", "gztar"])
def test_what_is_packed_as_a_whole_is_not_cut_for_its_files(
    tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(tmp_path / "in", 40)
    source = str(tmp_path / "in") if not packed else shutil.make_archive(str(tmp_path / "in"), packed, tmp_path / "in")
    monkeypatch.setattr(parts_of_sources, "rows_of_a_part", rows_of_a_part)
    monkeypatch.setattr(parts_of_sources, "FILE_BYTES", 1)
    found = find_source(spec(Path(source)))
    assert [len(part.names) for part in found.parts] == ([40] if packed == "gztar" else [13, 13, 14])


def test_cuts_cover_every_row_once() -> None:
    assert [list(part) for part in cuts(7, 3)] == [[0, 1], [2, 3], [4, 5, 6]] and cuts(0, 3) == []
