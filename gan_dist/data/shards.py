"""One shard: a Parquet file of decoded samples, and beside it a record that says the file is whole.

Columns: name, label, digest (of pixels and label) and image, the bytes of a uint8 tensor [C, S, S] whose shape the
schema's metadata holds. Images are fixed-size byte strings: Parquet has no bytes, and a list of numbers takes ten
times as long to read.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gan_dist.data.source import DataError, Part
from gan_dist.data.sources import Row, read
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
    rows = list(read(part))
    good = [row for row in rows if row.pixels is not None]
    content = _parquet(good, part)
    record = {
        "file": f"{name}.parquet",
        "rows": len(good),
        "bytes": len(content),
        "rejected": [[row.name, row.reason] for row in rows if row.pixels is None],
        "native": _native(good),
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
        content = pa.BufferReader(folder.read(file))
        return pq.read_table(content, columns=columns, page_checksum_verification=True)
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


def _parquet(rows: list[Row], part: Part) -> bytes:
    shape = (part.look.channels, part.look.size, part.look.size)
    pixels = [np.ascontiguousarray(row.pixels).tobytes() for row in rows]
    table = pa.table(
        {
            "name": pa.array([row.name for row in rows], pa.string()),
            "label": pa.array([row.label for row in rows], pa.int64()),
            "digest": pa.array([_digest(p, row.label) for p, row in zip(pixels, rows, strict=True)], pa.int64()),
            "image": pa.array(pixels, pa.binary(int(np.prod(shape)))),
        }
    ).replace_schema_metadata({SHAPE: json.dumps(shape).encode()})
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        row_group_size=max(1, len(rows)),
        compression={"name": "zstd", "label": "zstd", "digest": "none", "image": "none"},
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    return buffer.getvalue()


def _native(rows: list[Row]) -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    for row in rows:
        key = str(row.native_channels)
        count, first = found.get(key, (0, row.name))
        found[key] = (count + 1, first)
    return found


def _digest(pixels: bytes, label: int) -> int:
    content = pixels + label.to_bytes(4, "little")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)
