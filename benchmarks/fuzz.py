"""Damaged inputs, each read as a person would have it read. One that ends in anything but a sample, a rejection by name
or a refusal in our own words is a mistake of ours.

    python benchmarks/fuzz.py data [N] [--seed S] [--first N] [--show]

A subject makes one case out of random numbers: what it is called, and what reads it. Cases run in a forked process that
may take 1 GiB more than it begins with, and 5 s for each. Printed are, of each kind of case, how many were read, read
but for samples that were rejected by name, and refused; and how many were FOREIGN (an exception that is none of
gan_dist/errors.py, a crash, or a message that names no key), too slow, or too large. Of the last three there may be
none, else the exit code is 1. Case number N of seed S is always the same, whatever the other cases are.
"""

from __future__ import annotations

import argparse
import bz2
import collections
import csv
import faulthandler
import gzip
import io
import json
import lzma
import multiprocessing
import os
import random
import re
import resource
import struct
import sys
import tarfile
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from gan_dist.data.prepare import prepare
from gan_dist.data.shards import write_shard
from gan_dist.data.source import Part
from gan_dist.data.sources.registry import find_source
from gan_dist.errors import GanDistError
from gan_dist.runs.storage import Folder
from gan_dist.spec.check import validate_data

MOST_S = 5.0
MAKING_S = 60.0  # for what is damaged, which is made the first time that it is needed
MOST_BYTES = 1 << 30
GOOD = ("read", "rejected", "refused")
BAD = ("FOREIGN", "slow", "large")
SIDE = 12
KEYS = re.compile(r"data(\.\w+)?: ")
Members = dict[str, bytes]


class Case(NamedTuple):
    """One damaged input: the kind that it is counted under, and what reads it and says how it went."""

    kind: str
    read: Callable[[], str]


Subject = Callable[[random.Random, Path], Case]


def data(draw: random.Random, folder: Path) -> Case:
    """A file of some kind, damaged, beside one that is sound where the kind is read file by file."""
    kind = draw.choice(sorted(INPUTS))
    name, options = INPUTS[kind](draw, folder)
    asked = {"source": str(folder / name), "max_rejected": 1.0, **options}
    return Case(kind, partial(_prepared, asked, folder / "shards"))


SUBJECTS: dict[str, Subject] = {"data": data}


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


# How it is damaged.


def _damaged(draw: random.Random, content: bytes) -> bytes:
    """A few kinds of damage, one after the other; now and then none at all."""
    for _ in range(draw.choice((0, 1, 1, 1, 1, 2, 3))):
        content = draw.choice(DAMAGES)(draw, bytearray(content)) if content else content
    return content


def _place(draw: random.Random, content: bytearray, width: int = 1) -> int:
    """Most often in the first bytes, where the header is, or the last, where archives have theirs."""
    most = max(0, len(content) - width)
    near = min(most, draw.choice((16, 64, 256, most)))
    return draw.choice((draw.randint(0, near), draw.randint(0, near), most - draw.randint(0, near)))


def _flipped(draw: random.Random, content: bytearray) -> bytes:
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        content[_place(draw, content)] ^= 1 << draw.randrange(8)
    return bytes(content)


def _overwritten(draw: random.Random, content: bytearray) -> bytes:
    at, length = _place(draw, content), draw.choice((1, 2, 4, 8, 64))
    content[at : at + length] = draw.choice((draw.randbytes(length), b"\0" * length, b"\xff" * length))
    return bytes(content)


