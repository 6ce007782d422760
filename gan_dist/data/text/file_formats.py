"""Sentences of files and tables: where each stands, its text, or why there is none."""

from __future__ import annotations

import csv
import io
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from gan_dist.data.source import Label, Part, RawSample
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.runs.storage import Folder
from gan_dist.spec.problems import suggestion

TABLES = {".csv": ",", ".tsv": "\t"}


def iterate_sentences(root: Folder, file: str, how: TextReadOptions) -> Iterator[Sentence]:
    """Every sentence of a file, in order; lines without any character are passed over.

    Raises:
        DataError: the file is no table, or has no such column.
    """
    return _format(file).all(root, file, how)


def read_sentences(part: Part) -> Iterator[RawSample]:
    """The sentences of a part at their places."""
    root, how = Folder(part.root), TextReadOptions.of(part.note)
    named = [(name.rpartition(":")[0], name, place, label) for name, place, label in part.rows()]
    for file, group in groupby(named, lambda row: row[0]):
        wanted = list(group)
        contents = _format(file).at(root, file, how, [place for _, _, place, _ in wanted])
        for (_, name, _, label), content in zip(wanted, contents, strict=True):
            yield RawSample(name, content, label)


class _Format(NamedTuple):
    """How one kind of file is read, from its beginning and at places."""

    all: Callable[[Folder, str, TextReadOptions], Iterator[Sentence]]
    at: Callable[[Folder, str, TextReadOptions, list[int]], Iterator[str | UnreadableSample]]


def _format(file: str) -> _Format:
    name = file.lower()
    if name.endswith(".parquet"):
        return _Format(_parquet, _parquet_at)
    if name.endswith(".json"):
        return _Format(_document, _document_at)
    if name.endswith(tuple(TABLES)):
        return _Format(_table, _table_at)
    return _Format(_lines, _lines_at)


def _lines(root: Folder, file: str, how: TextReadOptions) -> Iterator[Sentence]:
    """Lines of text, or of JSON (`.jsonl`)."""
    with opened(root, file) as stream:
        place, raw = 0, line_of(stream)
        while raw:
            if raw.strip():
                yield _of_line(place, text_of(raw, how.encoding), file, how)
            place, raw = stream.tell(), line_of(stream)


def _lines_at(root: Folder, file: str, how: TextReadOptions, places: list[int]) -> Iterator[str | UnreadableSample]:
    with opened(root, file) as stream:
        for place in places:
            if stream.tell() != place:
                stream.seek(place)
            yield _of_line(place, text_of(line_of(stream), how.encoding), file, how).content


def _of_line(place: int, text: str | UnreadableSample, file: str, how: TextReadOptions) -> Sentence:
    if isinstance(text, UnreadableSample) or not file.lower().endswith(".jsonl"):
        return Sentence(place, text)
    try:
        return of_record(place, json.loads(text), file, how)
    except json.JSONDecodeError as error:
        return Sentence(place, UnreadableSample(f"no JSON: {error}"))


class _Counted:
    """Lines of a stream as `csv` wants them, with the place where the next one begins."""

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self.stream, self.encoding = stream, encoding

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = line_of(self.stream)
        if not raw:
            raise StopIteration
        text = text_of(raw, self.encoding)
        if isinstance(text, UnreadableSample):
            raise text
        return f"{text}\n"


def _table(root: Folder, file: str, how: TextReadOptions) -> Iterator[Sentence]:
    with opened(root, file) as stream:
        rows, header = _rows(stream, file, how)
        while True:
            place = stream.tell()
            try:
                cells = next(rows)
            except StopIteration:
                return
            except (UnreadableSample, csv.Error) as error:
                yield Sentence(place, UnreadableSample(str(error)))
                continue
            if cells:
                yield _of_cells(place, cells, header, file, how)


def _table_at(root: Folder, file: str, how: TextReadOptions, places: list[int]) -> Iterator[str | UnreadableSample]:
    with opened(root, file) as stream:
        rows, header = _rows(stream, file, how)
        for place in places:
            stream.seek(place)
            try:
                yield _of_cells(place, next(rows), header, file, how).content
            except (UnreadableSample, csv.Error) as error:
                yield UnreadableSample(str(error))


