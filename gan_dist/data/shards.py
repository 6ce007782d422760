"""One shard: a Parquet file of decoded samples, and beside it a record that says the file is whole.

Columns: name, label, digest (of sample and label) and sample, the bytes of a tensor (uint8 pixels [C, S, S], or token
ids [T]) whose shape and type the schema's metadata holds. Samples are fixed-size byte strings: Parquet has no bytes,
and a list of numbers takes ten times as long to read.
"""

from __future__ import annotations

import hashlib
import json
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

FORM = b"gan_dist.form"
SAMPLE, SAMPLE_COLUMN = "sample", 3
SLACK = 1 << 10


def shard_name(part: Part) -> str:
    return f"shard-{part.first:09d}"


def write_shard(part: Part, folder: Folder) -> dict[str, Any]:
    """Decode a part into its shard; the record. A shard that is whole already is left alone.

    The record: file, rows, bytes, where the samples lie in the file (`first`, and `dtype` and `shape` of each), their
    checksum, rejected [[name, reason], ...], and native: for each kind of sample met (of pictures grey, "1", and
    coloured, "3") how many there are and the first one's name.

    Raises:
        StorageError: the folder cannot be written.
    """
    name = shard_name(part)
    if (done := folder.read_json(f"{name}.json")) is not None:
        return done
    good, rejected, native = _decoded(part)
    content = _parquet(good, part)
    record = {
        "file": f"{name}.parquet",
        "rows": len(good.names),
        "bytes": content.size,
        "first": _first_sample(content, good.samples.nbytes),
        "dtype": part.form.dtype.str,
        "shape": list(part.form.shape),
        "checksum": _checksum(good.digests),
        "rejected": rejected,
        "native": native,
    }
    folder.write(str(record["file"]), content)
    folder.write_json(f"{name}.json", record)
    return record


def _first_sample(content: pa.Buffer, size: int) -> int:
    """The byte of the file that the samples begin at: they are the last `size` bytes of their column's one page."""
    found = pq.read_metadata(pa.BufferReader(content)).row_group(0).column(SAMPLE_COLUMN)
    return int(found.data_page_offset + found.total_compressed_size - size)


class ShardReader:
    """The samples of shards, read into memory that is used again: a page that is new costs more than copying into it.

    Args:
        folder: where the shards are.
        records: of each, as `write_shard` gives them.
        labels: class of each sample in canonical order, which the checksums are of too.
    """

    def __init__(self, folder: Folder, records: Sequence[Mapping[str, Any]], labels: NDArray[np.int64]) -> None:
        self.folder, self.records, self.labels = folder, records, labels
        self._ends = np.cumsum([record["rows"] for record in records])
        self._checked: set[int] = set()

    def read(self, number: int, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """The samples of a shard, [N, ...]; the first time they are checked.

        Args:
            into: bytes that are no longer needed, at least as many as the shard's samples.

        Raises:
            DataError: the file is gone or damaged.
        """
        record = self.records[number]
        count, dtype, shape = record["rows"], np.dtype(record["dtype"]), tuple(record["shape"])
        size = count * math.prod(shape) * dtype.itemsize
        held: NDArray[Any] = np.empty(size, np.uint8) if into is None or into.size < size else into
        try:
            read = self._fill(record, held[:size].data)
        except OSError as error:
            raise DataError(_damaged(self.folder, record["file"], error)) from error
        samples: NDArray[Any] = held[:size].view(dtype).reshape(count, *shape)
        if number not in self._checked:
            end = int(self._ends[number])
            if read != size or _checksum(digests_of(samples, self.labels[end - count : end])) != record["checksum"]:
                raise DataError(_damaged(self.folder, record["file"], "its samples are not those that were written"))
            self._checked.add(number)
        return samples

    def _fill(self, record: Mapping[str, Any], held: Any) -> int:
        if self.folder.local is not None:
            with open(self.folder.local / record["file"], "rb", buffering=0) as file:
                file.seek(record["first"])
                return file.readinto(held)
        with self.folder.seekable(record["file"]) as stream:
            stream.seek(record["first"])
            return int(stream.readinto(held))


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


def samples_of(table: pa.Table) -> NDArray[Any]:
    """The samples of a shard, [N, ...], without copying them."""
    form = json.loads(table.schema.metadata[FORM])
    found: NDArray[Any] = _bytes_of(table, SAMPLE).view(form["dtype"]).reshape(len(table), *form["shape"])
    return found


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


def _parquet(good: _Good, part: Part) -> pa.Buffer:
    form = {"shape": part.form.shape, "dtype": part.form.dtype.str}
    width, count = math.prod(part.form.shape) * part.form.dtype.itemsize, len(good.names)
    samples = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), count, [None, pa.py_buffer(good.samples)])
    columns = {
        "name": _strings(good.names),
        "label": _numbers(good.labels),
        "digest": _numbers(good.digests),
        SAMPLE: samples,
    }
    schema = pa.schema(
        [pa.field(name, values.type, nullable=False) for name, values in columns.items()],
        metadata={FORM: json.dumps(form).encode()},
    )
    buffer = pa.BufferOutputStream()
    pq.write_table(
        pa.table(columns, schema=schema),
        buffer,
        row_group_size=max(1, count),
        data_page_size=max(1, good.samples.nbytes) + SLACK,  # one page, so that the samples lie in one piece
        write_batch_size=max(1, count),
        compression={"name": "zstd", "label": "zstd", "digest": "none", SAMPLE: "none"},
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
