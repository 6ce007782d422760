"""Small files that unfold far: each is refused or rejected by name, and takes no more memory than a bound.

The peak of this process is measured. All limits and all files are a sixteenth of what they are,
so that a test takes no minute: `GIB` stands for a GiB.
"""

from __future__ import annotations

import bz2
import io
import json
import lzma
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gan_dist.data.prepare import prepare
from gan_dist.data.shards import write_shard
from gan_dist.data.sources.registry import find_source
from gan_dist.errors import DataError, GanDistError, StorageError
from gan_dist.runs.checkpoint import Checkpoint
from gan_dist.runs.code import unpack_code
from gan_dist.runs.storage import Folder
from gan_dist.spec.check import validate_data

SCALE = 16
GIB = (1 << 30) // SCALE
MIB = GIB >> 10
LIMITS = ("LARGEST_BYTES", "UNPACKED", "HELD_BYTES", "LARGEST_DOCUMENT", "MOST_VALUES", "LARGEST_JSON", "FEW_VALUES")
BASE = 24 << 20  # what libraries take when they are first used
PICTURES, TEXT = {"size": 8}, {"modality": "text", "length": 40}


def zeros(count: int, head: bytes = b"") -> Iterator[bytes]:
    yield head
    for _ in range(count >> 20):
        yield bytes(1 << 20)


def gzipped(pieces: Iterator[bytes]) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(map(packer.compress, pieces)) + packer.flush()


def zipped(names: list[str], head: bytes = b"", size: int = 2 * GIB) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            with archive.open(name, "w", force_zip64=True) as stream:
                for piece in zeros(size, head):
                    stream.write(piece)
    return buffer.getvalue()


def npy_head(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def tar_of(name: str, size: int) -> Iterator[bytes]:
    header = tarfile.TarInfo(name)
    header.size = size
    return zeros(size, header.tobuf())


def sparse_tar(count: int) -> bytes:
    """A tar of GNU's sparse files, each of 500 MiB (a sixteenth) of which nothing is stored."""
    content = b""
    for number in range(count):
        header = tarfile.TarInfo(f"{number}.png")
        header.type = tarfile.GNUTYPE_SPARSE
        block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
        block[386:398], block[398:410] = b"%011o\0" % 0, b"%011o\0" % 0
        block[483:495] = b"%011o\0" % (500 * MIB)
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        content += bytes(block)
    return content + bytes(1024)


def one_value(kind: pa.DataType, value: Any, rows: int, packed: str = "zstd") -> bytes:
    """Parquet of one value that comes in every row, by a dictionary."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value], kind))
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text" if kind == pa.string() else "image": column}), buffer, compression=packed,
                   dictionary_pagesize_limit=1 << 30, store_schema=False)  # fmt: skip
    return buffer.getvalue()


DATA: dict[str, tuple[Callable[[], bytes], dict[str, Any]]] = {
    "x.npz": (lambda: zipped(["images.npy"], npy_head((2 * GIB // 64, 8, 8))), PICTURES),
    "lies.npz": (lambda: zipped(["images.npy"], npy_head((1 << 40, 8, 8)), 1 << 20), PICTURES),
    "images-idx3-ubyte.gz": (
        lambda: gzipped(zeros(2 * GIB, struct.pack(">4B3I", 0, 0, 8, 3, 2 * GIB // 64, 8, 8))),
        PICTURES,
    ),
    "images-idx3-ubyte": (lambda: struct.pack(">4B3I", 0, 0, 8, 3, 1 << 31, 1 << 10, 1 << 10) + bytes(99), PICTURES),
    "many.zip": (lambda: zipped([f"{number}.png" for number in range(5)], size=500 * MIB), PICTURES),
    "one.zip": (lambda: zipped(["0.png"]), PICTURES),
    "labels.zip": (lambda: zipped(["0.png", "dataset.json"], size=600 * MIB), PICTURES | {"labels": "source"}),
    "x.tar.gz": (lambda: gzipped(tar_of("0.png", 2 * GIB)), PICTURES),
    "sparse.tar": (lambda: sparse_tar(8), PICTURES),
    "x.txt.gz": (lambda: gzipped(zeros(2 * GIB)), TEXT),
    "x.txt.bz2": (lambda: b"".join(bz2.compress(bytes(GIB // 4)) for _ in range(8)), TEXT),
    "x.txt.xz": (lambda: lzma.compress(bytes(GIB // 2)) * 4, TEXT),
    "x.json.gz": (lambda: gzipped(b'"ab",' * 12_500 if number else b"[" for number in range(300)), TEXT),
    "x.jsonl.gz": (lambda: gzipped(b"{}\n" * 18_750 for _ in range(300)), PICTURES),
    "x.csv": (lambda: b"path,label\n" + b'"' + b"x\n" * (4 * MIB) + b'"\n', PICTURES),
    "value.parquet": (lambda: one_value(pa.binary(), bytes(200 * MIB), 100), PICTURES),
    "rows.parquet": (lambda: one_value(pa.binary(), b"a", 3_000_000), PICTURES),
    "text.parquet": (lambda: one_value(pa.string(), "a b " * (20 * MIB), 100), TEXT),
}  # fmt: skip


def in_this_process(parts: Any, folder: Folder) -> Iterator[dict[str, Any]]:
    return (write_shard(part, folder) for part in parts)


@pytest.fixture(autouse=True)
def smaller_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in list(sys.modules.items()):
        for limit in LIMITS if name.startswith("gan_dist.") else ():
            if limit in vars(module):
                monkeypatch.setattr(module, limit, vars(module)[limit] // SCALE)


def _memory(key: str) -> int:
    found = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(found.split()[1]) << 10


def peak_of(read: Callable[[], object]) -> tuple[str, int]:
    """What was said, and how many bytes more than before were held at once."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts anew
    except OSError:
        pytest.skip("this system does not tell a process's peak of memory")
    before = _memory("VmRSS")
    try:
        read()
        told = ""
    except GanDistError as error:
        told = f"{type(error).__name__}: {error}"
    return told, _memory("VmHWM") - before


@pytest.mark.parametrize("name", DATA)
@pytest.mark.slow
def test_data_that_unfold_to_gigabytes_take_no_more_than_one(name: str, tmp_path: Path) -> None:
    make, options = DATA[name]
    (tmp_path / name).write_bytes(make())
    assert (tmp_path / name).stat().st_size < 2 << 20

    def read() -> object:
        source = find_source(validate_data({"source": str(tmp_path / name), "max_rejected": 0.5, **options}))
        return prepare(source, Folder.at(tmp_path / "out"), executor=in_this_process,
                       progress=lambda *_: None, max_rejected=0.5)  # fmt: skip

    told, held = peak_of(read)
    assert told.startswith(("DataError: data", "JobError: data")), told
    assert held < GIB + BASE


def test_records_and_code_that_unfold_take_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "home"))
    code = zipped(["a.py"])
    told, held = peak_of(lambda: unpack_code(code))
    assert told.startswith("StorageError") and "unfolds to more than" in told and held < GIB / 4 + BASE
    with (tmp_path / "large.json").open("wb") as stream:
        stream.truncate(64 * GIB)

    def read() -> None:
        if Folder.at(tmp_path).read_json("large.json") is None:
            raise StorageError("none")

    told, held = peak_of(read)
    assert told == "StorageError: none" and held < GIB / 4 + BASE


