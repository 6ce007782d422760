"""Sentences of files and tables: where each stands, its text, or why there is none."""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby, islice
from typing import Any, NamedTuple

import pyarrow as pa

from gan_dist.data import tables
from gan_dist.data.json_text import LARGEST_DOCUMENT, parse_json
from gan_dist.data.labels import Label, label_of
from gan_dist.data.parquet_file import open_parquet, rows_at_a_time
from gan_dist.data.prompts import PROMPT_END
from gan_dist.data.source import Part, RawSample, reason_of
from gan_dist.data.tables import Table, column_named
from gan_dist.data.text_stream import (
    JSON_ENDINGS,
    LINES,
    LONGEST_LINE,
    RECORDS,
    SURROGATE,
    Lines,
    TextFormat,
    plain_name,
    text_format,
)
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.runs.storage import Entry, Folder
from gan_dist.spec.problems import suggestion

USUAL_COLUMNS = ("text", "sentence", "caption", "content", "body")


class Sentence(NamedTuple):
    """One sentence where it stands: a place in its file, or a row's number; a text, or why there is none."""

    place: int
    content: str | UnreadableSample
    label: Label = None


@dataclass(frozen=True)
class TextReadOptions:
    """How a file is read: its encoding (None for what its bytes say), and which columns of a table hold the text (those
    of several are joined; the usual one where none is named), the label and the prompt."""

    encoding: str | None = None
    columns: tuple[str, ...] = ()
    label: str | None = None
    prompt: str | None = None

    @classmethod
    def of(cls, note: str) -> TextReadOptions:
        """From `note_of`."""
        record = json.loads(note)
        return cls(**record | {"columns": tuple(record["columns"])})

    @property
    def known(self) -> tuple[str, ...]:
        """Names by which a table's first line is told from data."""
        others = [name for name in (self.label, self.prompt) if name is not None]
        return (*self.columns, *USUAL_COLUMNS, *others)


def note_of(how: TextReadOptions) -> str:
    """What a part needs to know to read its sentences again."""
    return json.dumps(asdict(how))


def iterate_sentences(root: Folder, file: str, how: TextReadOptions) -> Iterator[Sentence]:
    """Every sentence of a file, in order; lines without any character are passed over.

    Raises:
        DataError: the file is no table, or has no such column.
    """
    return _format(root, file, how).all(root, file, how)


def read_sentences(part: Part) -> Iterator[RawSample]:
    """The sentences of a part at their places."""
    root, how = Folder(part.root), TextReadOptions.of(part.note)
    named = [(name.rpartition(":")[0], name, place, label) for name, place, label in part.rows()]
    for file, group in groupby(named, lambda row: row[0]):
        wanted = list(group)
        contents = _format(root, file, how).at(root, file, how, [place for _, _, place, _ in wanted])
        for (_, name, _, label), content in zip(wanted, contents, strict=True):
            yield RawSample(name, content, label)


def first_records(root: Folder, file: str, how: TextReadOptions, most: int) -> list[dict[str, Any]]:
    """The first rows of a table as mappings from column to value; none of a file that is no table."""
    kind = _kind(root, file, how)
    found: Iterator[Any] = iter(())
    if kind == "parquet":
        opened = _parquet_file(root, file)
        found = (record for batch in opened.iter_batches(most) for record in _mappings(batch))
    elif kind == "table":
        found = (row.cells for row in Table(root, file, how.encoding, how.known).rows())
    elif kind == "document":
        found = iter(_parsed(root, root.entry(file), how.encoding))
    elif kind == "records":
        lines = Lines(root, file, text_format(root, file, how.encoding), RECORDS)
        found = (_value_of(line.text) for line in lines)
    return [record for record in islice(found, most) if isinstance(record, dict)]


def _value_of(line: str | UnreadableSample) -> object:
    """What a line of JSON holds; None where it holds none."""
    try:
        return parse_json(line) if isinstance(line, str) else None
    except ValueError:
        return None


def describe_file(root: Folder, file: str, how: TextReadOptions) -> list[str]:
    """How a file is read, for people: what is not plain UTF-8, and which columns of which table."""
    kind = _kind(root, file, how)
    if kind == "parquet":
        opened = _parquet_file(root, file)
        found = _parquet_columns(opened, file, how)
        return [f"columns: {', '.join(opened.schema_arrow.names)}; text from {_quoted(found)}"]
    stored = text_format(root, file, how.encoding, detect=kind == "table")
    told = [one for one in (stored.packed, stored.encoding if stored.encoding != "utf-8" else "") if one]
    lines = [f"encoding: {', '.join(told)} ({file})"] if told else []
    if kind == "table":
        dialect = _table_of(root, file, how).dialect
        lines.append(f"{dialect.describe()}; text from {_quoted(columns_of([], list(dialect.columns), how, file))}")
    return lines


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)


