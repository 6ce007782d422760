"""Archives, arrays, tables and data sets: the same pictures come out of each, and what is broken is named."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from gan_dist.data.image_decoding import ImageForm, to_pixels
from gan_dist.errors import DataError
from tests.data.corpus import encoded, ingest, noise, pixels_in, put, spec
from tests.helpers import SHARED

COUNT = 7
PICTURES = [noise(8, seed=number) for number in range(COUNT)]
PIXELS = np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in PICTURES])
NAMES = [f"{'ab'[number % 2]}/{number}.png" for number in range(COUNT)]
BY_NAME = sorted(range(COUNT), key=lambda number: NAMES[number])


def png(number: int) -> bytes:
    return encoded(PICTURES[number], "PNG")


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


MEMBERS = {NAMES[number]: png(number) for number in reversed(range(COUNT))} | {"readme.txt": b"no image"}
ARCHIVES: dict[str, Callable[[Path], Path]] = {
    "x.zip": lambda path: zipped(path, MEMBERS),
    "x.tar": lambda path: tarred(path, MEMBERS),
    "x.tar.gz": lambda path: tarred(path, MEMBERS, "w:gz"),
    "x.tgz": lambda path: tarred(path, MEMBERS, "w:gz"),
    "x.tar.xz": lambda path: tarred(path, MEMBERS, "w:xz"),
}


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("rows", [2, 100])
def test_archives(tmp_path: Path, name: str, rows: int) -> None:
    path = ARCHIVES[name](tmp_path / name)
    read = ingest(spec(path, labels="folders"), rows)
    assert np.array_equal(pixels_in(read), PIXELS[BY_NAME])
    assert read.facts.classes == ("a", "b") and read.labels.tolist() == [number % 2 for number in BY_NAME]


def test_a_common_folder_in_an_archive_is_no_class(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {f"photos/2024/{name}": content for name, content in MEMBERS.items()})
    assert ingest(spec(path, labels="folders")).facts.classes == ("a", "b")


def test_several_archives_in_a_folder(tmp_path: Path) -> None:
    for shard in range(3):
        tarred(tmp_path / f"shard-{shard}.tar", {f"{n:03d}.png": png(n) for n in range(COUNT) if n % 3 == shard})
    read = ingest(spec(tmp_path), rows=2)
    assert np.array_equal(pixels_in(read), PIXELS[[0, 3, 6, 1, 4, 2, 5]])


def test_long_names_in_a_tar(tmp_path: Path) -> None:
    names = {f"{'long/' * 60}{number}.png": png(number) for number in range(3)}
    assert np.array_equal(pixels_in(ingest(spec(tarred(tmp_path / "x.tar", names)))), PIXELS[:3])


def test_webdataset_labels(tmp_path: Path) -> None:
    members = {f"{n:03d}.png": png(n) for n in range(4)} | {f"{n:03d}.cls": str(n % 2).encode() for n in range(4)}
    read = ingest(spec(tarred(tmp_path / "x.tar", members), labels="source"))
    assert read.labels.tolist() == [0, 1, 0, 1] and read.facts.classes == ("0", "1")
    told = {f"{n}.json": json.dumps({"label": "pear" if n else "fig"}).encode() for n in range(2)}
    named = tarred(tmp_path / "y.tar", {f"{n}.png": png(n) for n in range(2)} | told)
    assert ingest(spec(named, labels="source")).facts.classes == ("fig", "pear")


def test_stylegan_zip(tmp_path: Path) -> None:
    names = [f"00000/img{number:08d}.png" for number in range(4)]
    labels = {"labels": [[name, number % 3] for number, name in enumerate(names)]}
    members = {name: png(number) for number, name in enumerate(names)}
    read = ingest(
        spec(zipped(tmp_path / "x.zip", members | {"dataset.json": json.dumps(labels).encode()}), labels="source")
    )
    assert read.labels.tolist() == [0, 1, 2, 0]
    bare = zipped(tmp_path / "y.zip", members | {"dataset.json": b'{"labels": null}'})
    with pytest.raises(DataError, match="carries none"):
        ingest(spec(bare, labels="source"))


def test_samples_without_a_label_are_counted(tmp_path: Path) -> None:
    members = {f"{n}.png": png(n) for n in range(3)} | {"0.cls": b"1"}
    with pytest.raises(DataError, match=r"2 of 3 samples have no label \(first: 'x\.tar!1\.png'\)"):
        ingest(spec(tarred(tmp_path / "x.tar", members), labels="source"))


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_members_that_lead_out_are_rejected(tmp_path: Path, name: str) -> None:
    members = {"../out.png": png(0), "a/../../b.png": png(1), "/abs.png": png(2), "in.png": png(3)}
    path = (zipped if name == "x.zip" else tarred)(tmp_path / name, members, *(["w:gz"] if name == "x.tar.gz" else []))
    read = ingest(spec(path, max_rejected=0.8))
    assert read.facts.count == 1 and {why for _, why in read.facts.rejected} == {"its name leads out of the archive"}


def test_broken_members_are_rejected_and_the_rest_kept(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.png": png(0), "b.png": b"<html>", "c.png": b"", "d.png": png(1)})
    content = path.read_bytes()
    path.write_bytes(content.replace(png(1)[60:70], b"0123456789", 1))
    found = dict(ingest(spec(path, max_rejected=0.9)).facts.rejected)
    assert found["x.zip!b.png"] == "not an image" and found["x.zip!c.png"] == "empty file"
    assert "CRC" in found["x.zip!d.png"]


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_an_archive_cut_anywhere_is_refused_or_read(tmp_path: Path, name: str) -> None:
    whole = ARCHIVES[name](tmp_path / name).read_bytes()
    for length in range(0, len(whole), 257):
        (tmp_path / name).write_bytes(whole[:length])
        try:
            assert ingest(spec(tmp_path / name, max_rejected=0.99)).facts.count <= COUNT
        except DataError as error:
            assert name in str(error)


ARRAYS: dict[str, Callable[[], Any]] = {
    "bytes, channels last": lambda: PIXELS.transpose(0, 2, 3, 1),
    "bytes, channels second": lambda: PIXELS,
    "0 to 1": lambda: (PIXELS / 255).astype(np.float32),
    "-1 to 1": lambda: PIXELS / 127.5 - 1,
    "0 to 255 as floats": lambda: PIXELS.astype(np.float64),
    "16 bits": lambda: PIXELS.astype(np.uint16) * 257,
    "long integers": lambda: PIXELS.astype(np.int64),
}


@pytest.mark.parametrize("case", ARRAYS)
@pytest.mark.parametrize("end", ["npy", "npz"])
def test_arrays(tmp_path: Path, case: str, end: str) -> None:
    path = tmp_path / f"x.{end}"
    np.save(path, ARRAYS[case]()) if end == "npy" else np.savez(path, ARRAYS[case]())
    assert np.array_equal(pixels_in(ingest(spec(path), rows=3)), PIXELS)


def test_grey_arrays_and_labels_of_an_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x_train=PIXELS[:, 0], y_train=np.arange(COUNT) % 3)
    read = ingest(spec(tmp_path / "x.npz", labels="source"))
    assert np.array_equal(pixels_in(read)[:, 0], PIXELS[:, 0]) and read.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_nan_filled_images_are_rejected(tmp_path: Path) -> None:
    values = PIXELS / 255
    values[2], values[4, 0, 0, 0] = np.nan, np.inf
    np.save(tmp_path / "x.npy", values)
    read = ingest(spec(tmp_path / "x.npy", max_rejected=0.5))
    assert [name for name, _ in read.facts.rejected] == ["image 2", "image 4"]
    assert {why for _, why in read.facts.rejected} == {"holds values that are not finite"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 8)), "holds an array of shape (4, 8), not images"),
        (np.zeros((4, 5, 8, 8), np.uint8), "has 1, 3 or 4 channels neither last nor second"),
        (np.full((4, 8, 8), -700.0), "nearly all values (float64) lie from -700 to -700"),
        (np.array([object()] * 3), "Python objects"),
    ],
)
def test_arrays_that_are_no_images(tmp_path: Path, values: Any, message: str) -> None:
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(DataError) as caught:
        ingest(spec(tmp_path / "x.npy"))
    assert message in str(caught.value)


def test_an_npz_without_images_says_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", first=np.zeros(3), second=np.zeros(3))
    with pytest.raises(DataError, match="it has first, second"):
        ingest(spec(tmp_path / "x.npz"))


def table(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


@pytest.mark.parametrize("layout", ["bytes", "struct"])
@pytest.mark.parametrize("rows", [2, 100])
def test_parquet(tmp_path: Path, layout: str, rows: int) -> None:
    images = [png(n) if layout == "bytes" else {"bytes": png(n), "path": NAMES[n]} for n in range(COUNT)]
    path = table(tmp_path / "x.parquet", image=images, label=[n % 2 for n in range(COUNT)])
    read = ingest(spec(path, labels="source"), rows)
    assert np.array_equal(pixels_in(read), PIXELS) and read.labels.tolist() == [n % 2 for n in range(COUNT)]


def test_parquet_in_several_files_with_class_names(tmp_path: Path) -> None:
    hub = {b"huggingface": json.dumps({"info": {"features": {"label": {"names": ["fig", "pear"]}}}}).encode()}
    for shard in range(2):
        held = [n for n in range(COUNT) if n % 2 == shard]
        one = pa.table({"image": [png(n) for n in held], "label": [shard] * len(held)}).replace_schema_metadata(hub)
        pq.write_table(one, tmp_path / f"train-{shard}.parquet")
    read = ingest(spec(tmp_path, labels="source"), rows=3)
    assert read.facts.classes == ("fig", "pear") and read.facts.class_counts == (4, 3)
    assert np.array_equal(pixels_in(read), PIXELS[[0, 2, 4, 6, 1, 3, 5]])


def test_parquet_rows_without_bytes_and_tables_without_images(tmp_path: Path) -> None:
    path = table(tmp_path / "x.parquet", image=pa.array([png(0), None, b"", png(1)], pa.binary()))
    assert dict(ingest(spec(path, max_rejected=0.5)).facts.rejected) == {
        "x.parquet!1": "no bytes in this row",
        "x.parquet!2": "empty file",
    }
    with pytest.raises(DataError, match="has no column of image bytes"):
        ingest(spec(table(tmp_path / "y.parquet", text=["a"])))
    with pytest.raises(DataError, match=r"y2\.parquet cannot be read"):
        ingest(spec(put(tmp_path, "y2.parquet", b"PAR1 no")))
    with pytest.raises(DataError, match=r"'x\.parquet' has none of label"):
        ingest(spec(path, labels="source"))


@pytest.mark.parametrize("end", ["csv", "jsonl"])
def test_tables_of_paths_and_labels(tmp_path: Path, end: str) -> None:
    for number in range(4):
        put(tmp_path, NAMES[number], png(number))
    rows = [{"path": NAMES[n], "label": "pear" if n % 2 else "fig"} for n in (3, 0, 2, 1)]
    rows.append({"path": "gone.png", "label": "fig"})
    if end == "csv":
        text = "path,label\n" + "".join(f"{row['path']},{row['label']}\n" for row in rows)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    read = ingest(spec(put(tmp_path, f"x.{end}", text.encode()), labels="source", max_rejected=0.5))
    assert np.array_equal(pixels_in(read), PIXELS[[3, 0, 2, 1]]) and read.labels.tolist() == [1, 0, 0, 1]
    assert read.facts.rejected == (("gone.png", "no such file"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "holds no rows"),
        (
            b"a,b\n1,2\n",
            "has no column of paths of images (one of file_name, filename, path, filepath, file, image, image_path)",
        ),
        (b"path\na\0b\n", "zeros, no text"),
    ],
)
def test_tables_that_name_no_images(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        ingest(spec(put(tmp_path, "x.csv", text)))
    assert message in str(caught.value)


@pytest.mark.slow
def test_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SHARED / "images" / "fashion_mnist"
    if not source.is_dir():
        pytest.skip(f"{source} is not on this machine")
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path))
    raw = tmp_path / "torchvision" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in source.glob("*.gz"):
        (raw / file.name.removesuffix(".gz")).write_bytes(gzip.decompress(file.read_bytes()))
        shutil.copy(file, raw)
    read = ingest(spec("torchvision:FashionMNIST", size=28, labels="source"))
    other = ingest(spec(source, size=28, labels="source"))
    assert np.array_equal(pixels_in(read), pixels_in(other)) and np.array_equal(read.labels, other.labels)
    assert read.facts.classes[9].endswith("Ankle boot")


def test_torchvision_names_and_a_missing_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path))
    with pytest.raises(DataError, match="no data set 'CIFAR11'; did you mean torchvision:CIFAR10"):
        ingest(spec("torchvision:CIFAR11"))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.mnist.MNIST.download", refuse)
    with pytest.raises(DataError, match=f"no network.*{tmp_path}/torchvision/MNIST"):
        ingest(spec("torchvision:MNIST"))


@pytest.mark.parametrize(("fit", "inside"), [("crop", (255, 255)), ("pad", (0, 255)), ("stretch", (255, 255))])
def test_fit(tmp_path: Path, fit: str, inside: tuple[int, int]) -> None:
    image = Image.new("L", (24, 8), 255)
    put(tmp_path, "a.png", image)
    pixels = pixels_in(ingest(spec(tmp_path, fit=fit)))[0, 0]
    assert (pixels[0, 4], pixels[4, 4]) == inside


@pytest.mark.parametrize("size", [(400, 1), (1, 400), (24, 8), (7, 5), (8, 8), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_padded_pictures_are_those_of_pillow_and_thin_ones_are_seen(size: tuple[int, int], channels: int) -> None:
    look = ImageForm(size=8, channels=channels, background="black", fit="pad")
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    made = to_pixels(Image.effect_noise(size, 60).point(lambda value: max(value, 9)).convert(mode), look)
    assert made.shape == (channels, 8, 8) and made[0].any(1 if size[1] > 1 else 0).any()
    if min(size) > 1:
        image = Image.effect_noise(size, 60).convert(mode)
        wanted = ImageOps.pad(image, (8, 8), Image.Resampling.LANCZOS, color=(0, 0, 0, 0) if channels == 4 else None)
        assert (to_pixels(image, look) == np.asarray(wanted).reshape(8, 8, channels).transpose(2, 0, 1)).all()


def test_backgrounds_and_transparency(tmp_path: Path) -> None:
    put(tmp_path, "a.png", Image.new("RGBA", (8, 8), (10, 20, 30, 0)))
    assert (pixels_in(ingest(spec(tmp_path, background="white"))) == 255).all()
    assert pixels_in(ingest(spec(tmp_path, background="#102030")))[0, :, 0, 0].tolist() == [16, 32, 48]
    kept = pixels_in(ingest(spec(tmp_path, channels=4)))
    assert kept.shape == (1, 4, 8, 8) and kept[0, :, 0, 0].tolist() == [10, 20, 30, 0]


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "b.png", png(1))
    put(tmp_path / "in", "a.png", png(0))
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "other").symlink_to(tmp_path / "elsewhere")
    assert ingest(spec(tmp_path / "in")).facts.count == 2