def _rows(stream: io.BufferedReader, file: str, how: TextReadOptions) -> tuple[Iterator[list[str]], list[str]]:
    delimiter = next(mark for end, mark in TABLES.items() if file.lower().endswith(end))
    rows = csv.reader(iter(_Counted(stream, how.encoding)), delimiter=delimiter)
    try:
        return rows, next(rows)
    except StopIteration:
        raise DataError(f"data.source: {file!r} is empty; a table begins with the names of its columns") from None
    except (UnreadableSample, csv.Error) as error:
        raise DataError(f"data.source: the first line of {file!r} cannot be read: {error}") from error


def _of_cells(place: int, cells: list[str], header: list[str], file: str, how: TextReadOptions) -> Sentence:
    if len(cells) != len(header):
        return Sentence(place, UnreadableSample(f"{len(cells)} cells where the table has {len(header)} columns"))
    record: dict[str, Any] = dict(zip(header, cells, strict=True))
    return of_record(place, record, file, how)


@lru_cache(maxsize=2)
def _parsed(root: Folder, file: str, encoding: str) -> list[Any]:
    """The list that a JSON document is. It is held whole: large sets want a line for each sentence."""
    try:
        found = json.loads(root.read(file).decode(encoding))
    except ValueError as error:
        raise DataError(f"data.source: {root.uri}/{file} is no JSON document: {error}") from error
    if not isinstance(found, list):
        raise DataError(f"data.source: {root.uri}/{file} holds a {type(found).__name__}, not a list of sentences")
    return found


def _document(root: Folder, file: str, how: TextReadOptions) -> Iterator[Sentence]:
    for place, record in enumerate(_parsed(root, file, how.encoding)):
        yield of_record(place, record, file, how)


def _document_at(root: Folder, file: str, how: TextReadOptions, places: list[int]) -> Iterator[str | UnreadableSample]:
    found = _parsed(root, file, how.encoding)
    return (of_record(place, found[place], file, how).content for place in places)


def _parquet(root: Folder, file: str, how: TextReadOptions) -> Iterator[Sentence]:
    opened, place = _parquet_file(root, file), 0
    for batch in opened.iter_batches(columns=_parquet_columns(opened, file, how)):
        for record in batch.to_pylist():
            yield of_record(place, record, file, how)
            place += 1


def _parquet_at(root: Folder, file: str, how: TextReadOptions, places: list[int]) -> Iterator[str | UnreadableSample]:
    opened, awaited = _parquet_file(root, file), iter(places)
    place, first = next(awaited, None), 0
    for number in range(opened.metadata.num_row_groups):
        ends = first + opened.metadata.row_group(number).num_rows
        if place is not None and place < ends:
            rows = opened.read_row_group(number, columns=_parquet_columns(opened, file, how))
            while place is not None and place < ends:
                (record,) = rows.slice(place - first, 1).to_pylist()
                yield of_record(place, record, file, how).content
                place = next(awaited, None)
        first = ends


def _parquet_file(root: Folder, file: str) -> Any:
    try:
        return pq.ParquetFile(root.seekable(file))
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"data.source: {root.uri}/{file} cannot be read: {error}") from error


def _parquet_columns(opened: Any, file: str, how: TextReadOptions) -> list[str]:
    schema = opened.schema_arrow
    texts = [one.name for one in schema if pa.types.is_string(one.type) or pa.types.is_large_string(one.type)]
    wanted = list(columns_of(texts, schema.names, how, file))
    return wanted if how.label is None or how.label in wanted else [*wanted, how.label]


LONGEST_LINE = 1 << 20
USUAL_COLUMNS = ("text", "sentence", "caption", "content", "body")
BOM = b"\xef\xbb\xbf"


class Sentence(NamedTuple):
    """One sentence where it stands: a byte offset, or a row's number; a text, or why there is none."""

    place: int
    content: str | UnreadableSample
    label: Label = None