class _Format(NamedTuple):
    """How one kind of file is read, from its beginning and at places."""

    all: Callable[[Folder, str, TextReadOptions], Iterator[Sentence]]
    at: Callable[[Folder, str, TextReadOptions, list[int]], Iterator[str | UnreadableSample]]


def _format(root: Folder, file: str, how: TextReadOptions) -> _Format:
    return _FORMATS[_kind(root, file, how)]


def _kind(root: Folder, file: str, how: TextReadOptions) -> str:
    """What a file holds: by the end of its name, and of JSON by how it begins."""
    name = plain_name(file)
    if name.endswith(".parquet"):
        return "parquet"
    if name.endswith(tables.ENDINGS):
        return "table"
    if not name.endswith(JSON_ENDINGS):
        return "lines"
    return "document" if _is_document(root, root.entry(file), how.encoding) else "records"


@lru_cache(maxsize=256)
def _is_document(root: Folder, entry: Entry, encoding: str | None) -> bool:
    """Whether a file of JSON is one value, and not a value on each line."""
    lines = Lines(root, entry.name, text_format(root, entry.name, encoding), RECORDS)
    try:
        written = (line.text for line in lines if not isinstance(line.text, str) or line.text.strip())
        first, second = next(written, ""), next(written, None)
    finally:
        lines.close()
    if not isinstance(first, str):
        return False
    if first.lstrip().startswith("["):
        return True
    try:
        parse_json(first)
    except ValueError:
        return first.strip() in ("{", "")
    return second is None and plain_name(entry.name).endswith(".json")


def _lines(root: Folder, file: str, how: TextReadOptions) -> Iterator[Sentence]:
    if how.prompt is not None:
        raise DataError(
            f"data.prompt: {how.prompt!r} is a column, and {file!r} is no table; name a table, or take the beginning "
            "of each line: {first: 1 sentence}"
        )
    for line in Lines(root, file, text_format(root, file, how.encoding), LINES):
        if isinstance(line.text, UnreadableSample):
            yield Sentence(line.place, line.text)
        elif line.text.strip():
            yield Sentence(line.place, _whole(line.text))


def _lines_at(root: Folder, file: str, how: TextReadOptions, places: list[int]) -> Iterator[str | UnreadableSample]:
    lines = _lines_of(root, file, how.encoding, LINES)
    for place in places:
        lines.seek(place)
        text = next(lines).text
        yield text if isinstance(text, UnreadableSample) else _whole(text)


def _records(root: Folder, file: str, how: TextReadOptions) -> Iterator[Sentence]:
    """A value of JSON on each line."""
    for line in Lines(root, file, text_format(root, file, how.encoding), RECORDS):
        if not isinstance(line.text, str) or line.text.strip():
            yield _of_json(line.place, line.text, file, how)


def _records_at(root: Folder, file: str, how: TextReadOptions, places: list[int]) -> Iterator[str | UnreadableSample]:
    lines = _lines_of(root, file, how.encoding, RECORDS)
    for place in places:
        lines.seek(place)
        yield _of_json(place, next(lines).text, file, how).content


def _of_json(place: int, text: str | UnreadableSample, file: str, how: TextReadOptions) -> Sentence:
    if isinstance(text, UnreadableSample):
        return Sentence(place, text)
    try:
        return of_record(place, parse_json(text), file, how)
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        return Sentence(place, UnreadableSample(f"no JSON: {error}"))


def _table(root: Folder, file: str, how: TextReadOptions) -> Iterator[Sentence]:
    for row in Table(root, file, how.encoding, how.known).rows():
        yield _of_cells(row.place, row.cells, file, how)


def _table_at(root: Folder, file: str, how: TextReadOptions, places: list[int]) -> Iterator[str | UnreadableSample]:
    for row in _table_of(root, file, how).at(places):
        yield _of_cells(row.place, row.cells, file, how).content


def _of_cells(place: int, cells: Mapping[str, str] | UnreadableSample, file: str, how: TextReadOptions) -> Sentence:
    if isinstance(cells, UnreadableSample):
        return Sentence(place, cells)
    return of_record(place, dict(cells), file, how)


# Files that can only be read from their beginning are kept open, so that the next part goes on where the last ended; by
# thread, as a file has one place.
_OPEN = threading.local()