def test_the_state_of_a_checkpoint_that_unfolds_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, packed = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.zeros(4)}, stored)
    with zipfile.ZipFile(stored) as good, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bad:
        for member in good.infolist():
            with bad.open(member.filename, "w") as stream:
                for piece in [good.read(member)] if "data/0" not in member.filename else zeros(GIB):
                    stream.write(piece)
    monkeypatch.setattr(Checkpoint, "_content", lambda self, name: packed.getvalue())
    told, held = peak_of(Checkpoint(Folder.at(tmp_path)).training)
    assert told.startswith("CheckpointError") and "unfolds to more than" in told and held < GIB / 4 + BASE


def test_limits_leave_large_data_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored in many bytes may unfold to as many more, and flat pictures stay below."""
    from gan_dist.runs import unpacking

    monkeypatch.setattr(unpacking, "UNPACKED", 1 << 10)
    drawn = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8)
    np.savez_compressed(tmp_path / "x.npz", images=drawn)
    assert find_source(validate_data({"source": str(tmp_path / "x.npz"), **PICTURES})).count == 64
    np.savez_compressed(tmp_path / "flat.npz", images=np.zeros((4096, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="what it holds as images unfolds to more than"):
        find_source(validate_data({"source": str(tmp_path / "flat.npz"), **PICTURES})).count  # noqa: B018


def test_json_of_many_small_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from gan_dist.data import json_text

    monkeypatch.setattr(json_text, "MOST_VALUES", 100)
    assert json_text.parse_json(json.dumps(["a" * 1000])) == ["a" * 1000]
    for text in ("[" + "[]," * 200 + "[]]", b"[" + b"0," * 200 + b"0]"):
        with pytest.raises(ValueError, match="more than 100 values"):
            json_text.parse_json(text)
