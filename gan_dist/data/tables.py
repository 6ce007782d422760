"""Tables of text: which mark divides their cells, whether their first line names the columns, and their rows."""

from __future__ import annotations

import csv
import os
import re
import tempfile
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gan_dist.data.text_stream import RECORDS, Lines, TextFormat, text_format
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.runs.storage import Folder

ENDINGS = (".csv", ".tsv", ".tab")
DELIMITERS = ",;\t|"
SNIFFED = 1 << 18  # characters that the dialect is found by
LONGEST_CELL = 1 << 20
LONGEST_ROW = 4 << 20  # characters, over all of its lines
LONGEST_NAME = 48  # characters; longer ones are data and no names of columns
csv.field_size_limit(LONGEST_CELL)


@dataclass(frozen=True)
class Dialect:
    """How a table is written.

    Attributes:
        delimiter: between cells; "" where every line is one cell.
        quote: around cells that hold it; "" for none.
        columns: their names; by number from 1 where the first line names none.
        header: whether the first line names them.
        skip: lines before that, such as `sep=;`.
    """

    delimiter: str
    quote: str
    columns: tuple[str, ...]
    header: bool
    skip: int

    def describe(self) -> str:
        """What was found, for people."""
        marks = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "blank", "": "none"}
        found = f"columns: {', '.join(self.columns)} (delimiter: {marks.get(self.delimiter, repr(self.delimiter))}"
        return found + ("" if self.header else "; the first line is data, and names no columns") + ")"


class Row(NamedTuple):
    """The cells of a row by the names of their columns, or why there are none."""

    place: int
    cells: dict[str, str] | UnreadableSample


class Table:
    """A file of comma-separated values or the like, read from any row on.

    Attributes:
        empty: rows of empty cells that were passed over.

    Args:
        encoding: as the job says.
        known: names that columns usually have, or that the job names; a first line with one of them is a header.

    Raises:
        DataError: it is empty, no table, or its first line cannot be told from data.
    """

    def __init__(self, root: Folder, file: str, encoding: str | None, known: Sequence[str]) -> None:
        self.where = f"{root.uri}/{file}"
        self.format: TextFormat = text_format(root, file, encoding, detect=True)
        self.lines = Lines(root, file, self.format, RECORDS)
        self.dialect = _dialect(self.lines, file, known, self.where)
        self.empty = 0

    def rows(self) -> Iterator[Row]:
        """Every row that is not empty.

        Raises:
            DataError: a quote is opened and never closed.
        """
        self.lines.seek(0)
        for _ in range(self.dialect.skip):
            next(self.lines)
        found = self._read()
        if self.dialect.header:
            next(found, None)
        yield from found

    def at(self, places: Sequence[int]) -> Iterator[Row]:
        """The rows that begin at some places, in rising order."""
        for place in places:
            self.lines.seek(place)
            yield next(self._read())

    def _read(self) -> Iterator[Row]:
        columns = self.dialect.columns
        feed = _Feed(self.lines)
        reader = csv.reader(feed, **_arguments(self.dialect))
        while True:
            feed.begin()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except UnreadableSample as error:
                yield Row(feed.first, error)
                continue
            except csv.Error as error:
                self._refuse_open_quote(feed, str(error))
                yield Row(feed.first, UnreadableSample(f"no row of a table: {error}"))
                continue
            if len(feed.raw) > 1 and feed.ended:
                self._refuse_open_quote(feed, "the file ends in it")
            if not any(cell.strip() for cell in cells):
                self.empty += bool(cells)
                continue
            if len(cells) != len(columns):
                told = f"{len(cells)} cells where the table has {len(columns)} columns: {feed.raw[0][:60].strip()!r}"
                yield Row(feed.first, UnreadableSample(told))
                continue
            # A blank after the delimiter is how people write, and no part of the cell.
            yield Row(feed.first, dict(zip(columns, map(str.strip, cells), strict=True)))

    def _refuse_open_quote(self, feed: _Feed, why: str) -> None:
        quote = self.dialect.quote
        if quote and sum(line.count(quote) for line in feed.raw) % 2:
            raise DataError(
                f"data.source: {self.where}: a quote is opened at {feed.raw[0][:40].strip()!r} and never closed ({why})"
            )


class _Feed:
    """Lines as `csv` wants them, and those of the row that is read now."""

    def __init__(self, lines: Lines) -> None:
        self.lines, self.raw, self.first, self.ended = lines, list[str](), 0, False
        self.size = 0  # of the row's lines, in characters

    def begin(self) -> None:
        self.raw, self.first, self.size = [], self.lines.place, 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        try:
            line = next(self.lines)
        except StopIteration:
            self.ended = True
            raise
        if isinstance(line.text, UnreadableSample):
            raise line.text
        self.raw.append(line.text)
        self.size += len(line.text)
        if self.size > LONGEST_ROW:
            raise UnreadableSample(f"a row of more than {LONGEST_ROW >> 20} MiB")
        return f"{line.text}\n"


