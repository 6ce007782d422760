"""One shard: a NumPy file of decoded samples, a Parquet file of what is known of each, and a record that says that both
are whole.

`.npy`: uint8 pixels [N, C, H, W], or token ids [N, T]. `.parquet`: name, label, digest (of sample and label) of each.
`.json`: the record, written last.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gan_dist.data.source import Part
from gan_dist.data.sources.registry import read_part, read_ready
from gan_dist.errors import DataError
from gan_dist.runs.storage import Folder


def shard_name(part: Part) -> str:
    return f"shard-{part.first:09d}"


def write_shard(part: Part, folder: Folder) -> dict[str, Any]:
    """Decode a part into its shard; the record. A shard that is whole already is left alone.

    The record: both files, rows, bytes, the byte at which the samples begin (`first`), `dtype` and `shape` of each,
    their checksum, rejected [[name, reason], ...], and native: for each kind of sample met (of pictures grey, "1", and
    coloured, "3") how many there are and the first one's name.

    Raises:
        StorageError: the folder cannot be written.
    """
    name = shard_name(part)
    if (done := folder.read_json(f"{name}.json")) is not None:
        return done
    good, rejected, native = _decoded(part)
    return _write(folder, name, good, rejected, native)


def write_encoded_shard(
    folder: Folder, first: int, *, names: Sequence[str], labels: NDArray[np.int64], samples: NDArray[Any]
) -> dict[str, Any]:
    """Write what became of prepared samples, [N, ...]; the record.

    Args:
        first: the place of the first of them among all.
    """
    good = _Good(names, labels, digests_of(samples, labels), samples)
    return _write(folder, f"shard-{first:09d}", good, [], {})


def _write(
    folder: Folder, name: str, good: _Good, rejected: list[list[str]], native: Mapping[str, tuple[int, str]]
) -> dict[str, Any]:
    known = _parquet(good)
    folder.write(f"{name}.parquet", known)
    first = _write_samples(folder, f"{name}.npy", good.samples)
    record = {
        "file": f"{name}.parquet",
        "samples": f"{name}.npy",
        "rows": len(good.names),
        "bytes": known.size + first + good.samples.nbytes,
        "first": first,
        "dtype": good.samples.dtype.str,
        "shape": list(good.samples.shape[1:]),
        "checksum": _checksum(good.digests),
        "rejected": rejected,
        "native": native,
    }
    folder.write_json(f"{name}.json", record)
    return record


def _write_samples(folder: Folder, file: str, samples: NDArray[Any]) -> int:
    """Write samples [N, ...]; the byte of the file at which they begin."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(samples))
    if folder.local is None:
        folder.write(file, header.getvalue() + samples.tobytes())
    else:
        with folder.replacing(file) as path, path.open("wb", buffering=0) as stream:
            stream.write(header.getvalue())
            samples.tofile(stream)
    return len(header.getvalue())


def read_samples(
    folder: Folder, record: Mapping[str, Any], labels: NDArray[np.int64] | None, into: NDArray[Any] | None = None
) -> NDArray[Any]:
    """The samples of a shard, [N, ...].

    Args:
        record: as `write_shard` gives it.
        labels: of the samples, [N], to check them by their checksum; None where they have been checked.
        into: bytes that are no longer needed, at least as many as the samples.

    Raises:
        DataError: the file is gone or damaged.
    """
    count, dtype, shape = record["rows"], np.dtype(record["dtype"]), tuple(record["shape"])
    size = count * math.prod(shape) * dtype.itemsize
    held: NDArray[Any] = np.empty(size, np.uint8) if into is None or into.size < size else into
    try:
        read = _fill(folder, record, held[:size].data)
    except OSError as error:
        raise DataError(_damaged(folder, record["samples"], error)) from error
    samples: NDArray[Any] = held[:size].view(dtype).reshape(count, *shape)
    if read != size or (labels is not None and _checksum(digests_of(samples, labels)) != record["checksum"]):
        raise DataError(_damaged(folder, record["samples"], "its samples are not those that were written"))
    return samples


def _fill(folder: Folder, record: Mapping[str, Any], held: memoryview) -> int:
    if folder.local is not None:
        with open(folder.local / record["samples"], "rb", buffering=0) as file:
            file.seek(record["first"])
            return file.readinto(held)
    with folder.seekable(record["samples"]) as stream:
        stream.seek(record["first"])
        return int(stream.readinto(held))


