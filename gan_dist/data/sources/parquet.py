"""Parquet files with images as bytes, plain or as the `{bytes, path}` of dataset hubs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pyarrow as pa

from gan_dist.data.labels import VECTORS, Label, label_of, labels_of
from gan_dist.data.parquet_file import open_parquet, rows_at_a_time
from gan_dist.data.source import Content, Listing, Part, RawSample, explain_damage, reason_of, state_of
from gan_dist.data.sources.layout import split_files
from gan_dist.data.tables import column_named
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import ImageData

BATCH = 64
ENDINGS = (".parquet", ".pq")
IMAGES = ("image", "img", "jpg", "png", "webp", "picture")
LABELS = ("label", "labels", "class", "cls", "fine_label", *VECTORS)


def is_parquet(name: str) -> bool:
    return name.lower().endswith(ENDINGS)


def list_parquet(data: ImageData, root: Folder, names: list[str]) -> Listing:
    """The rows of one Parquet file, or of several in the order of their names."""
    if data.labels == "folders":
        raise DataError("data.labels: 'folders' needs a folder of images; for Parquet use 'source' or 'none'")
    shown: list[str] = []
    places: list[int] = []
    labels: list[Label] = []
    layout = split_files(sorted(names), data.split, "files")
    used = layout.tails
    for name in used:
        opened = _opened(root, name)
        rows = opened.metadata.num_rows
        _image_column(opened, name)
        shown += [f"{name}!{row}" for row in range(rows)]
        places += range(rows)
        if data.reads_labels:
            with explain_damage(f"{root.uri}/{name}"):
                labels += _labels(opened, name)
    labels = labels_of(labels)
    where = f"{root.uri}/{names[0]}" if len(names) == 1 else root.uri
    if not shown:
        raise DataError(f"data.source: {where!r} has no rows")
    return Listing(
        kind="parquet",
        where=where,
        state=state_of(map(root.entry, used)),
        root=root.uri,
        names=shown,
        labels=labels,
        places=places,
        remarks=layout.remarks,
    )


def read_parquet(part: Part) -> Iterator[RawSample]:
    root = Folder(part.root)
    named = [(shown.rpartition("!")[0], shown, place, label) for shown, place, label in part.rows()]
    for name, group in groupby(named, lambda row: row[0]):
        wanted = list(group)
        values = _values(_opened(root, name), name, [place for _, _, place, _ in wanted])
        for (_, shown, _, label), value in zip(wanted, values, strict=True):
            yield RawSample(shown, _content(value), label)


def _values(opened: Any, name: str, places: list[int]) -> Iterator[Any]:
    """The images at ascending rows, read some at a time from the row groups that hold them."""
    column, awaited = _image_column(opened, name), iter(places)
    place = next(awaited, None)
    first = 0
    for number in range(opened.metadata.num_row_groups):
        ends = first + opened.metadata.row_group(number).num_rows
        if place is not None and place < ends:
            try:
                rows = min(BATCH, rows_at_a_time(opened, number, [column]))
                for batch in opened.iter_batches(batch_size=rows, row_groups=[number], columns=[column]):
                    while place is not None and place < first + len(batch):
                        yield batch[column][place - first].as_py()
                        place = next(awaited, None)
                    first += len(batch)
                    if place is None:
                        return
                damage = UnreadableSample("damaged Parquet: fewer rows than its footer says")
            except (OSError, pa.ArrowException) as error:
                damage = UnreadableSample(f"damaged Parquet: {reason_of(error)}")
            while place is not None and place < ends:
                yield damage
                place = next(awaited, None)
        first = ends
    while place is not None:
        yield UnreadableSample("damaged Parquet: fewer rows than its footer says")
        place = next(awaited, None)


def _opened(root: Folder, name: str) -> Any:
    return open_parquet(root, name)


def _image_column(opened: Any, name: str) -> str:
    schema = opened.schema_arrow
    other = [field.name for field in schema if _is_image(field.type)]
    known = column_named(other, IMAGES)
    if known is None and len(other) != 1:
        raise DataError(
            f"data.source: {name!r} has no column of image bytes (one of {', '.join(IMAGES)}); "
            f"it has {', '.join(f'{field.name} ({field.type})' for field in schema)}"
        )
    return known or str(other[0])


def _is_image(kind: pa.DataType) -> bool:
    """Bytes of any kind: plain, large, viewed, by a dictionary, or the `bytes` of a struct."""
    if pa.types.is_dictionary(kind):
        return _is_image(kind.value_type)
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_image(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _content(value: Any) -> Content:
    if isinstance(value, UnreadableSample):
        return value
    content = value.get("bytes") if isinstance(value, dict) else value
    return content if isinstance(content, bytes) else UnreadableSample("no bytes in this row")


def _labels(opened: Any, name: str) -> list[Label]:
    column = column_named(opened.schema_arrow.names, LABELS)
    if column is None:
        there = ", ".join(opened.schema_arrow.names)
        raise DataError(f"data.labels: of the source, but {name!r} has none of {', '.join(LABELS)}; it has {there}")
    values: list[Any] = []
    for number in range(opened.metadata.num_row_groups):
        rows = rows_at_a_time(opened, number, [column])
        for batch in opened.iter_batches(batch_size=rows, row_groups=[number], columns=[column]):
            values += map(label_of, batch[column].to_pylist())
    names = _class_names(opened, column)
    return [names[value] if names and isinstance(value, int) and 0 <= value < len(names) else value for value in values]


def _class_names(opened: Any, column: str) -> list[str]:
    """What dataset hubs write beside a column of class numbers."""
    written = (opened.schema_arrow.metadata or {}).get(b"huggingface")
    try:
        feature = json.loads(written)["info"]["features"][column] if written else {}
    except (ValueError, KeyError, TypeError):
        return []
    names = feature.get("names") if isinstance(feature, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else []