def column_named(columns: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The column of one of some names, without regard to case and blanks."""
    plain = {_plain(column): column for column in reversed(columns)}
    return next((plain[_plain(name)] for name in wanted if _plain(name) in plain), None)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


def _arguments(dialect: Dialect) -> dict[str, Any]:
    # Without a delimiter a line is one cell; the mark that stands for none is one that no text has.
    found: dict[str, Any] = {"delimiter": dialect.delimiter or "\x1f", "skipinitialspace": True, "strict": True}
    return found | ({"quotechar": dialect.quote} if dialect.quote else {"quoting": csv.QUOTE_NONE})


def _dialect(lines: Lines, file: str, known: Sequence[str], where: str) -> Dialect:
    sample, size = [], 0
    for line in lines:
        if isinstance(line.text, str):
            sample.append(line.text)
            size += len(line.text)
        if size > SNIFFED:
            break
    skip = 0
    if sample and (told := re.fullmatch(r'"?sep=(.)"?', sample[0].strip(" "), re.IGNORECASE)):
        skip, sample = 1, sample[1:]
    if not any(line.strip() for line in sample):
        raise DataError(f"data.source: {where} is empty: it holds no rows")
    by_tabs = file.lower().endswith((".tsv", ".tab"))
    delimiter = told[1] if skip and told else "\t" if by_tabs else _sniffed(sample, known)
    quote = '"' if any('"' in line for line in sample) and not _quotes_are_text(sample, delimiter) else ""
    first, others = _first_rows(sample, delimiter, quote)
    if len(first) == 1 or (column_named(first, known) is None and _is_prose(first, others)):
        delimiter = ""
        first, others = _first_rows(sample, delimiter, quote)
    header = _has_header(first, others, known, where)
    if not delimiter and not header:
        quote = ""  # prose, where quotes are text
    columns = tuple(name.strip() for name in first) if header else tuple(str(n + 1) for n in range(len(first)))
    _refuse_doubled(columns, known, where)
    return Dialect(delimiter, quote, columns, header, skip)


def _quotes_are_text(sample: list[str], delimiter: str) -> bool:
    """Whether a cell that begins with a quote goes on behind the next one, and every row is whole without quoting:
    tables that are written without it."""
    try:
        deque(csv.reader((f"{line}\n" for line in sample), **_arguments(Dialect(delimiter, '"', (), False, 0))), 0)
    except csv.Error as error:
        lengths = {line.count(delimiter) for line in sample if line.strip()}
        return "expected after" in str(error) and len(lengths) == 1
    return False


def _is_prose(first: list[str], others: list[list[str]]) -> bool:
    """Whether most lines have another number of cells than the first: what divides them is a mark in a sentence."""
    return 2 * sum(len(row) == len(first) for row in others) < len(others)


def _refuse_doubled(columns: Sequence[str], known: Sequence[str], where: str) -> None:
    """Raises DataError where two columns have a name that is looked for."""
    names = Counter(map(_plain, columns))
    doubled = [name for name in columns if names[_plain(name)] > 1 and _plain(name) in map(_plain, known)]
    if doubled:
        raise DataError(f"data.source: {where}: several columns are named {doubled[0]!r}; rename all but one")


def _first_rows(sample: list[str], delimiter: str, quote: str) -> tuple[list[str], list[list[str]]]:
    arguments = _arguments(Dialect(delimiter, quote, (), False, 0))
    try:
        rows = [row for row in csv.reader((f"{line}\n" for line in sample), **arguments) if row]
    except csv.Error:
        rows = [[cell.strip() for cell in line.split(delimiter)] if delimiter else [line] for line in sample if line]
    return rows[0], rows[1:]


def _has_header(first: list[str], others: list[list[str]], known: Sequence[str], where: str) -> bool:
    """Whether the first line names the columns.

    Raises:
        DataError: it may as well be data.
    """
    if column_named(first, known) is not None:
        return True
    if len(first) == 1:
        return False  # prose; a header would be one of the usual names
    names = [name.strip() for name in first]
    distinct = len({_plain(name) for name in names}) == len(names)
    named = distinct and all(name and len(name) <= LONGEST_NAME and not _is_number(name) for name in names)
    if not named:
        return False
    # Where below words a column holds numbers, the words name it.
    if any(_is_number(cell) for row in others[:100] for cell in row):
        rows = [row for row in others[:100] if len(row) == len(names)]
        if any(all(_is_number(row[at]) for row in rows) for at in range(len(names))):
            return True
    if all(len(name.split()) <= 3 for name in names):
        return True
    raise DataError(
        f"data.source: the first line of {where} looks like data and not like names of columns: "
        f"{', '.join(names)[:80]!r}; put a line with names above it"
    )


def _names(line: str, delimiter: str) -> list[str]:
    return [name.strip().strip('"') for name in line.split(delimiter)]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?\s*", text) is not None


def _sniffed(sample: list[str], known: Sequence[str]) -> str:
    """The delimiter: the only one that makes a known column of the first line, or else what duckdb's sniffer finds."""
    named = [one for one in DELIMITERS if one in sample[0] and column_named(_names(sample[0], one), known) is not None]
    if len(named) == 1:
        return named[0]
    import duckdb

    handle, path = tempfile.mkstemp(suffix=".csv")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as stream:
            stream.write("\n".join(sample) + "\n")
        with duckdb.connect(":memory:") as connection:
            found = connection.execute(
                "SELECT Delimiter FROM sniff_csv(?, ignore_errors = true, strict_mode = false)", [path]
            ).fetchall()
    except duckdb.Error:
        return ","
    finally:
        os.unlink(path)
    return str(found[0][0]) if found else ","
