"""One shard: a Parquet file of decoded samples, and beside it a record that says the file is whole.

Columns: name, label, digest (of pixels and label) and image, the bytes of a uint8 tensor [C, S, S] whose shape the
schema's metadata holds. Images are fixed-size byte strings: Parquet has no bytes, and a list of numbers takes ten
times as long to read.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gan_dist.data.source import DataError, Part
from gan_dist.data.sources import read
from gan_dist.storage import Folder

SHAPE = b"gan_dist.shape"


def name_of(part: Part) -> str:
    return f"shard-{part.first:09d}"


def write_shard(part: Part, folder: Folder) -> dict[str, Any]:
    """Decode a part into its shard; the record. A shard that is whole already is left alone.

    The record: file, rows, bytes, rejected [[name, reason], ...], and native: for grey ("1") and coloured ("3")
    pictures how many there are and the first one's name.

    Raises:
        StorageError: the folder cannot be written.
    """
    name = name_of(part)
    if (done := folder.read_json(f"{name}.json")) is not None:
        return done
    good, rejected, native = _decoded(part)
    content = _parquet(good, part)
    record = {
        "file": f"{name}.parquet",
        "rows": len(good.names),
        "bytes": len(content),
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
        with folder.seekable(file) as stream:
            return pq.read_table(stream, columns=columns, page_checksum_verification=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"data: the prepared shard {folder.uri}/{file} cannot be read ({error}); delete that folder, and it is "
            "prepared anew"
        ) from error


def pixels_of(table: pa.Table) -> NDArray[np.uint8]:
    """The images of a shard, uint8 [N, C, S, S], without copying them."""
    shape = json.loads(table.schema.metadata[SHAPE])
    column = table["image"]
    chunk = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    width = chunk.type.byte_width
    values = np.frombuffer(chunk.buffers()[1], np.uint8, len(chunk) * width, chunk.offset * width)
    return values.reshape(len(chunk), *shape)


class _Good(NamedTuple):
    """The usable samples of a part; `pixels` is [N, C, S, S]."""

    names: list[str]
    labels: list[int]
    digests: list[int]
    pixels: NDArray[np.uint8]


def _decoded(part: Part) -> tuple[_Good, list[list[str]], dict[str, tuple[int, str]]]:
    """The usable samples, the rejected ones with their reasons, and what channels they had."""
    look = part.look
    pixels = np.empty((len(part.names), look.channels, look.size, look.size), np.uint8)
    good = _Good([], [], [], pixels)
    rejected: list[list[str]] = []
    native: dict[str, tuple[int, str]] = {}
    for row in read(part):
        if row.pixels is None:
            rejected.append([row.name, row.reason])
            continue
        count, first = native.get(key := str(row.native_channels), (0, row.name))
        native[key] = (count + 1, first)
        at = pixels[len(good.names)]
        at[:] = row.pixels
        good.names.append(row.name)
        good.labels.append(row.label)
        good.digests.append(_digest(at, row.label))
    return good._replace(pixels=pixels[: len(good.names)]), rejected, native


def _parquet(good: _Good, part: Part) -> bytes:
    shape = (part.look.channels, part.look.size, part.look.size)
    width, count = int(np.prod(shape)), len(good.names)
    images = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), count, [None, pa.py_buffer(good.pixels)])
    table = pa.table(
        {
            "name": pa.array(good.names, pa.string()),
            "label": pa.array(good.labels, pa.int64()),
            "digest": pa.array(good.digests, pa.int64()),
            "image": images,
        }
    ).replace_schema_metadata({SHAPE: json.dumps(shape).encode()})
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        row_group_size=max(1, count),
        compression={"name": "zstd", "label": "zstd", "digest": "none", "image": "none"},
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    return buffer.getvalue()


def _digest(pixels: NDArray[np.uint8], label: int) -> int:
    found = hashlib.blake2b(pixels.data, digest_size=8)
    found.update(label.to_bytes(4, "little"))
    return int.from_bytes(found.digest(), "little", signed=True)
