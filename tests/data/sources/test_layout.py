"""Folders and files named train, test and val are splits in every kind of source: train is used, the others told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gan_dist.data.sources.layout import split_files, split_folders, without_common_folders
from gan_dist.errors import DataError
from gan_dist.spec.data import PairData
from tests.data.corpus import encoded, ingest, noise, put, spec
from tests.data.sources.kinds import FILE_SOURCES, in_folder, in_tar
from tests.data.test_text_stream import sentences

COUNTS = {"train": 6, "test": 4, "val": 2}
TOLD = "split: {} is used; passed over: {} images; data.split takes another"


def files(**names: str) -> dict[str, bytes]:
    """Pictures of two classes in each split, whose folders have these names."""
    return {
        f"{names.get(split, split)}/{'ab'[n % 2]}/{n}.png": encoded(noise(8, seed=n), "PNG")
        for split, count in COUNTS.items()
        for n in range(count)
    }


@pytest.mark.parametrize("source", FILE_SOURCES)
@pytest.mark.parametrize("above", ["", "set/pictures/"])
@pytest.mark.parametrize("names", [{}, {"train": "Training", "test": "TEST", "val": "valid"}])
def test_train_is_used_and_the_others_are_told(tmp_path: Path, names: dict[str, str], above: str, source: str) -> None:
    path = FILE_SOURCES[source](tmp_path, {above + name: content for name, content in files(**names).items()})
    read = ingest(spec(path, labels="folders"))
    assert read.facts.count == 6 and read.facts.classes == ("a", "b")
    assert TOLD.format("train", "test (4), val (2)") in read.facts.remarks


@pytest.mark.parametrize("source", FILE_SOURCES)
@pytest.mark.parametrize(("asked", "count"), [("test", 4), ("val", 2), ("all", 12), ("train", 6)])
def test_another_split_is_taken_when_asked(tmp_path: Path, source: str, asked: str, count: int) -> None:
    read = ingest(spec(FILE_SOURCES[source](tmp_path, files()), labels="folders", split=asked))
    assert read.facts.count == count and read.facts.classes == ("a", "b")


@pytest.mark.parametrize("source", FILE_SOURCES)
def test_splits_beside_other_files_are_splits(tmp_path: Path, source: str) -> None:
    more = {"loose.png": encoded(noise(), "PNG"), "docs/figure.png": encoded(noise(), "PNG")}
    read = ingest(spec(FILE_SOURCES[source](tmp_path, files() | more), labels="folders"))
    assert read.facts.count == 6 and read.facts.classes == ("a", "b")
    assert TOLD.format("train", "outside of splits (2), test (4), val (2)") in read.facts.remarks


@pytest.mark.parametrize("source", FILE_SOURCES)
def test_a_train_beside_cars_is_a_class(tmp_path: Path, source: str) -> None:
    pictures = {f"{name}/x.png": encoded(noise(), "PNG") for name in ("bus", "car", "train")}
    read = ingest(spec(FILE_SOURCES[source](tmp_path, pictures), labels="folders"))
    assert read.facts.classes == ("bus", "car", "train")


def test_a_split_that_is_not_there_is_refused(tmp_path: Path) -> None:
    plain = in_folder(tmp_path, {"a/x.png": encoded(noise(), "PNG")})
    with pytest.raises(DataError, match=r"^data\.split: test: there are no folders named train, test or val"):
        ingest(spec(plain, split="test"))
    some = in_folder(tmp_path / "some", {f"{name}/x.png": encoded(noise(), "PNG") for name in ("train", "test")})
    with pytest.raises(DataError, match=r"^data\.split: val: the folders are test, train; use one of them, or all"):
        ingest(spec(some, split="val"))


def _tars(root: Path, name: str, count: int) -> None:
    in_tar(root, {f"{n}.png": encoded(noise(8, seed=n), "PNG") for n in range(count)}).rename(root / f"{name}.tar")


def _tables(root: Path, name: str, count: int) -> None:
    images = [encoded(noise(8, seed=n), "PNG") for n in range(count)]
    pq.write_table(pa.table({"image": images}), root / f"{name}.parquet")


@pytest.mark.parametrize("write", [_tars, _tables])
@pytest.mark.parametrize("name", ["{}-00000-of-00001", "data.{}.0", "{}", "set_{}"])
def test_files_of_pictures_are_splits_by_their_names(
    tmp_path: Path, write: Callable[[Path, str, int], None], name: str
) -> None:
    for split, count in COUNTS.items():
        write(tmp_path, name.format(split), count)
    assert ingest(spec(tmp_path)).facts.count == 6
    assert ingest(spec(tmp_path, split="val")).facts.count == 2
    assert ingest(spec(tmp_path, split="all")).facts.count == 12


@pytest.mark.parametrize("name", ["{}.txt", "{}/x.txt", "coco_{}.csv"])
def test_files_of_text_are_splits(tmp_path: Path, name: str) -> None:
    for split, count in COUNTS.items():
        lines = ["text"] * name.endswith("csv") + [f"a cat {n}" for n in range(count)]
        put(tmp_path, name.format(split), "\n".join(lines).encode())
    assert [len(sentences(tmp_path, split=split)) for split in ("auto", "test", "all")] == [6, 4, 12]


def test_both_sides_of_pairs_are_split(tmp_path: Path) -> None:
    made, given = in_folder(tmp_path / "made", files()), in_folder(tmp_path / "given", files())
    asked = {"modality": "pair", "source": str(made), "inputs": str(given), "size": 8}
    assert ingest(PairData.model_validate(asked)).facts.count == 6
    assert ingest(PairData.model_validate(asked | {"split": "test"})).facts.count == 4


@pytest.mark.parametrize(
    ("names", "tails"),
    [
        ([], []),
        (["a.png"], ["a.png"]),
        (["x/a.png", "x/b.png"], ["x/a.png", "x/b.png"]),
        (["x/y/a.png", "x/z/b.png"], ["y/a.png", "z/b.png"]),
        (["x/y/z/a.png", "x/y/w/b.png"], ["z/a.png", "w/b.png"]),
        (["x/y/a.png", "b.png"], ["x/y/a.png", "b.png"]),
    ],
)
def test_folders_that_all_are_in(names: list[str], tails: list[str]) -> None:
    assert without_common_folders(names) == tails


def test_words_that_only_look_like_splits() -> None:
    names = ["training_day.txt", "testament.txt", "valley.txt", "latest.txt"]
    assert split_files(names, "auto", "files").kept in ([0, 1, 2, 3], [0])
    assert split_files(names[1:], "auto", "files").kept == [0, 1, 2]
    assert split_folders(["trains/a.png", "testing1/b.png"], "auto").kept == [0, 1]
