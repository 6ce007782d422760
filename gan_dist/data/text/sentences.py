"""One sentence and where it stands: a line of a file, or a row of a table; its text, or why there is none."""

from __future__ import annotations

import io
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from gan_dist.data.source import Label
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.runs.storage import Folder
from gan_dist.spec.problems import suggestion

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
