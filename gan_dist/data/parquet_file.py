"""Parquet files of others, read some rows at a time: a page that is packed, or a dictionary whose one entry comes a
million times, unfolds far beyond its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq

from gan_dist.data.source import explain_damage
from gan_dist.runs.storage import Folder
from gan_dist.runs.unpacking import most_unpacked, size_of_stream, too_far

ROWS = 1 << 16  # at a time, where nothing speaks against it
HELD_BYTES = 256 << 20  # of what is read at a time, in the worst case
FEW_VALUES = 1 << 20  # which any file may hold; of a larger one each takes a byte at least


def open_parquet(root: Folder, name: str) -> Any:
    """A file whose columns may be read.

    Raises:
        DataError: it is damaged, or unfolds too far.
    """
    with explain_damage(f"{root.uri}/{name}"):
        stream = root.seekable(name)
        stored = size_of_stream(stream)
        opened = pq.ParquetFile(stream)
        _check(opened.metadata, stored)
        return opened


def rows_at_a_time(opened: Any, group: int, columns: Sequence[str]) -> int:
    """How many rows of a row group are held at once: one, where each of them may be as large as all that is stored."""
    found = opened.metadata.row_group(group)
    chunks = [found.column(number) for number in range(found.num_columns)]
    repeated: list[int] = [
        chunk.total_uncompressed_size
        for chunk in chunks
        if chunk.has_dictionary_page and chunk.path_in_schema.partition(".")[0] in columns
    ]
    return max(1, min(ROWS, HELD_BYTES // max(1, sum(repeated))))


def _check(metadata: Any, stored: int) -> None:
    """Raises EOFError where it holds more rows than bytes, or pages that unfold too far."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for chunk in (group.column(place) for place in range(group.num_columns)):
            if max(chunk.num_values, group.num_rows) > max(FEW_VALUES, stored):
                raise EOFError(f"it says {chunk.num_values:,} values of {chunk.path_in_schema}, in {stored:,} bytes")
            if chunk.total_uncompressed_size > most_unpacked(stored):
                raise EOFError(too_far(stored, chunk.path_in_schema))
