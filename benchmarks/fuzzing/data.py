"""Damaged pictures, archives, arrays, Parquet, tables and texts, read and prepared as a job reads them."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.fuzzing.cases import Case, Subject, damaged
from gan_dist.data.prepare import prepare
from gan_dist.data.shards import write_shard
from gan_dist.data.source import Part
from gan_dist.data.sources.registry import find_source
from gan_dist.runs.storage import Folder
from gan_dist.spec.check import validate_data

SIDE = 12
Members = dict[str, bytes]


def make(draw: random.Random, folder: Path) -> Case:
    """A file of some kind, damaged, beside one that is sound where the kind is read file by file."""
    kind = draw.choice(sorted(INPUTS))
    name, options = INPUTS[kind](draw, folder)
    asked = {"source": str(folder / name), "max_rejected": 1.0, **options}
    return Case(kind, partial(_prepared, asked, folder / "shards"))


def _prepared(asked: dict[str, Any], target: Path) -> str:
    """Read a source and write its shards, in this process."""

    def execute(parts: Sequence[Part], shards: Folder) -> Iterator[dict[str, Any]]:
        return (write_shard(part, shards) for part in parts)

    source = find_source(validate_data(asked))
    found = prepare(source, Folder.at(target), executor=execute, progress=lambda *_: None, max_rejected=1.0)
    return "rejected" if found.facts.rejected else "read"


# What is damaged.


@cache
def _noise(mode: str = "RGB", number: int = 0) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, channels), np.uint8)
    return Image.frombytes(mode, (SIDE, SIDE), values.tobytes())


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if "append_images" in options:  # settings of an encoder stay with a picture
        options = {**options, "append_images": [one.copy() for one in options["append_images"]]}
    image.copy().save(buffer, form, **options)
    return buffer.getvalue()


@cache
def _pictures() -> dict[str, list[bytes]]:
    """A few sound files of each format of the table."""
    grey, colour, clear = _noise("L"), _noise(), _noise("RGBA")
    deep = Image.fromarray(np.random.default_rng(0).integers(0, 4096, (SIDE, SIDE), np.uint16))
    real = Image.fromarray(np.random.default_rng(0).random((SIDE, SIDE), np.float32))
    several = {"save_all": True, "append_images": [clear.convert("RGB")]}
    return {
        "png": [_saved(one, "PNG") for one in (grey, colour, clear, deep, colour.quantize(16), grey.convert("1"))]
        + [_saved(colour, "PNG", **several)],
        "jpeg": [_saved(one, "JPEG") for one in (grey, colour, colour.convert("CMYK"))]
        + [_saved(colour, "JPEG", progressive=True), _saved(colour, "MPO", **several)],
        "webp": [_saved(one, "WEBP", lossless=one is clear) for one in (colour, clear)]
        + [_saved(colour, "WEBP", **several)],
        "gif": [_saved(one, "GIF") for one in (grey, colour)] + [_saved(colour, "GIF", **several)],
        "bmp": [_saved(one, "BMP") for one in (grey, colour, clear, grey.convert("1"))] + [_saved(colour, "DIB")],
        "tiff": [
            _saved(one, "TIFF", compression=packed)
            for one in (grey, colour, deep, real)
            for packed in ("raw", "tiff_lzw", "tiff_deflate", "packbits")
        ]
        + [_saved(grey.convert("1"), "TIFF", compression="group4"), _saved(colour, "TIFF", compression="jpeg")]
        + [_saved(colour, "TIFF", compression="tiff_deflate", **several)],
        "avif": [_saved(colour, "AVIF")],
        "jp2": [_saved(one, "JPEG2000") for one in (grey, colour)] + [_saved(colour, "JPEG2000", no_jp2=True)],
        "ppm": [_saved(one, "PPM") for one in (grey, colour, deep, grey.convert("1"))]
        + [b"P3\n2 2\n255\n" + b"0 100 200 " * 4, b"P2\n4 2\n15\n" + b"7 3 " * 4],
        "tga": [_saved(one, "TGA", rle=packed) for one in (grey, colour, clear) for packed in (False, True)],
    }


@cache
def _members() -> Members:
    return {f"{'ab'[number % 2]}/{number}.png": _saved(_noise(number=number), "PNG") for number in range(5)}


@cache
def _zip() -> bytes:
    buffer = io.BytesIO()
    labels = {"labels": [[name, number % 2] for number, name in enumerate(_members())]}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (*_members().items(), ("dataset.json", json.dumps(labels).encode())):
            archive.writestr(name, content)
    return buffer.getvalue()


@cache
def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in _members().items():
            for called, held in ((name, content), (name.replace(".png", ".cls"), b"1")):
                member = tarfile.TarInfo(called)
                member.size = len(held)
                archive.addfile(member, io.BytesIO(held))
    return buffer.getvalue()


def _zstd(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": _zstd,
}


@cache
def _array(kind: str) -> bytes:
    drawn, buffer = np.random.default_rng(0), io.BytesIO()
    values = drawn.random((6, SIDE, SIDE, 3), np.float32) if kind == "float.npy" else None
    if values is None:
        values = drawn.integers(0, 256, (6, SIDE, SIDE) if "idx" in kind else (6, SIDE, SIDE, 3), np.uint8)
    if "idx" in kind:
        content = struct.pack(">4B3I", 0, 0, 8, 3, *values.shape) + values.tobytes()
        return gzip.compress(content) if kind.endswith("gz") else content
    if kind.endswith("npz"):
        np.savez_compressed(buffer, images=values, labels=np.arange(6))
    else:
        np.save(buffer, values)
    return buffer.getvalue()


WORDS = ("cat", "dog", "house", "tree", "river", "stone", "bird", "cloud")
SENTENCES = [f"the {word} of a {other} is {len(word)}.5, isn't it?" for word in WORDS for other in WORDS[:4]]


@cache
def _parquet(kind: str, packed: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "pictures":
        images = [{"bytes": content, "path": name} for name, content in _members().items()]
        table = pa.table({"image": images, "label": [0, 1, 0, 1, 0]})
    else:
        table = pa.table({"id": list(range(len(SENTENCES))), "text": SENTENCES})
    pq.write_table(table, buffer, compression=packed, row_group_size=3)
    return buffer.getvalue()


@cache
def _table(kind: str) -> bytes:
    """Paths and labels, or sentences with a number, as CSV, TSV or JSON lines."""
    paths = kind.startswith("paths")
    rows = (
        [{"file_name": name, "label": number % 2} for number, name in enumerate(_members())]
        if paths
        else [{"id": number, "text": text} for number, text in enumerate(SENTENCES)]
    )
    if kind.endswith("jsonl"):
        return "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    if kind.endswith("json"):
        return json.dumps(rows).encode()
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), delimiter="\t" if kind.endswith("tsv") else ",")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


@cache
def _text(encoding: str) -> bytes:
    said = [*SENTENCES, "Größe, naïve, æther", "Съешь ещё этих мягких булок"]
    return "\n".join(said).encode(encoding, "ignore")


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "cp1252", "shift_jis", "gb18030")


# Where it lies, and what the job says of it.
Input = Callable[[random.Random, Path], tuple[str, dict[str, Any]]]
PICTURE: dict[str, Any] = {"size": 8}
TEXT: dict[str, Any] = {"modality": "text", "length": 40}


def _picture(form: str, draw: random.Random, folder: Path) -> tuple[str, dict[str, Any]]:
    below = folder / "in"
    below.mkdir()
    (below / "sound.png").write_bytes(_saved(_noise(), "PNG"))
    (below / f"damaged.{form}").write_bytes(damaged(draw, draw.choice(_pictures()[form])))
    fit = draw.choice(("crop", "pad", "stretch"))
    return "in", PICTURE | {"fit": fit, "channels": draw.choice(("auto", 1, 3, 4))}


def _file(
    name: str, content: Callable[[], bytes], options: dict[str, Any], draw: random.Random, folder: Path
) -> tuple[str, dict[str, Any]]:
    (folder / name).write_bytes(damaged(draw, content()))
    return name, options


def _packed(
    name: str, content: Callable[[], bytes], options: dict[str, Any], draw: random.Random, folder: Path
) -> tuple[str, dict[str, Any]]:
    """Damaged before it is packed, or after."""
    way = draw.choice(sorted(PACK))
    packed = PACK[way](damaged(draw, content())) if draw.random() < 0.5 else damaged(draw, PACK[way](content()))
    (folder / f"{name}.{way}").write_bytes(packed)
    return f"{name}.{way}", options


def _paths(kind: str, draw: random.Random, folder: Path) -> tuple[str, dict[str, Any]]:
    for name, content in _members().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return _file(f"x.{kind}", lambda: _table(f"paths.{kind}"), _labelled(draw), draw, folder)


def _labelled(draw: random.Random) -> dict[str, Any]:
    return PICTURE | {"labels": draw.choice(("none", "source"))}


def _archive(name: str, content: Callable[[], bytes]) -> Input:
    pack = _packed if name == "x.tar." else _file
    return lambda draw, folder: pack(name.rstrip("."), content, _labelled(draw), draw, folder)


def _parquet_input(kind: str) -> Input:
    def make(draw: random.Random, folder: Path) -> tuple[str, dict[str, Any]]:
        packed = draw.choice(("none", "snappy", "zstd"))
        options = _labelled(draw) if kind == "pictures" else TEXT
        return _file("x.parquet", lambda: _parquet(kind, packed), options, draw, folder)

    return make


def _text_input(kind: str) -> Input:
    if kind == "packed":
        return lambda draw, folder: _packed("x.txt", lambda: _text("utf-8"), TEXT, draw, folder)
    if kind in ("csv", "tsv", "jsonl", "json"):
        return lambda draw, folder: _file(f"x.{kind}", lambda: _table(f"text.{kind}"), TEXT, draw, folder)

    def make(draw: random.Random, folder: Path) -> tuple[str, dict[str, Any]]:
        encoding = draw.choice(ENCODINGS)
        said = draw.choice(({}, {"encoding": encoding}, {"encoding": "utf-8"}))
        tokens = draw.choice(("words", "characters", "blanks", "treebank"))
        return _file("x.txt", lambda: _text(encoding), TEXT | said | {"tokens": tokens}, draw, folder)

    return make


ARRAYS = ("x.npy", "float.npy", "x.npz", "images-idx3-ubyte", "images-idx3-ubyte.gz")
INPUTS: dict[str, Input] = {
    **{f"picture {form}": partial(_picture, form) for form in
       ("png", "jpeg", "webp", "gif", "bmp", "tiff", "avif", "jp2", "ppm", "tga")},
    "archive zip": _archive("x.zip", _zip),
    "archive tar": _archive("x.tar", _tar),
    "archive packed tar": _archive("x.tar.", _tar),
    **{f"array {name}": _archive(name, partial(_array, name)) for name in ARRAYS},
    **{f"parquet {kind}": _parquet_input(kind) for kind in ("pictures", "text")},
    **{f"paths {kind}": partial(_paths, kind) for kind in ("csv", "tsv", "jsonl", "json")},
    **{f"text {kind}": _text_input(kind) for kind in ("plain", "packed", "csv", "tsv", "jsonl", "json")},
}  # fmt: skip

SUBJECT = Subject(make, refusal=r"data(\.\w+)?: ")
