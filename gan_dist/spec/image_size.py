"""Sizes of images as a job writes them, N or [height, width], and which of them a component takes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from gan_dist.errors import UsageError
from gan_dist.spec.problems import show_value

Size = int | tuple[int, int]
LEAST, MOST = 4, 2048
_SIDE = {"type": "integer", "minimum": LEAST, "maximum": MOST}
_TEXT = re.compile(r"\s*(\d+)\s*(?:[xX]\s*(\d+)\s*)?")


def sides(size: Size) -> tuple[int, int]:
    """Height and width: (N, N) of a size N."""
    return size if isinstance(size, tuple) else (size, size)


def size_of(height: int, width: int) -> Size:
    """The size of these sides: N where both are N, else (height, width)."""
    return height if height == width else (height, width)


def size_from_json(written: Any) -> Size:
    """A size as JSON holds it, which knows no tuples."""
    return size_of(*written) if isinstance(written, list | tuple) else int(written)


def plain_size(size: Size) -> int | list[int]:
    """A size as JSON and YAML hold it."""
    return list(size) if isinstance(size, tuple) else size


def show_size(size: Size) -> str:
    """A size as a job writes it: `64` or `[64, 96]`."""
    return str(plain_size(size))


def size_text(size: Size) -> str:
    """A size as commands take it: `64` or `64x96`."""
    return "x".join(map(str, size)) if isinstance(size, tuple) else str(size)


def parse_size(written: object) -> Size:
    """`data.size`: N, or a list of height and width, each 4 to 2048. Raises ValueError."""
    if isinstance(written, list | tuple) and len(written) == 2:
        return size_of(*(_side(one, written) for one in written))
    if isinstance(written, bool) or not isinstance(written, int | float):
        raise ValueError(f"{show_value(written)} is no size; must be a whole number N, or a list [height, width]")
    return _side(written, written)


def parse_size_text(text: str) -> Size:
    """A size on the command line: `64`, or `64x96` for 64 pixels high and 96 wide. Raises UsageError."""
    if not (found := _TEXT.fullmatch(text)):
        raise UsageError(f"--size {text!r}: must be N, or HEIGHTxWIDTH such as 64x96")
    try:
        return parse_size([int(one) for one in found.groups()] if found[2] else int(found[1]))
    except ValueError as error:
        raise UsageError(f"--size: {error}") from error


def _side(side: object, written: object) -> int:
    if isinstance(side, bool) or not isinstance(side, int | float) or side != side // 1:
        whole = "is not a whole number" if side is written else "are not two whole numbers"
        raise ValueError(f"{show_value(written)} {whole}")
    if not LEAST <= side <= MOST:
        limit = f"at least {LEAST}" if side < LEAST else f"at most {MOST}"
        each = "must be" if side is written else "each side must be"
        raise ValueError(f"{show_value(written)} is out of range; {each} {limit}")
    return int(side)


ImageSize = Annotated[
    Size,
    PlainValidator(parse_size),
    PlainSerializer(plain_size, return_type=int | list[int]),
    WithJsonSchema({"anyOf": [_SIDE, {"type": "array", "items": _SIDE, "minItems": 2, "maxItems": 2}]}),
]


@dataclass(frozen=True, kw_only=True)
class SizeRule:
    """Which sizes a component takes, as its class attribute `sizes`, a mapping, says.

    Attributes:
        least, most: pixels of each side.
        multiple: what divides both sides.
        base: of networks that double a small map: both sides are multiples of a power of two, of which the shorter one
            has `base` to 2 * base - 1; so the map that is doubled has sides of at least `base` pixels.
    """

    least: int = LEAST
    most: int = MOST
    multiple: int = 1
    base: int = 0

    @classmethod
    def of(cls, attribute: object) -> SizeRule:
        """The rule that a class's `sizes` says. Raises ValueError where it says none."""
        known: Mapping[Any, Any] = attribute if isinstance(attribute, Mapping) else {"": attribute}
        if set(known) - set(cls.__dataclass_fields__) or not all(isinstance(value, int) for value in known.values()):
            names = ", ".join(cls.__dataclass_fields__)
            raise UsageError(f"sizes = {show_value(attribute)} must be a mapping of whole numbers by some of {names}")
        return cls(**known)

    def doublings(self, size: Size) -> int:
        """How often a map of at least `base` pixels is doubled to one of `size`."""
        return int(math.log2(min(sides(size)) // self.base))

    def takes(self, size: Size) -> bool:
        """Whether a size keeps the rule."""
        both = sides(size)
        if not all(self.least <= side <= self.most for side in both) or (self.base and min(both) < self.base):
            return False
        step = 2 ** self.doublings(size) if self.base else self.multiple
        return all(side % step == 0 for side in both)

    def nearest(self, size: Size) -> Size:
        """The size nearest to one that breaks the rule; to a square the nearest square. Of two as near, the one that is
        halved more often."""
        height, width = sides(size)
        found = [(height, width) for height, width in self._candidates(height, width) if self.takes((height, width))]

        def order(one: tuple[int, int]) -> tuple[int, int]:
            common = math.gcd(*one)
            return abs(one[0] - height) + abs(one[1] - width), -(common & -common)

        return size_of(*min(found, key=order))

    def check(self, size: Size, who: str, does: str = "makes") -> None:
        """Raises ValueError where a size breaks the rule, with the nearest one that keeps it."""
        if not self.takes(size):
            raise ValueError(
                f"{who} {does} images of {self}, not {show_size(size)}; data.size: {show_size(self.nearest(size))} is "
                "nearest"
            )

    def __str__(self) -> str:
        """The rule in words that follow `images of`."""
        words = f"{self.least} to {self.most} pixels"
        if self.base:
            return (
                f"{words}, both sides multiples of a power of two, the shorter one {self.base} to {2 * self.base - 1} "
                "times it"
            )
        return f"{words}, both sides multiples of {self.multiple}" if self.multiple > 1 else words

    def _candidates(self, height: int, width: int) -> Iterator[tuple[int, int]]:
        powers = [2**power for power in range(MOST.bit_length())] if self.base else [self.multiple]
        for step in powers:
            near = [sorted({self._rounded(side, step, up) for up in (False, True)}) for side in (height, width)]
            if height == width:
                yield from ((side, side) for side in (*near[0], step * self.base, step * max(1, 2 * self.base - 1)))
            else:
                short = (step * self.base, step * (2 * self.base - 1)) if self.base else ()
                yield from ((one, other) for one in (*near[0], *short) for other in (*near[1], *short))

    def _rounded(self, side: int, step: int, up: bool) -> int:
        """A multiple of `step` beside `side`, inside the limits."""
        least, most = -(-self.least // step), self.most // step
        return step * min(max(-(-side // step) if up else side // step, least), most)
