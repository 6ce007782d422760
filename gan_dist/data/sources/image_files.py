"""Image files: in a folder, perhaps with a folder for each class, or named by a table of paths and labels."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from gan_dist.data.image_decoding import SUFFIXES
from gan_dist.data.source import Label, Listing, Part, RawSample, folder_labels, state_of
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import ImageData

PATHS = ("file_name", "filename", "path", "file", "image")
LABELS = ("label", "class", "category", "cls")


def is_image(name: str) -> bool:
    """Whether a file is taken for an image, by its name."""
    last = name.rpartition("/")[2]
    return last.lower().endswith(SUFFIXES) and not last.startswith(".")


def list_folder(data: ImageData, root: Folder) -> Listing | None:
    """Every image below a folder, in the order of their names; None where there is none."""
    entries = sorted(entry for entry in root.below() if is_image(entry.name))
    if not entries:
        return None
    if data.labels == "source":
        raise DataError("data.labels: 'source' needs data that carry labels; for a folder use 'folders' or 'none'")
    names = [entry.name for entry in entries]
    labels = folder_labels(names, root.uri) if data.labels == "folders" else []
    return Listing(kind="files", where=root.uri, state=state_of(entries), root=root.uri, names=names, labels=labels)


def list_table(data: ImageData, root: Folder, name: str) -> Listing:
    """Images named by a CSV or JSONL file, by paths relative to it, with their labels if the job asks for them."""
    if data.labels == "folders":
        raise DataError("data.labels: 'folders' needs a folder of images; for a table use 'source' or 'none'")
    rows = _rows(root, name)
    path = _column(rows, PATHS, name, "paths of images")
    names = [str(row.get(path) or "") for row in rows]
    labels: list[Label] = []
    if data.labels == "source":
        column = _column(rows, LABELS, name, "labels")
        labels = _as_labels([row.get(column) for row in rows])
    state = state_of([root.entry(name), *map(root.entry, names)])
    return Listing(kind="files", where=f"{root.uri}/{name}", state=state, root=root.uri, names=names, labels=labels)


def read_files(part: Part) -> Iterator[RawSample]:
    root = Folder(part.root)
    for name, _, label in part.rows():
        yield RawSample(name, read_image(root, name), label)


def read_image(root: Folder, name: str) -> bytes | UnreadableSample:
    """A file's bytes, or why there are none.

    Raises:
        DataError: the disk or network cannot be read; another try may.
    """
    try:
        return root.read(name)
    except FileNotFoundError:
        return UnreadableSample("no such file")
    except (IsADirectoryError, PermissionError) as error:
        return UnreadableSample(error.strerror or str(error))
    except OSError as error:
        raise DataError(f"data.source: {root.uri}/{name} cannot be read now: {error}") from error


def _rows(root: Folder, name: str) -> list[dict[str, Any]]:
    try:
        text = root.read(name).decode("utf-8-sig")
        if name.lower().endswith(".csv"):
            rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(text)))
        else:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"data.source: {root.uri}/{name} cannot be read: {error}") from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"data.source: {root.uri}/{name} holds no rows with named columns")
    return rows


def _column(rows: list[dict[str, Any]], known: tuple[str, ...], name: str, what: str) -> str:
    found = next((column for column in known if column in rows[0]), None)
    if found is None:
        there = ", ".join(map(str, rows[0]))
        raise DataError(f"data.source: {name!r} has no column of {what} (one of {', '.join(known)}); it has {there}")
    return found


def _as_labels(values: list[Any]) -> list[Label]:
    """Whole numbers as numbers if all are such, else text; what is empty is no label."""
    known = [None if value in (None, "") else value for value in values]
    if all(value is None or str(value).lstrip("-").isdigit() for value in known):
        return [None if value is None else int(value) for value in known]
    return [None if value is None else str(value) for value in known]