def _kept_open(key: object, make: Callable[[], Any]) -> Any:
    if getattr(_OPEN, "key", None) != key:
        _OPEN.key, _OPEN.opened = key, make()
    return _OPEN.opened


def _lines_of(root: Folder, file: str, encoding: str | None, rule: str) -> Lines:
    def make() -> Lines:
        stored: TextFormat = text_format(root, file, encoding)
        return Lines(root, file, stored, rule)

    found: Lines = _kept_open((root, root.entry(file), encoding, rule), make)
    return found


def _table_of(root: Folder, file: str, how: TextReadOptions) -> Table:
    key = (root, root.entry(file), how)
    found: Table = _kept_open(key, lambda: Table(root, file, how.encoding, how.known))
    return found


@lru_cache(maxsize=2)
def _parsed(root: Folder, entry: Entry, encoding: str | None) -> list[Any]:
    """The list that a JSON document is. It is held whole: large sets want a line for each sentence."""
    where, texts, size = f"{root.uri}/{entry.name}", [], 0
    for line in Lines(root, entry.name, text_format(root, entry.name, encoding), RECORDS):
        if isinstance(line.text, UnreadableSample):
            raise DataError(f"data.source: {where} is no JSON document: {line.text}; put each sentence on a line")
        texts.append(line.text)
        size += len(line.text)
        if size > LARGEST_DOCUMENT:
            most = f"{LARGEST_DOCUMENT >> 20} MiB"
            raise DataError(f"data.source: {where} is a JSON document of more than {most}; put each sentence on a line")
    try:
        found = parse_json("\n".join(texts))
    except ValueError as error:
        raise DataError(f"data.source: {where} is no JSON document: {error}") from error
    if not isinstance(found, list):
        raise DataError(f"data.source: {where} holds a {type(found).__name__}, not a list of sentences")
    return found


def _document(root: Folder, file: str, how: TextReadOptions) -> Iterator[Sentence]:
    for place, record in enumerate(_parsed(root, root.entry(file), how.encoding)):
        yield of_record(place, record, file, how)


def _document_at(root: Folder, file: str, how: TextReadOptions, places: list[int]) -> Iterator[str | UnreadableSample]:
    found = _parsed(root, root.entry(file), how.encoding)
    return (of_record(place, found[place], file, how).content for place in places)


def _parquet(root: Folder, file: str, how: TextReadOptions) -> Iterator[Sentence]:
    opened, place = _parquet_file(root, file), 0
    for number in range(opened.metadata.num_row_groups):
        for piece in _pieces(opened, number, _parquet_columns(opened, file, how)):
            for record in _mappings(piece):
                yield of_record(place, record, file, how)
                place += 1


def _parquet_at(root: Folder, file: str, how: TextReadOptions, places: list[int]) -> Iterator[str | UnreadableSample]:
    opened, awaited = _parquet_file(root, file), iter(places)
    place, first = next(awaited, None), 0
    for number in range(opened.metadata.num_row_groups):
        ends = first + opened.metadata.row_group(number).num_rows
        if place is not None and place < ends:
            for piece in _pieces(opened, number, _parquet_columns(opened, file, how)):
                while place is not None and place < first + len(piece):
                    (record,) = _mappings(piece[place - first : place - first + 1])
                    yield of_record(place, record, file, how).content
                    place = next(awaited, None)
                first += len(piece)
        first = ends


def _pieces(opened: Any, number: int, columns: list[str]) -> Iterator[Any]:
    """The rows of a row group, some at a time; from where it is damaged on the reason in place of each."""
    left = opened.metadata.row_group(number).num_rows
    try:
        for batch in opened.iter_batches(rows_at_a_time(opened, number, columns), row_groups=[number], columns=columns):
            left -= len(batch)
            yield batch
    except (OSError, pa.ArrowException) as error:
        yield [UnreadableSample(f"damaged Parquet: {reason_of(error)}")] * left


def _mappings(piece: Any) -> list[Any]:
    """Rows as mappings, or why one is none."""
    if isinstance(piece, list):
        return piece
    try:
        rows: list[Any] = piece.to_pylist()
        return rows
    except UnicodeDecodeError as error:
        if len(piece) == 1:
            return [UnreadableSample(f"damaged Parquet: no UTF-8 at byte {error.start} of its text")]
        return [row for at in range(len(piece)) for row in _mappings(piece[at : at + 1])]


def _parquet_file(root: Folder, file: str) -> Any:
    return open_parquet(root, file)


