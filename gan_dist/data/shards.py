"""One shard: a Parquet file of decoded samples, and beside it a record that says the file is whole.

Columns: name, label, digest (of sample and label) and sample, the bytes of a tensor (uint8 pixels [C, S, S], or token
ids [T]) whose shape and type the schema's metadata holds. Samples are fixed-size byte strings: Parquet has no bytes,
and a list of numbers takes ten times as long to read.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gan_dist.data.source import Part
from gan_dist.data.sources.registry import read_part
from gan_dist.errors import DataError
from gan_dist.runs.storage import Folder

FORM = b"gan_dist.form"
SAMPLE = "sample"


def shard_name(part: Part) -> str:
    return f"shard-{part.first:09d}"


def write_shard(part: Part, folder: Folder) -> dict[str, Any]:
    """Decode a part into its shard; the record. A shard that is whole already is left alone.

    The record: file, rows, bytes, rejected [[name, reason], ...], and native: for each kind of sample met (of
    pictures grey, "1", and coloured, "3") how many there are and the first one's name.

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
        "rejected": rejected,
        "native": native,
    }
    folder.write(str(record["file"]), content)
    folder.write_json(f"{name}.json", record)
    return record


def read_shard(folder: Folder, file: str, columns: list[str]) -> pa.Table:
    """Some columns of a shard, checked against the checksums of its pages.

    Raises:
        DataError: it is gone or damaged.
    """
    try:
        with folder.seekable(file) as stream, pq.ParquetFile(stream, page_checksum_verification=True) as shard:
            return shard.read(columns)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"data: the prepared shard {folder.uri}/{file} cannot be read ({error}); delete that folder, and it is "
            "prepared anew"
        ) from error


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
    """The usable samples of a part; `samples` is [N, ...]."""

    names: list[str]
    labels: list[int]
    digests: list[int]
    samples: NDArray[Any]


def _decoded(part: Part) -> tuple[_Good, list[list[str]], dict[str, tuple[int, str]]]:
    """The usable samples, the rejected ones with their reasons, and of what kinds they were."""
    samples = np.empty((len(part.names), *part.form.shape), part.form.dtype)
    good = _Good([], [], [], samples)
    rejected: list[list[str]] = []
    native: dict[str, tuple[int, str]] = {}
    for row in read_part(part):
        if row.sample is None:
            rejected.append([row.name, row.reason])
            continue
        count, first = native.get(row.native, (0, row.name))
        native[row.native] = (count + 1, first)
        at = samples[len(good.names)]
        at[:] = row.sample
        good.names.append(row.name)
        good.labels.append(row.label)
        good.digests.append(_digest(at, row.label))
    return good._replace(samples=samples[: len(good.names)]), rejected, native


def _parquet(good: _Good, part: Part) -> pa.Buffer:
    form = {"shape": part.form.shape, "dtype": part.form.dtype.str}
    width, count = math.prod(part.form.shape) * part.form.dtype.itemsize, len(good.names)
    samples = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), count, [None, pa.py_buffer(good.samples)])
    table = pa.table(
        {
            "name": _strings(good.names),
            "label": _numbers(good.labels),
            "digest": _numbers(good.digests),
            SAMPLE: samples,
        }
    ).replace_schema_metadata({FORM: json.dumps(form).encode()})
    buffer = pa.BufferOutputStream()
    pq.write_table(
        table,
        buffer,
        row_group_size=max(1, count),
        compression={"name": "zstd", "label": "zstd", "digest": "none", SAMPLE: "none"},
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    return buffer.getvalue()


def _strings(values: list[str]) -> pa.Array:
    """As `pa.array` does, which imports pandas too."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def _numbers(values: list[int]) -> pa.Array:
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.array(values, np.int64))])


def _digest(sample: NDArray[Any], label: int) -> int:
    found = hashlib.sha256(sample.data)  # processors have instructions for it
    found.update(label.to_bytes(4, "little"))
    return int.from_bytes(found.digest()[:8], "little", signed=True)