def _extreme(draw: random.Random, content: bytearray) -> bytes:
    """A number of 2, 4 or 8 bytes, as sides, offsets and counts are written, in either order."""
    form = draw.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    width = struct.calcsize(form)
    if len(content) < width:
        return bytes(content)
    most = 256**width - 1
    value = draw.choice((0, 1, most, most // 2, most // 2 + 1, 20_000, 65_535, 8_000, 1 << 8 * width - 3)) & most
    struct.pack_into(form, content, _place(draw, content, width), value)
    return bytes(content)


def _digits(draw: random.Random, content: bytearray) -> bytes:
    """A number written as text, as in PPM, tar and NumPy headers."""
    found = list(re.finditer(rb"\d+", bytes(content[:2048])))
    if not found:
        return bytes(content)
    at = draw.choice(found)
    content[at.start() : at.end()] = draw.choice((b"0", b"-1", b"99999", b"9" * 30, b"1e9", b"77777777777", b""))
    return bytes(content)


def _cut(draw: random.Random, content: bytearray) -> bytes:
    return bytes(content[: _place(draw, content)])


def _extended(draw: random.Random, content: bytearray) -> bytes:
    more = draw.choice((draw.randbytes(200), b"\0" * 2000, bytes(content), b"\n" * 50, b'"' * 3))
    at = draw.choice((len(content), _place(draw, content)))
    return bytes(content[:at] + more + content[at:])


def _moved(draw: random.Random, content: bytearray) -> bytes:
    """A piece of it somewhere else."""
    length = draw.randint(1, max(1, len(content) // 4))
    start, at = _place(draw, content), _place(draw, content)
    piece = content[start : start + length]
    content[at : at + len(piece)] = piece
    return bytes(content)


DAMAGES = (_flipped, _overwritten, _extreme, _digits, _cut, _extended, _moved)


# Where it lies, and what the job says of it.
Input = Callable[[random.Random, Path], tuple[str, dict[str, Any]]]
PICTURE: dict[str, Any] = {"size": 8}
TEXT: dict[str, Any] = {"modality": "text", "length": 40}


def _picture(form: str, draw: random.Random, folder: Path) -> tuple[str, dict[str, Any]]:
    below = folder / "in"
    below.mkdir()
    (below / "sound.png").write_bytes(_saved(_noise(), "PNG"))
    (below / f"damaged.{form}").write_bytes(_damaged(draw, draw.choice(_pictures()[form])))
    fit = draw.choice(("crop", "pad", "stretch"))
    return "in", PICTURE | {"fit": fit, "channels": draw.choice(("auto", 1, 3, 4))}


def _file(
    name: str, content: Callable[[], bytes], options: dict[str, Any], draw: random.Random, folder: Path
) -> tuple[str, dict[str, Any]]:
    (folder / name).write_bytes(_damaged(draw, content()))
    return name, options


def _packed(
    name: str, content: Callable[[], bytes], options: dict[str, Any], draw: random.Random, folder: Path
) -> tuple[str, dict[str, Any]]:
    """Damaged before it is packed, or after."""
    way = draw.choice(sorted(PACK))
    packed = PACK[way](_damaged(draw, content())) if draw.random() < 0.5 else _damaged(draw, PACK[way](content()))
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


# How cases are run.


class Result(NamedTuple):
    """How a case went; `told` is the message of a refusal, or the traceback of what is foreign."""

    number: int
    kind: str
    outcome: str
    told: str = ""


def run(subject: Subject, numbers: Sequence[int], seed: int) -> Iterator[Result]:
    """Each case in a process that is forked anew only after one that did not end well."""
    waiting = list(reversed(numbers))
    while waiting:
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_cases, args=(subject, waiting[::-1], seed, sender), daemon=True)
        process.start()
        sender.close()
        try:
            yield from _followed(receiver, waiting)
        finally:
            process.kill()
            process.join()


def _followed(receiver: Connection, waiting: list[int]) -> Iterator[Result]:
    """The results that a process sends; it is given up where one does not come."""
    kind = "?"
    while waiting:
        if not receiver.poll(MAKING_S if kind == "?" else MOST_S):
            yield Result(waiting.pop(), kind, "slow", f"more than {MOST_S:g} s")
            return
        try:
            sent = receiver.recv()
        except EOFError:
            yield Result(waiting.pop(), kind, "FOREIGN", "the process that read it died")
            return
        if isinstance(sent, str):
            kind = sent
            continue
        kind = "?"
        waiting.pop()
        yield sent
        if sent.outcome == "large":
            return  # what it holds may be large now


def _cases(subject: Subject, numbers: Sequence[int], seed: int, sender: Connection) -> None:
    warnings.simplefilter("ignore")
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what C libraries say of damage
    held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    # Of what is written to: allocators reserve addresses that they never use.
    resource.setrlimit(resource.RLIMIT_DATA, (held + MOST_BYTES, held + MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in numbers:
        with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
            try:
                case = subject(random.Random(f"{seed}:{number}"), Path(folder))
            except Exception:
                sender.send(Result(number, "?", "FOREIGN", traceback.format_exc()))
                continue
            sender.send(case.kind)
            sender.send(Result(number, case.kind, *_outcome(case)))


def _scratch() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _outcome(case: Case) -> tuple[str, str]:
    try:
        return case.read(), ""
    except MemoryError:
        return "large", traceback.format_exc()
    except GanDistError as error:
        told = str(error)
        return ("refused" if KEYS.match(told) else "FOREIGN"), told
    except Exception:
        return "FOREIGN", traceback.format_exc()


def show(counts: dict[str, collections.Counter[str]]) -> None:
    """Prints the table."""
    width = max(map(len, (*counts, "all")))
    columns = (*GOOD, *BAD)
    print(f"{'':{width}} {''.join(f'{name:>10}' for name in columns)}")
    for kind in sorted(counts):
        print(f"{kind:{width}} {''.join(f'{counts[kind][name]:>10,}' for name in columns)}")
    whole = sum(counts.values(), collections.Counter[str]())
    print(f"{'all':{width}} {''.join(f'{whole[name]:>10,}' for name in columns)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", choices=sorted(SUBJECTS))
    parser.add_argument("count", nargs="?", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--show", action="store_true", help="print what is said of each refusal")
    asked = parser.parse_args()
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for result in run(SUBJECTS[asked.subject], range(asked.first, asked.first + asked.count), asked.seed):
        counts[result.kind][result.outcome] += 1
        if result.outcome in BAD or (asked.show and result.told):
            print(f"{result.outcome}: case {result.number} of seed {asked.seed} ({result.kind}): {result.told}")
    show(counts)
    return int(any(found[name] for found in counts.values() for name in BAD))


if __name__ == "__main__":
    sys.exit(main())