class ShardReader:
    """The samples of shards, each checked the first time that it is read.

    Args:
        folder: where the shards are.
        records: of each, as `write_shard` gives them.
        labels: class of each sample in canonical order.
    """

    def __init__(self, folder: Folder, records: Sequence[Mapping[str, Any]], labels: NDArray[np.int64]) -> None:
        self.folder, self.records, self.labels = folder, records, labels
        self._ends = np.cumsum([record["rows"] for record in records])
        self._checked: set[int] = set()

    def read(self, number: int, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """As `read_samples`."""
        record, end = self.records[number], int(self._ends[number])
        labels = None if number in self._checked else self.labels[end - record["rows"] : end]
        samples = read_samples(self.folder, record, labels, into)
        self._checked.add(number)
        return samples


def _damaged(folder: Folder, file: str, why: object) -> str:
    return (
        f"data: the prepared shard {folder.uri}/{file} cannot be read ({why}); delete that folder, and it is prepared "
        "anew"
    )


def read_shard(folder: Folder, file: str, columns: list[str]) -> pa.Table:
    """Some columns of a shard, checked against the checksums of its pages.

    Raises:
        DataError: it is gone or damaged.
    """
    try:
        with folder.seekable(file) as stream, pq.ParquetFile(stream, page_checksum_verification=True) as shard:
            return shard.read(columns)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(_damaged(folder, file, error)) from error


def numbers_of(table: pa.Table, name: str) -> NDArray[np.int64]:
    """One of a shard's columns of numbers, [N], without copying it."""
    return _bytes_of(table, name).view(np.int64)


def _bytes_of(table: pa.Table, name: str) -> NDArray[np.uint8]:
    """What a column of one width holds. Not by `np.asarray`, which imports pandas where it is installed: that takes as
    long as decoding a thousand pictures."""
    column = table[name]
    chunk = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    width = chunk.type.bit_width // 8
    return np.frombuffer(chunk.buffers()[1], np.uint8, len(chunk) * width, chunk.offset * width)


class _Good(NamedTuple):
    """The usable samples of a part; `samples` is [N, ...], `labels` and `digests` are [N]."""

    names: Sequence[str]
    labels: NDArray[np.int64]
    digests: NDArray[np.int64]
    samples: NDArray[Any]


def _decoded(part: Part) -> tuple[_Good, list[list[str]], dict[str, tuple[int, str]]]:
    """The usable samples, the rejected ones with their reasons, and of what kinds they were."""
    if (ready := read_ready(part)) is not None:
        labels = np.array(part.classes or (0,) * len(part.names), np.int64)
        kind = "1" if part.form.shape[0] == 1 else "3"
        good = _Good(part.names, labels, digests_of(ready, labels), ready)
        return good, [], {kind: (len(part.names), part.names[0])}
    samples = np.empty((len(part.names), *part.form.shape), part.form.dtype)
    names: list[str] = []
    classes: list[int] = []
    rejected: list[list[str]] = []
    native: dict[str, tuple[int, str]] = {}
    for row in read_part(part):
        if row.sample is None:
            rejected.append([row.name, row.reason])
            continue
        count, first = native.get(row.native, (0, row.name))
        native[row.native] = (count + 1, first)
        samples[len(names)] = row.sample
        names.append(row.name)
        classes.append(row.label)
    samples, labels = samples[: len(names)], np.array(classes, np.int64)
    return _Good(names, labels, digests_of(samples, labels), samples), rejected, native


def digests_of(samples: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """64 bits that tell each sample and its label from others, [N]: a sum of its words, weighted by fixed random odd
    numbers (multilinear hashing; Lemire and Kaser 2014). It finds damage and change, and is no seal against forgery."""
    width = math.prod(samples.shape[1:])
    rows = samples.reshape(len(samples), width).view(np.uint8)
    if rows.shape[1] % 8:
        rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 8)))
    words = rows.view(np.uint64)
    weights = _weights(words.shape[1] + 1)
    sums = np.einsum("ij,j->i", words, weights[1:]) + labels.astype(np.uint64) * weights[0]
    sums ^= sums >> np.uint64(32)  # the lowest bits of a sum depend on the lowest bits of words alone
    digests: NDArray[np.int64] = (sums * _MIX ^ sums >> np.uint64(29)).view(np.int64)
    return digests


_MIX = np.uint64(0x9E3779B97F4A7C15)


@lru_cache(maxsize=4)
def _weights(count: int) -> NDArray[np.uint64]:
    return np.random.Philox(0).random_raw(count) | np.uint64(1)


def _checksum(digests: NDArray[np.int64]) -> str:
    return hashlib.blake2b(digests.tobytes(), digest_size=16).hexdigest()


def _parquet(good: _Good) -> pa.Buffer:
    table = pa.table({"name": _strings(good.names), "label": _numbers(good.labels), "digest": _numbers(good.digests)})
    buffer = pa.BufferOutputStream()
    pq.write_table(
        table,
        buffer,
        row_group_size=max(1, len(good.names)),
        compression={"name": "zstd", "label": "zstd", "digest": "none"},
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    return buffer.getvalue()


def _strings(values: Sequence[str]) -> pa.Array:
    """As `pa.array` does, which imports pandas too."""
    joined = "".join(values)
    lengths = np.fromiter(map(len, values), np.int32, len(values))
    encoded = joined.encode()
    if len(encoded) != len(joined):
        lengths = np.fromiter((len(value.encode()) for value in values), np.int32, len(values))
    ends = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(encoded))


def _numbers(values: NDArray[np.int64]) -> pa.Array:
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])
