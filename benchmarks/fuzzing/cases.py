"""What a case of the fuzz is, and the kinds of damage that all subjects share."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Case(NamedTuple):
    """One damaged input: the kind that it is counted under, and what reads it and says how it went."""

    kind: str
    read: Callable[[], str]


class SilentDifference(Exception):
    """What was damaged was used without a word, and gave another result than what is sound."""


Make = Callable[[random.Random, Path], Case]


class Subject(NamedTuple):
    """Damaged inputs of one kind: what makes a case, the most that one may take, how many one process reads, and how a
    refusal begins."""

    make: Make
    most_s: float = 5.0
    most_bytes: int = 1 << 30
    in_a_process: int = 1 << 30
    refusal: str = ""


def damaged(draw: random.Random, content: bytes) -> bytes:
    """A few kinds of damage, one after the other; now and then none at all."""
    for _ in range(draw.choice((0, 1, 1, 1, 1, 2, 3))):
        content = draw.choice(DAMAGES)(draw, bytearray(content)) if content else content
    return content


def _place(draw: random.Random, content: bytearray, width: int = 1) -> int:
    """Most often in the first bytes, where the header is, or the last, where archives have theirs."""
    most = max(0, len(content) - width)
    near = min(most, draw.choice((16, 64, 256, most)))
    return draw.choice((draw.randint(0, near), draw.randint(0, near), most - draw.randint(0, near)))


def _flipped(draw: random.Random, content: bytearray) -> bytes:
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        content[_place(draw, content)] ^= 1 << draw.randrange(8)
    return bytes(content)


def _overwritten(draw: random.Random, content: bytearray) -> bytes:
    at, length = _place(draw, content), draw.choice((1, 2, 4, 8, 64))
    content[at : at + length] = draw.choice((draw.randbytes(length), b"\0" * length, b"\xff" * length))
    return bytes(content)


def _extreme(draw: random.Random, content: bytearray) -> bytes:
    """A number of 2, 4 or 8 bytes, as sides, offsets and counts are written, in either order."""
    form = draw.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    width = struct.calcsize(form)
    if len(content) < width:
        return bytes(content)
    most = 256**width - 1
    value = draw.choice((0, 1, most, most // 2, most // 2 + 1, 20_000, 65_535, 8_000, 1 << 8 * width - 3)) & most
    struct.pack_into(form, content, _place(draw, content, width), value)
    return bytes(content)


def _digits(draw: random.Random, content: bytearray) -> bytes:
    """A number written as text, as in PPM, tar and NumPy headers."""
    found = list(re.finditer(rb"\d+", bytes(content[:2048])))
    if not found:
        return bytes(content)
    at = draw.choice(found)
    content[at.start() : at.end()] = draw.choice((b"0", b"-1", b"99999", b"9" * 30, b"1e9", b"77777777777", b""))
    return bytes(content)


def _cut(draw: random.Random, content: bytearray) -> bytes:
    return bytes(content[: _place(draw, content)])


def _extended(draw: random.Random, content: bytearray) -> bytes:
    more = draw.choice((draw.randbytes(200), b"\0" * 2000, bytes(content), b"\n" * 50, b'"' * 3))
    at = draw.choice((len(content), _place(draw, content)))
    return bytes(content[:at] + more + content[at:])


def _moved(draw: random.Random, content: bytearray) -> bytes:
    """A piece of it somewhere else."""
    length = draw.randint(1, max(1, len(content) // 4))
    start, at = _place(draw, content), _place(draw, content)
    piece = content[start : start + length]
    content[at : at + len(piece)] = piece
    return bytes(content)


DAMAGES = (_flipped, _overwritten, _extreme, _digits, _cut, _extended, _moved)