def _parquet_columns(opened: Any, file: str, how: TextReadOptions) -> list[str]:
    schema = opened.schema_arrow
    texts = [one.name for one in schema if _is_text(one.type)]
    others = [] if how.label is None else [column_named(schema.names, [how.label])]
    others += [] if how.prompt is None else [_prompt_column(schema.names, how, file)]
    return list(dict.fromkeys([*columns_of(texts, schema.names, how, file), *filter(None, others)]))


def _is_text(kind: pa.DataType) -> bool:
    """Text of any kind, or a list of tokens."""
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _is_text(kind.value_type) and not pa.types.is_list(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


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


def of_record(place: int, record: object, file: str, how: TextReadOptions) -> Sentence:
    """A sentence out of a text alone, or of a mapping."""
    if isinstance(record, UnreadableSample):
        return Sentence(place, record)
    if isinstance(record, str) and how.prompt is None:
        return Sentence(place, _whole(record))
    if isinstance(record, str):
        return Sentence(place, UnreadableSample("a text without a prompt"))
    if not isinstance(record, dict):
        return Sentence(place, UnreadableSample(f"a {type(record).__name__} where a text or a mapping is wanted"))
    texts = [key for key, value in record.items() if _as_text(value) is not None]
    parts = [_as_text(record.get(column)) for column in columns_of(texts, list(record), how, file)]
    words = [part for part in parts if part is not None]
    found = _whole(" ".join(words)) if len(words) == len(parts) else UnreadableSample("no text in its column")
    return Sentence(place, _prompted(record, found, file, how), _label(record, file, how))


def _prompted(
    record: dict[str, Any], found: str | UnreadableSample, file: str, how: TextReadOptions
) -> str | UnreadableSample:
    """A text after its prompt, if prompts are read from a column."""
    if how.prompt is None or isinstance(found, UnreadableSample):
        return found
    written = _as_text(record[_prompt_column(list(record), how, file)])
    prompt = UnreadableSample("no text in its prompt's column") if written is None else _whole(written)
    return prompt if isinstance(prompt, UnreadableSample) else f"{prompt}{PROMPT_END}{found}"


def _prompt_column(there: list[str], how: TextReadOptions, file: str) -> str:
    """The column that holds prompts. Raises DataError where there is none of that name."""
    assert how.prompt is not None
    found = column_named(there, [how.prompt])
    if found is None:
        near = suggestion(how.prompt, there)
        raise DataError(f"data.prompt: {file!r} has no column {how.prompt!r}{near}")
    return found


def _as_text(value: object) -> str | None:
    """A text, also one that is stored as a list of its tokens; None for what is none."""
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return " ".join(value)
    return value if isinstance(value, str) else None


def _whole(text: str) -> str | UnreadableSample:
    """A text without blanks at its ends, or why it is none: half a character cannot be stored."""
    if len(text) > LONGEST_LINE:
        return UnreadableSample(f"a text of more than {LONGEST_LINE >> 20} MiB")
    if "\0" in text:
        return UnreadableSample("zeros, no text")
    half = SURROGATE.search(text)
    if half is not None:
        return UnreadableSample(f"half a character: the lone surrogate U+{ord(half.group()):04X}")
    return text.strip()


def columns_of(texts: list[str], there: list[str], how: TextReadOptions, file: str) -> tuple[str, ...]:
    """The columns that hold the text, found without regard to case and blanks.

    Raises:
        DataError: there is no such column, none for prompts, or none is asked for and several hold words.
    """
    if how.columns:
        found = [column_named(there, [asked]) for asked in how.columns]
        if None in found:
            asked = how.columns[found.index(None)]
            raise DataError(f"data.column: {file!r} has no column {asked!r}{suggestion(asked, there)}")
        return tuple(str(column) for column in found)
    given = None if how.prompt is None else _prompt_column(there, how, file)
    there, texts = ([name for name in names if name != given] for names in (there, texts))
    usual = column_named(there, USUAL_COLUMNS)
    if usual is None and len(there) == 1:
        usual = there[0]
    if usual is None and len(texts) != 1:
        raise DataError(f"data.column: say which column of {file!r} holds the text ({', '.join(there) or 'none'})")
    return (usual or texts[0],)


def _label(record: dict[str, Any], file: str, how: TextReadOptions) -> Label:
    if how.label is None:
        return None
    column = column_named(list(record), [how.label])
    if column is None:
        there = list(record)
        raise DataError(f"data.label_column: {file!r} has no column {how.label!r}{suggestion(how.label, there)}")
    return label_of(record[column])


_FORMATS = {
    "lines": _Format(_lines, _lines_at),
    "records": _Format(_records, _records_at),
    "document": _Format(_document, _document_at),
    "table": _Format(_table, _table_at),
    "parquet": _Format(_parquet, _parquet_at),
}
