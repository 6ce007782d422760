"""What is found in each kind of source, and what is said when nothing usable is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.picture_formats import ENDINGS, NAMES
from gan_dist.data.prepare import prepare_or_load
from gan_dist.data.sources.registry import find_source, read_part
from gan_dist.errors import DataError
from gan_dist.runs.storage import Folder
from tests.data.corpus import encoded, idx, ingest, many, noise, pixels_in, put, spec
from tests.helpers import SHARED

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 8, 8), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 4], np.uint8)


def refused(**data: Any) -> str:
    with pytest.raises(DataError) as caught:
        find_source(spec(**data))
    return str(caught.value)


def put_idx(root: Path, zipped: bool = False, labels: bool = True, stem: str = "train") -> Path:
    end = ".gz" if zipped else ""
    images = put(root, f"{stem}-images-idx3-ubyte{end}", idx(IMAGES, zipped))
    if labels:
        put(root, f"{stem}-labels-idx1-ubyte{end}", idx(LABELS, zipped))
    return images


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    read = ingest(spec("digits", labels="source"))
    facts, digits = read.facts, load_digits()
    assert (facts.count, facts.channels, facts.classes) == (1797, 1, tuple("0123456789"))
    assert read.labels.tolist() == digits.target.tolist()
    assert facts.class_counts == tuple(np.bincount(digits.target).tolist())
    expected = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    assert np.array_equal(pixels_in(read)[:, 0], expected)


def test_digits_come_in_colour_and_without_labels() -> None:
    read = ingest(spec("digits", channels=3, size=16))
    assert pixels_in(read).shape == (1797, 3, 16, 16)
    assert (read.facts.classes, read.facts.class_counts, read.labels.any()) == ((), (), np.False_)


def test_flat_folder(tmp_path: Path) -> None:
    many(tmp_path, 5)
    source = find_source(spec(tmp_path))
    assert (source.count, source.contents.form.channels, source.classes) == (5, 3, ())
    assert [row.name for part in source.parts for row in read_part(part)] == [f"00{n}.png" for n in range(5)]


def test_class_per_folder_with_folders_inside(tmp_path: Path) -> None:
    for name in ("pear/1.png", "apple/2.png", "apple/old/3.png", "apple/old/4.jpg"):
        put(tmp_path, name, noise())
    read = ingest(spec(tmp_path, labels="folders"))
    assert (read.facts.classes, read.facts.class_counts) == (("apple", "pear"), (3, 1))
    assert read.labels.tolist() == [0, 0, 0, 1]


def test_order_does_not_depend_on_how_it_is_cut(tmp_path: Path) -> None:
    many(tmp_path, 11)
    facts = [ingest(spec(tmp_path), rows).facts for rows in (1, 4, 100)]
    assert facts[0] == facts[1] == facts[2]


def test_what_is_no_image_is_not_looked_at(tmp_path: Path) -> None:
    many(tmp_path, 2)
    for name in ("SOURCE.txt", "meta.json", ".hidden.png", "._001.png", "Thumbs.db", ".git/a.png", "__MACOSX/b.png"):
        put(tmp_path, name, b"no image")
    facts = ingest(spec(tmp_path)).facts
    assert facts.count == 2 and facts.rejected == ()


@pytest.mark.parametrize("suffix", [*sorted(set(ENDINGS) & Image.registered_extensions().keys()), ".JPG", ".Png"])
def test_every_suffix_is_read(tmp_path: Path, suffix: str) -> None:
    put(tmp_path, f"one{suffix}", noise())
    assert ingest(spec(tmp_path)).facts.count == 1


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_alone_or_in_their_folder(tmp_path: Path, zipped: bool) -> None:
    images = put_idx(tmp_path, zipped)
    put(tmp_path, "t10k-images-idx3-ubyte", idx(IMAGES[:3]))
    for where in (tmp_path, images):
        read = ingest(spec(where, labels="source"), rows=4)
        facts = read.facts
        assert np.array_equal(pixels_in(read)[:, 0], IMAGES)
        assert read.labels.tolist() == LABELS.tolist()
        assert (facts.count, facts.channels, facts.class_counts) == (10, 1, (3, 3, 3, 0, 1))


def test_fashion_mnist_is_what_its_authors_say() -> None:
    folder = SHARED / "images" / "fashion_mnist"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine")
    source = find_source(spec(folder, size=28, labels="source"))
    assert (source.count, source.contents.form.channels, len(source.classes)) == (60_000, 1, 10)
    assert [row.label for row in read_part(source.parts[0])][:10] == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]


def test_missing_path_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    wanted = tmp_path / "fotos"
    assert refused(source=wanted) == (
        f"data.source: {str(wanted)!r} does not exist; did you mean {str(tmp_path / 'photos')!r}?"
    )
    assert refused(source=tmp_path / "zzz" / "a") == f"data.source: {str(tmp_path / 'zzz' / 'a')!r} does not exist"


def test_empty_folder(tmp_path: Path) -> None:
    put(tmp_path, "readme.txt", b"nothing here")
    assert refused(source=tmp_path) == (
        f"data.source: no images in {str(tmp_path)!r} (looked for {NAMES}; it holds 1 .txt)"
    )


def test_a_file_of_no_known_kind(tmp_path: Path) -> None:
    path = put(tmp_path, "photo.xyz", b"nothing that is known")
    assert refused(source=path) == (
        f"data.source: {str(path)!r} is a file of no known kind (zip, tar, parquet, csv, jsonl, npy, npz, or IDX)"
    )


def test_a_uri_of_an_unknown_kind() -> None:
    assert "data.source: 'nowhere://a/b' cannot be read" in refused(source="nowhere://a/b")


def test_one_picture_is_no_set(tmp_path: Path) -> None:
    path = put(tmp_path, "one.png", noise())
    assert refused(source=path) == f"data.source: {str(path)!r} is one picture; name the folder of all: {tmp_path}"


def test_labels_that_are_not_there(tmp_path: Path) -> None:
    assert refused(source="digits", labels="folders") == (
        "data.labels: 'folders' needs a folder of images; for digits use 'source' or 'none'"
    )
    many(tmp_path / "flat", 2)
    put(tmp_path / "flat", "a/1.png", noise())
    assert refused(source=tmp_path / "flat", labels="source") == (
        "data.labels: 'source' needs data that carry labels; for a folder use 'folders' or 'none', or name a "
        "table of its files"
    )
    assert refused(source=tmp_path / "flat", labels="folders") == (
        "data.labels: 'folders' wants each image in its class's folder, but 2 lie directly "
        f"in {str(tmp_path / 'flat')!r} (first: '000.png')"
    )


def test_idx_labels_that_do_not_fit(tmp_path: Path) -> None:
    put_idx(tmp_path / "a", labels=False)
    assert refused(source=tmp_path / "a", labels="source") == (
        "data.labels: 'source', but 'train-labels-idx1-ubyte' is not beside 'train-images-idx3-ubyte'"
    )
    put_idx(tmp_path / "b")
    short = put(tmp_path / "b", "train-labels-idx1-ubyte", idx(LABELS[:4]))
    assert refused(source=tmp_path / "b", labels="source") == (
        f"{short}: 4 labels for 10 images in 'train-images-idx3-ubyte'"
    )
    assert refused(source=tmp_path / "b", labels="folders") == (
        "data.labels: 'folders' needs a folder of images; for 'train-images-idx3-ubyte' use 'source' or 'none'"
    )


WHOLE = idx(IMAGES)


@pytest.mark.parametrize("length", [0, 3, 4, 7, 15, 16, 17, len(WHOLE) - 1])
def test_truncated_idx_file(tmp_path: Path, length: int) -> None:
    path = put(tmp_path, "train-images-idx3-ubyte", WHOLE[:length])
    assert str(path) in refused(source=path)


def test_a_cut_idx_file_says_how_much_is_there(tmp_path: Path) -> None:
    path = put(tmp_path, "train-images-idx3-ubyte", WHOLE[:-1])
    assert refused(source=path) == (f"data.source: {str(path)!r} is cut short: 639 values where its header says 640")


def test_gzip_with_any_byte_altered_or_cut_is_refused_or_whole(tmp_path: Path) -> None:
    whole = idx(IMAGES, zipped=True)
    damaged = [whole[:length] for length in range(2, len(whole), 60)]
    damaged += [bytes([*whole[:place], whole[place] ^ 0xFF, *whole[place + 1 :]]) for place in range(2, 40)]
    for number, content in enumerate(damaged):
        path = put(tmp_path, f"{number}-images-idx3-ubyte.gz", content)
        try:
            assert find_source(spec(path)).count == 10
        except DataError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("values", [np.zeros((0, 8, 8)), np.zeros(12)], ids=["no images", "labels"])
def test_idx_file_without_images(tmp_path: Path, values: Any) -> None:
    path = put(tmp_path, "train-images-idx3-ubyte", idx(values))
    with pytest.raises(DataError, match="not images"):
        ingest(spec(path))


def test_an_idx_file_of_floats_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "train-images-idx3-ubyte", b"\x00\x00\x0d\x03" + WHOLE[4:])
    assert "is not an IDX file of unsigned bytes" in refused(source=path)


def test_encoded_is_what_the_suffix_says(tmp_path: Path) -> None:
    put(tmp_path, "really-a-png.jpg", encoded(noise(), "PNG"))
    assert ingest(spec(tmp_path)).facts.count == 1


def test_a_source_that_only_fsspec_reaches(tmp_path: Path) -> None:
    """As `hf://` is reached; fsspec's own memory stands for it."""
    fsspec = pytest.importorskip("fsspec")
    many(tmp_path / "in", 5)
    system = fsspec.filesystem("memory")
    for path in (tmp_path / "in").iterdir():
        system.pipe(f"/hub/{path.name}", path.read_bytes())
    there = prepare_or_load(
        spec("memory://hub"), Folder.at(tmp_path / "c"), executor=write_shards_on_processes, progress=lambda *_: None
    )
    local = prepare_or_load(
        spec(tmp_path / "in"), Folder.at(tmp_path / "d"), executor=write_shards_on_processes, progress=lambda *_: None
    )
    assert there.facts.checksum == local.facts.checksum
