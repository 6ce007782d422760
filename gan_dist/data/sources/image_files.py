"""Image files: in a folder, perhaps with a folder for each class, or named by a table of paths and labels."""

from __future__ import annotations

import errno
import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from gan_dist.data import tables
from gan_dist.data.json_text import LARGEST_DOCUMENT, MOST_VALUES, parse_json
from gan_dist.data.labels import VECTORS, Label, folder_labels, label_of, labels_of
from gan_dist.data.picture_formats import HEAD_BYTES, ending_of, format_of, is_picture_name
from gan_dist.data.source import Listing, Part, RawSample, state_of
from gan_dist.data.sources.layout import split_folders
from gan_dist.data.sources.walk import Walk, describe_passed
from gan_dist.data.tables import Table, column_named
from gan_dist.data.text_stream import JSON_ENDINGS, RECORDS, Lines, plain_name, text_format
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.runs.storage import Entry, Folder, is_uri
from gan_dist.runs.unpacking import LARGEST_BYTES
from gan_dist.spec.data import ImageData, PictureData

PATHS = ("file_name", "filename", "path", "filepath", "file", "image", "image_path")
LABELS = ("label", "class", "category", "cls", "target")
COLUMNS_SHOWN = 6
NEVER = (errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG)  # another try may not
_NO_PATH = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")  # bytes that are no UTF-8 are U+DC80 to U+DCFF


def is_table(name: str) -> bool:
    """Whether a file is taken for a table of paths."""
    return plain_name(name).endswith((*tables.ENDINGS, *JSON_ENDINGS))


def list_folder(data: ImageData, root: Folder, found: Walk) -> Listing | None:
    """Every image below a folder, in the order of their names; None where there is none."""
    pictures, remarks = pictures_among(data, root, found)
    if not pictures:
        return None
    if data.reads_labels:
        raise DataError(
            f"data.labels: {data.labels!r} needs data that carry labels; for a folder use 'folders' or 'none', or name "
            "a table of its files"
        )
    layout = split_folders([entry.name for entry in pictures], data.split)
    entries = [pictures[place] for place in layout.kept]
    labels = folder_labels(layout.tails, root.uri) if data.labels == "folders" else []
    return Listing(
        kind="files",
        where=root.uri,
        state=state_of(entries),
        root=root.uri,
        names=[entry.name for entry in entries],
        labels=labels,
        remarks=[*layout.remarks, *remarks],
        file_bytes=sum(entry.size for entry in entries),
    )


def pictures_among(data: PictureData, root: Folder, found: Walk) -> tuple[list[Entry], list[str]]:
    """The files that are pictures, and what is said of the others.

    A file is one by its ending, or on a local disk by how it begins, whatever it is called.
    """
    passed, pictures = found.passed.copy(), []
    for entry in found.entries:
        if is_picture_name(entry.name) or _begins_as_picture(root, entry):
            pictures.append(entry)
        else:
            passed[ending_of(entry.name)] += 1
    return pictures, describe_passed(passed)


def _begins_as_picture(root: Folder, entry: Entry) -> bool:
    if root.local is None or entry.size < HEAD_BYTES:
        return False
    try:
        with open(root.local / entry.name, "rb") as stream:
            known = format_of(stream.read(HEAD_BYTES))
    except OSError:
        return False
    return known is not None and known.name != "tga"  # which anything may look like


def list_table(data: ImageData, root: Folder, name: str) -> Listing:
    """Images named by a table or JSON lines, by absolute paths or such as begin where it lies, with their labels if the
    job asks for them."""
    if data.labels == "folders":
        raise DataError("data.labels: 'folders' needs a folder of images; for a table use 'source' or 'none'")
    rows, remarks = _rows(root, name)
    path = _column(rows, PATHS, name, "paths of images")
    given = [row for row in rows if any(value not in (None, "") for value in row.values())]
    if empty := len(rows) - len(given):
        remarks.append(f"passed over: {empty} empty rows")
    names = [_path(row.get(path)) or f"row {number + 1}" for number, row in enumerate(given)]
    labels: list[Label] = []
    if data.labels == "source":
        column = _column(rows, LABELS, name, "labels")
        labels = labels_of(row.get(column) for row in given)
        remarks.append(f"columns: image from {path!r}, label from {column!r}")
    elif data.labels == "vectors":
        columns = _columns_of_numbers(given, path, name)
        labels = [_vector(row, columns) for row in given]
        shown = ", ".join(columns[:COLUMNS_SHOWN]) + (", ..." if len(columns) > COLUMNS_SHOWN else "")
        remarks.append(f"columns: image from {path!r}, {len(columns)} of a vector: {shown}")
    entries = [root.entry(one) for one in names if not _leaves(one)]
    return Listing(
        kind="files",
        where=f"{root.uri}/{name}",
        state=state_of([root.entry(name), *entries]),
        root=root.uri,
        names=names,
        labels=labels,
        remarks=remarks,
        file_bytes=sum(entry.size for entry in entries),
    )


def read_files(part: Part) -> Iterator[RawSample]:
    root = Folder(part.root)
    for name, _, label in part.rows():
        yield RawSample(name, read_image(root, name), label)


