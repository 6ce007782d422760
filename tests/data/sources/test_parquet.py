"""Parquet of every type that holds bytes or text; a damaged row group costs its rows by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gan_dist.errors import DataError
from tests.data.corpus import ingest, spec
from tests.data.sources.kinds import pngs
from tests.data.test_text_stream import SENTENCES, sentences
from tests.data.test_text_stream import spec as text_spec

IMAGES = list(pngs(6).values())
OF_BYTES = {
    "plain": pa.array(IMAGES, pa.binary()),
    "large": pa.array(IMAGES, pa.large_binary()),
    "view": pa.array(IMAGES, pa.binary_view()),
    "dictionary": pa.array(IMAGES).dictionary_encode(),
    "struct": pa.array([{"bytes": image, "path": None} for image in IMAGES]),
}
OF_TEXT = {
    "plain": pa.array(SENTENCES),
    "large": pa.array(SENTENCES, pa.large_string()),
    "view": pa.array(SENTENCES, pa.string_view()),
    "dictionary": pa.array(SENTENCES).dictionary_encode(),
    "tokens": pa.array([text.split() for text in SENTENCES]),
    "large tokens": pa.array([text.split() for text in SENTENCES], pa.large_list(pa.string())),
}


@pytest.mark.parametrize("kind", OF_BYTES)
def test_pictures_of_every_type(tmp_path: Path, kind: str) -> None:
    pq.write_table(pa.table({"id": range(6), "picture": OF_BYTES[kind]}), tmp_path / "x.parquet", row_group_size=4)
    assert ingest(spec(tmp_path / "x.parquet")).facts.count == 6


@pytest.mark.parametrize("kind", OF_TEXT)
def test_text_of_every_type(tmp_path: Path, kind: str) -> None:
    pq.write_table(pa.table({"id": range(4), "said": OF_TEXT[kind]}), tmp_path / "x.parquet", row_group_size=3)
    assert sentences(tmp_path / "x.parquet") == SENTENCES


def _damage(path: Path, group: int, column: str) -> None:
    """Overwrite the pages of one column in one row group."""
    meta = pq.read_metadata(path).row_group(group)
    place = next(meta.column(n) for n in range(meta.num_columns) if meta.column(n).path_in_schema == column)
    content = bytearray(path.read_bytes())
    first = place.dictionary_page_offset or place.data_page_offset
    content[first : first + place.total_compressed_size] = b"\xff" * place.total_compressed_size
    path.write_bytes(content)


@pytest.mark.parametrize("group", [0, 1, 2])
def test_a_damaged_row_group_costs_its_rows(tmp_path: Path, group: int) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": IMAGES}), path, row_group_size=2)
    _damage(path, group, "image")
    read = ingest(spec(path, max_rejected=0.5))
    assert [name for name, _ in read.facts.rejected] == [f"x.parquet!{2 * group}", f"x.parquet!{2 * group + 1}"]
    assert read.facts.count == 4 and all(why.startswith("damaged Parquet: ") for _, why in read.facts.rejected)


@pytest.mark.parametrize("group", [0, 1])
def test_a_damaged_row_group_costs_its_sentences(tmp_path: Path, group: int) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": range(4), "text": SENTENCES}), path, row_group_size=2)
    _damage(path, group, "text")
    read = ingest(text_spec(path))
    assert read.facts.count == 2 and [why[:17] for _, why in read.facts.rejected] == ["damaged Parquet: "] * 2


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("text", [False, True])
def test_a_file_that_breaks_off_is_refused(tmp_path: Path, share: float, text: bool) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": SENTENCES} if text else {"image": IMAGES}), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=r"^data\.source: .*x\.parquet cannot be read: "):
        sentences(path) if text else ingest(spec(path))


@pytest.mark.parametrize("values", [list(range(6)), ["0.png"] * 6, [[1, 2]] * 6, np.zeros(6)])
def test_a_table_without_pictures_says_what_it_has(tmp_path: Path, values: Any) -> None:
    pq.write_table(pa.table({"image": values}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"^data\.source: .* no column of image bytes .*; it has image \("):
        ingest(spec(tmp_path / "x.parquet"))