@dataclass(frozen=True)
class TextReadOptions:
    """How a file is read: its encoding, and which columns of a table hold the text (those of several are joined; the
    usual one where none is named) and the label."""

    encoding: str = "utf-8"
    columns: tuple[str, ...] = ()
    label: str | None = None

    @classmethod
    def of(cls, note: str) -> TextReadOptions:
        """From `note_of`."""
        record = json.loads(note)
        return cls(**record | {"columns": tuple(record["columns"])})


class LineNames(Sequence[str]):
    """`FILE:N`, the sentences of files by their number; made when asked for, as there may be millions."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.ends: list[int] = []

    def add(self, file: str, count: int) -> None:
        self.files.append(file)
        self.ends.append(count + len(self))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        if not 0 <= at < len(self):
            raise IndexError(at)
        which = bisect_right(self.ends, at)
        return f"{self.files[which]}:{at - (self.ends[which - 1] if which else 0) + 1}"


class SomeNames(Sequence[str]):
    """Some of a sequence of names, at rising positions."""

    def __init__(self, names: Sequence[str], chosen: Sequence[int]) -> None:
        self.names, self.chosen = names, chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, at: Any) -> Any:
        return [self.names[one] for one in self.chosen[at]] if isinstance(at, slice) else self.names[self.chosen[at]]


def note_of(how: TextReadOptions) -> str:
    """What a part needs to know to read its sentences again."""
    return json.dumps(asdict(how))


def opened(root: Folder, file: str) -> io.BufferedReader:
    return io.BufferedReader(root.seekable(file), 1 << 20)


def text_of(raw: bytes, encoding: str) -> str | UnreadableSample:
    """A line as text, without its end."""
    if len(raw) > LONGEST_LINE:
        return UnreadableSample(f"a line of more than {LONGEST_LINE >> 20} MiB")
    try:
        text = raw.removeprefix(BOM).decode(encoding).strip("\r\n")
    except UnicodeDecodeError as error:
        return UnreadableSample(
            f"no {encoding}: byte 0x{raw[error.start]:02x} at {error.start}; data.encoding says another"
        )
    return UnreadableSample("zeros, no text") if "\0" in text else text


def line_of(stream: io.BufferedReader) -> bytes:
    """The next line; of one that is too long only the beginning, with a character more than is allowed."""
    raw = stream.readline(LONGEST_LINE + 1)
    while len(raw) > LONGEST_LINE and not raw.endswith(b"\n"):
        rest = stream.readline(LONGEST_LINE)
        if not rest or rest.endswith(b"\n"):
            break
    return raw


def of_record(place: int, record: object, file: str, how: TextReadOptions) -> Sentence:
    """A sentence out of a text alone, or of a mapping."""
    if isinstance(record, str):
        return Sentence(place, record)
    if not isinstance(record, dict):
        return Sentence(place, UnreadableSample(f"a {type(record).__name__} where a text or a mapping is wanted"))
    texts = [key for key, value in record.items() if isinstance(value, str)]
    parts = [record.get(column) for column in columns_of(texts, list(record), how, file)]
    words = [part for part in parts if isinstance(part, str)]
    found = " ".join(words) if len(words) == len(parts) else UnreadableSample("no text in its column")
    return Sentence(place, found, _label(record, file, how))


def columns_of(texts: list[str], there: list[str], how: TextReadOptions, file: str) -> tuple[str, ...]:
    """The columns that hold the text.

    Raises:
        DataError: there is no such column, or none is asked for and several hold words.
    """
    for asked in how.columns:
        if asked not in there:
            raise DataError(f"data.column: {file!r} has no column {asked!r}{suggestion(asked, there)}")
    if how.columns:
        return how.columns
    usual = [column for column in USUAL_COLUMNS if column in there]
    if not usual and len(texts) != 1:
        raise DataError(f"data.column: say which column of {file!r} holds the text ({', '.join(there) or 'none'})")
    return ((usual or texts)[0],)


def _label(record: dict[str, Any], file: str, how: TextReadOptions) -> Label:
    if how.label is None:
        return None
    if how.label not in record:
        there = list(record)
        raise DataError(f"data.label_column: {file!r} has no column {how.label!r}{suggestion(how.label, there)}")
    value = record[how.label]
    if value in (None, ""):
        return None
    return value if isinstance(value, int) and not isinstance(value, bool) else str(value)