def read_image(root: Folder, name: str) -> bytes | UnreadableSample:
    """A file's bytes, or why there are none.

    Raises:
        DataError: the disk or network cannot be read; another try may.
    """
    if _NO_PATH.search(name):
        return UnreadableSample("a path that no file can have")
    folder, below = _place(root, name)
    try:
        problem = None if folder.local is None else _not_a_file(folder.local / below)
        return UnreadableSample(problem) if problem else folder.read(below)
    except FileNotFoundError:
        return UnreadableSample("no such file")
    except OSError as error:
        if error.errno in NEVER:
            return UnreadableSample(error.strerror)
        raise DataError(f"data.source: {root.uri}/{name} cannot be read now: {error}") from error


def _not_a_file(path: Path) -> str | None:
    """Why a path is not read: a pipe or a device would be waited for."""
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        return "Is a directory"
    if not stat.S_ISREG(found.st_mode):
        return "is no regular file"
    if found.st_size > LARGEST_BYTES:
        return f"{found.st_size:,} bytes; at most {LARGEST_BYTES:,} are read"
    return None


def _place(root: Folder, name: str) -> tuple[Folder, str]:
    """Where a path of a table leads: from the table's folder, unless it is absolute or a URI."""
    if _leaves(name):
        parent, _, last = name.rpartition("/")
        return Folder(parent or "/"), last
    return root, name


def _leaves(name: str) -> bool:
    return name.startswith("/") or is_uri(name)


def _path(value: Any) -> str:
    """A path as this system writes it: of Windows' form too, without `./`."""
    written = str(value or "").strip()
    if "\\" in written and "/" not in written:
        written = written.replace("\\", "/")
    return written if is_uri(written) or not written else str(PurePosixPath(written))


def _rows(root: Folder, name: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a table, and how it was read.

    Raises:
        DataError: it holds none, or some that cannot be read.
    """
    where = f"{root.uri}/{name}"
    rows, remarks = (
        _cells(root, name, where) if plain_name(name).endswith(tables.ENDINGS) else (_records(root, name, where), [])
    )
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"data.source: {where} holds no rows with named columns")
    return rows, remarks


def _cells(root: Folder, name: str, where: str) -> tuple[list[Any], list[str]]:
    """The rows of a table of cells; one that is broken may stand for a picture that nobody would miss by name."""
    table = Table(root, name, None, (*PATHS, *LABELS))
    remarks = [table.dialect.describe()]
    if table.format.encoding != "utf-8":
        remarks.append(f"encoding: {table.format.encoding}")
    found: list[Any] = []
    for row in table.rows():
        found.append(row.cells)
        if len(found) * len(table.dialect.columns) > MOST_VALUES:
            raise DataError(f"data.source: {where} holds more than {MOST_VALUES:,} cells; write it as several tables")
    broken = [(number, cells) for number, cells in enumerate(found, 1) if isinstance(cells, UnreadableSample)]
    if broken:
        number, why = broken[0]
        raise DataError(
            f"data.source: {where}: {len(broken)} rows cannot be read; mend them; first: row {number}: {why}"
        )
    return [*found, *({} for _ in range(table.empty))], remarks


def _records(root: Folder, name: str, where: str) -> list[Any]:
    """The rows of JSON: a list, or a value on each line."""
    texts: list[str] = []
    size = 0
    for number, line in enumerate(Lines(root, name, text_format(root, name, None), RECORDS), 1):
        if isinstance(line.text, UnreadableSample):
            raise DataError(f"data.source: {where}, line {number}: {line.text}")
        texts.append(line.text)
        size += len(line.text) + 1
        if size > LARGEST_DOCUMENT or number > MOST_VALUES:
            most = f"{LARGEST_DOCUMENT >> 20} MiB, or {MOST_VALUES:,} lines"
            raise DataError(f"data.source: {where} is a table of more than {most}; write it as Parquet or as several")
    whole = "\n".join(texts)
    if whole.lstrip().startswith("["):
        found = _json(whole, where)
        return found if isinstance(found, list) else []
    return [_json(text, f"{where}, line {number}") for number, text in enumerate(texts, 1) if text.strip()]


def _json(text: str, where: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise DataError(f"data.source: {where} is no JSON: {error}") from error


def _columns_of_numbers(rows: list[dict[str, Any]], path: str, name: str) -> list[str]:
    """The column that holds lists, or all that hold a number in some row.

    Raises:
        DataError: there is none.
    """
    if (known := column_named(list(rows[0]), VECTORS)) is not None:
        return [known]
    others = [column for column in rows[0] if column != path]
    lists = [column for column in others if any(_is_list(row.get(column)) for row in rows)]
    if len(lists) == 1:
        return lists
    found = [column for column in others if any(_number(row.get(column)) is not None for row in rows)]
    if not found:
        there = ", ".join(map(str, rows[0]))
        raise DataError(f"data.labels: 'vectors', but {name!r} has no column of numbers; it has {there}")
    return found


def _vector(row: dict[str, Any], columns: list[str]) -> Label:
    """What is written in a column of vectors, or the numbers of several; None where one is missing."""
    if len(columns) == 1:
        return label_of(row.get(columns[0]))
    numbers = [_number(row.get(column)) for column in columns]
    return None if None in numbers else label_of(numbers)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("["))


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _column(rows: list[dict[str, Any]], known: tuple[str, ...], name: str, what: str) -> str:
    first = next(row for row in rows if row)
    found = column_named(list(first), known)
    if found is None:
        there = ", ".join(map(str, first))
        raise DataError(f"data.source: {name!r} has no column of {what} (one of {', '.join(known)}); it has {there}")
    return found
