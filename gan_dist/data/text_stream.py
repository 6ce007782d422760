"""Text files as streams of lines: unpacked where they are packed, decoded as a whole, and then cut into lines."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from gan_dist.data.source import explain_unreachable, reason_of
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.runs.storage import Folder
from gan_dist.runs.unpacking import Unpacked, size_of_stream

CHUNK = 1 << 20
LONGEST_LINE = 1 << 20  # bytes, or characters where a file is packed
HEAD = 1 << 16  # what a file's encoding is told by
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
PACKED_ENDINGS = (".gz", ".zst", ".bz2", ".xz")
JSON_ENDINGS = (".json", ".jsonl", ".ndjson")
NO_TEXT = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "an empty zip archive",
    b"PAR1": "a Parquet file",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF document",
    b"SQLite format 3": "an SQLite database",
    b"\x93NUMPY": "a NumPy array",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\xd0\xcf\x11\xe0": "an Office document",
}
BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# What is guessed among; of a short text others fit as well, and nobody writes in them.
LIKELY = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r", "shift_jis", "euc_jp"),
    *("gb18030", "big5", "euc_kr"),
)
WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
LINES = "lines"  # ended by LF, CRLF, CR, U+2028 and U+2029 alike
RECORDS = "records"  # of JSON or a table, where U+2028 and U+2029 are text
_ENDS = {
    LINES: (re.compile(rb"\r\n|\n|\r|\xe2\x80\xa8|\xe2\x80\xa9"), re.compile("\r\n|[\n\r\u2028\u2029]")),
    RECORDS: (re.compile(rb"\r\n|\n|\r"), re.compile("\r\n|[\n\r]")),
}
UNDECODABLE = "gan_dist.undecodable"  # how `codecs` is told to put half a character for what cannot be decoded
codecs.register_error(UNDECODABLE, lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, or a byte that could not be decoded
_BYTE_ENDS = re.compile(rb"\r\n|\n|\r")
# In these a byte below 0x40 is that ASCII character wherever it stands, so that lines can be cut before decoding.
_CUT_AS_BYTES = re.compile(
    r"utf-8|ascii|iso8859-\d+|cp125\d|cp437|cp8\d\d|koi8-.|mac-.*|gbk|gb2312|big5|shift_jis|cp932"
)
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


class TextFormat(NamedTuple):
    """How a file is stored: how it is packed ("" where it is not), how its characters are, and how many bytes stand
    before its text."""

    packed: str
    encoding: str
    skip: int

    @property
    def seekable(self) -> bool:
        """Whether lines can be found by their place in the file."""
        return not self.packed and _CUT_AS_BYTES.fullmatch(self.encoding) is not None


class Line(NamedTuple):
    """A line without its end, or why there is none; `place` is where it begins: a byte, or the line's number in a file
    that can only be read from its beginning."""

    place: int
    text: str | UnreadableSample


def text_format(root: Folder, file: str, encoding: str | None, *, detect: bool = False) -> TextFormat:
    """How a file of text is stored.

    Args:
        encoding: as the job says; None where it says nothing: a byte-order mark, or UTF-8.
        detect: whether an encoding that nothing tells is guessed.

    Raises:
        DataError: it is no text, or its bytes contradict the encoding that the job says.
    """
    with explain_unreachable(f"{root.uri}/{file}"), root.seekable(file) as stream:
        head = stream.read(HEAD)
    packed = next((name for magic, name in PACKED.items() if head.startswith(magic)), "")
    if packed:
        try:
            with _unpacked(root, file, packed) as stream:
                head = stream.read(HEAD)
        except _BROKEN as error:
            told = f"{packed}, and damaged: {reason_of(error)}; fetch or pack it anew"
            raise DataError(f"data.source: {root.uri}/{file} is {told}") from error
    for magic, what in NO_TEXT.items():
        if head.startswith(magic) or (magic == b"PAR1" and head[257:262] == b"ustar"):
            what = "a tar archive" if not head.startswith(magic) else what
            raise DataError(f"data.source: {root.uri}/{file} is {what}, and no text")
    name, skip = _encoding(head, encoding, where=f"{root.uri}/{file}", detect=detect)
    return TextFormat(packed, name, skip)


def plain_name(name: str) -> str:
    """A name in small letters, without the ending that says how the file is packed."""
    plain = name.lower()
    for ending in PACKED_ENDINGS:
        plain = plain.removesuffix(ending)
    return plain


class Lines:
    """The lines of a file from any place on, in order.

    Attributes:
        place: where the next line begins.
    """

    def __init__(self, root: Folder, file: str, how: TextFormat, rule: str = LINES) -> None:
        self.root, self.file, self.how, self.rule = root, file, how, rule
        self.place = 0
        self._stream: Any = None
        self._lines: Iterator[Line] = iter(())
        self.seek(0)

    def __iter__(self) -> Iterator[Line]:
        return self

    def __next__(self) -> Line:
        return next(self._lines)

    def seek(self, place: int) -> None:
        """Go to a line; in a file that can only be read from its beginning, backwards costs a new beginning."""
        if self.how.seekable:
            if self._stream is None:
                self._stream = self.root.seekable(self.file)
            at = max(place, self.how.skip)
            self._stream.seek(at)
            self.place, self._lines = at, self._by_bytes(at)
            return
        if self._stream is None or place < self.place:
            self.close()
            self._stream = _unpacked(self.root, self.file, self.how.packed)
            self._stream.read(self.how.skip)
            self.place, self._lines = 0, self._by_characters()
        while self.place < place and next(self._lines, None) is not None:
            pass

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _by_bytes(self, first: int) -> Iterator[Line]:
        ends = _ENDS[self.rule][0] if self.how.encoding == "utf-8" else _BYTE_ENDS
        place, held = first, b""
        for raw, length, end in _cut(self._stream.read, held, ends, b"\r"):
            text = _decoded(raw, self.how.encoding, place) if length <= LONGEST_LINE else _too_long()
            here, place = place, place + length + end
            self.place = place
            yield Line(here, text)

    def _by_characters(self) -> Iterator[Line]:
        decoder = codecs.getincrementaldecoder(self.how.encoding)(UNDECODABLE)
        ended = False

        def read(count: int) -> str:
            nonlocal ended
            while not ended:
                chunk = self._packed(count)
                ended = not chunk
                if text := decoder.decode(chunk, final=ended):
                    return text
            return ""

        ends = _ENDS[self.rule][1]
        for number, (text, length, _) in enumerate(_cut(read, "", ends, "\r")):
            self.place = number + 1
            yield Line(number, _checked(text, self.how.encoding) if length <= LONGEST_LINE else _too_long())

    def _packed(self, count: int) -> bytes:
        """Some bytes, unpacked.

        Raises:
            DataError: the file is damaged; its rest cannot be read, so that it is not used at all.
        """
        try:
            return bytes(self._stream.read(count))
        except _BROKEN as error:
            where = f"{self.root.uri}/{self.file}"
            told = f"{self.how.packed or 'a file'}, and damaged behind line {self.place}: {reason_of(error)}"
            raise DataError(f"data.source: {where} is {told}; fetch or pack it anew") from error


def _cut(read: Any, held: Any, ends: re.Pattern[Any], carriage: Any) -> Iterator[tuple[Any, int, int]]:
    """Pieces between ends: (piece, its length, the length of its end). Of one that is too long only the beginning."""
    cut_off = 0  # of a piece that is too long, what was let go
    while True:
        chunk = read(CHUNK)
        held = held + chunk
        first = 0
        for found in ends.finditer(held):
            if chunk and found.end() == len(held) and found.group() == carriage:
                break  # perhaps the first half of CRLF
            yield held[first : found.start()], found.start() - first + cut_off, found.end() - found.start()
            first, cut_off = found.end(), 0
        held = held[first:]
        if not chunk:
            if held or cut_off:
                yield held, len(held) + cut_off, 0
            return
        if len(held) > 2 * LONGEST_LINE:
            cut_off += len(held) - 1
            held = held[-1:]  # it may be the first half of CRLF


def _too_long() -> UnreadableSample:
    return UnreadableSample(f"a line of more than {LONGEST_LINE >> 20} MiB")


def _decoded(raw: bytes, encoding: str, place: int) -> str | UnreadableSample:
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        where = f"byte {place + error.start} (0x{raw[error.start]:02x})"
        return UnreadableSample(f"no {encoding.upper()} at {where}{_other_encoding(raw)}")
    return _checked(text, encoding)


def _other_encoding(raw: bytes) -> str:
    found = _detected(raw)
    return f"; it may be {found}: set data.encoding" if found else "; set data.encoding"


def _checked(text: str, encoding: str) -> str | UnreadableSample:
    if "\0" in text:
        return UnreadableSample("zeros, no text")
    return text if SURROGATE.search(text) is None else UnreadableSample(f"no {encoding.upper()}")


def _unpacked(root: Folder, file: str, packed: str) -> Any:
    return unpack(root.seekable(file), packed)


def unpack(stream: Any, packed: str) -> Any:
    """A stream of what another one holds packed, as `PACKED` names it, as far as it may unfold; itself, buffered, where
    it is not packed."""
    if not packed:
        return io.BufferedReader(stream, CHUNK)
    return Unpacked(_unpacking(stream, packed), size_of_stream(stream))


def _unpacking(stream: Any, packed: str) -> Any:
    if packed == "gzip":
        return gzip.GzipFile(fileobj=stream)
    if packed == "bz2":
        return bz2.BZ2File(stream)
    if packed == "xz":
        return lzma.LZMAFile(stream)
    import pyarrow as pa

    return pa.CompressedInputStream(stream, packed)


def _encoding(head: bytes, asked: str | None, *, where: str, detect: bool) -> tuple[str, int]:
    marked = next(((name, len(bom)) for bom, name in BOMS if head.startswith(bom)), None)
    if asked is None:
        if marked is not None:
            return marked
        wide = max(WIDE, key=lambda order: _likeness(head, order))
        if b"\0" in head and _likeness(head, wide) > 0:
            raise DataError(f"data.encoding: {where} holds zeros and no byte-order mark; it may be {wide}: set it")
        if detect and not _is_utf8(head):
            return _detected(head) or "utf-8", 0
        return "utf-8", 0
    name = codecs.lookup(asked).name
    if marked is not None:
        if _family(name) != _family(marked[0]):
            raise DataError(f"data.encoding: {asked}, but {where} begins with the mark of {marked[0]}; leave it out")
        return marked
    if name in ("utf-16", "utf-32"):
        name = max((f"{name}-le", f"{name}-be"), key=lambda order: _likeness(head, order))
    name = _family(name) if name.startswith("utf-8") else name
    _contradict(head, name, asked=asked, where=where)
    return name, 0


def _likeness(head: bytes, encoding: str) -> int:
    """How much like text bytes are, read so: marks and blanks that every script has, less what no text has."""
    text = head[: len(head) // 4 * 4].decode(encoding, "replace")
    return sum(char in _COMMON for char in text) - sum(map(_is_odd, text))


def _family(name: str) -> str:
    """`utf-16` of `utf-16-le`."""
    return re.sub(r"[-_](le|be|sig)$", "", name)


def _contradict(head: bytes, name: str, *, asked: str, where: str) -> None:
    """Whether the bytes cannot be what the job says they are.

    Raises:
        DataError: they cannot.
    """
    decoder = codecs.getincrementaldecoder(name)()
    try:
        text = decoder.decode(head, final=len(head) < HEAD)
    except UnicodeDecodeError as error:
        if name == "utf-8":
            return  # single damaged lines are rejected by name
        raise DataError(f"data.encoding: {asked}, but {where} is no {asked} (byte {error.start})") from None
    wide = name.startswith(("utf-16", "utf-32"))
    if wide and head and _is_utf8(head) and b"\0" not in head:
        raise DataError(f"data.encoding: {asked}, but the bytes of {where} are UTF-8; leave it out")
    if "\0" in text and not wide:
        near = "utf-16-le" if head[1:2] == b"\0" else "utf-16-be"
        raise DataError(f"data.encoding: {asked}, but {where} holds zeros; it may be {near}")
    if not wide and name not in ("utf-8", "ascii") and _is_utf8(head) and len(_NON_ASCII.findall(head)) >= 3:
        raise DataError(f"data.encoding: {asked}, but the bytes of {where} are UTF-8; leave it out")
    if wide and text and sum(map(_is_odd, text)) > len(text) / 10:
        raise DataError(f"data.encoding: {asked}, but {where} read so is no text; try the other byte order")


_NON_ASCII = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")


_COMMON = frozenset(" \n\r.,;:!?\"'-\u3000\u3001\u3002\uff0c\uff01\uff1f")


def _is_odd(char: str) -> bool:
    """Whether a character is one that no text has: control, unassigned, private, or what could not be decoded."""
    import unicodedata

    return char == "\ufffd" or (unicodedata.category(char) in ("Cc", "Cn", "Co", "Cs") and char not in "\t\n\r\f")


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD)
    except UnicodeDecodeError:
        return False
    return True


def _detected(raw: bytes) -> str | None:
    """What an encoding is that nothing tells, by charset-normalizer."""
    from charset_normalizer import from_bytes

    best = from_bytes(raw[:HEAD], cp_isolation=list(LIKELY)).best()
    if best is None:
        return None
    # Several read a short text alike; then the most common one is meant.
    return LIKELY[0] if LIKELY[0] in best.could_be_from_charset else codecs.lookup(best.encoding).name
