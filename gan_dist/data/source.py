"""What a source is: parts that are each read alone, rows, and what makes two states of it the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gan_dist.data.images import Pixels

SHARD_BYTES = 16 << 20
LEAST_ROWS, MOST_ROWS = 64, 8192


class DataError(ValueError):
    """The data of a job cannot be used; the text says what is wrong and what would work."""


class Row(NamedTuple):
    """One sample, or, when `reason` says why not, the place of one that was rejected."""

    name: str
    pixels: Pixels | None
    label: int
    native_channels: int
    reason: str = ""


@dataclass(frozen=True)
class Part:
    """A piece of a source that one task reads into one shard: files, or rows of one file, numbered from `first`."""

    kind: str
    first: int
    count: int
    size: int
    channels: int
    root: str = ""
    labels: str = ""
    names: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Part:
        """From `dataclasses.asdict` by way of JSON, which knows no tuples."""
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
        return cls(**known)


@dataclass(frozen=True)
class Source:
    """Everything there is to read, in canonical order, before anything was decoded.

    Attributes:
        state: equal for equal content, as far as names, sizes and times of change tell.
        channels_given: whether the job says how many, so that grey and coloured may be mixed.
    """

    where: str
    state: str
    parts: tuple[Part, ...]
    classes: tuple[str, ...]
    channels: int
    channels_given: bool

    @property
    def count(self) -> int:
        return sum(part.count for part in self.parts)


def rows_of_a_part(size: int, channels: int) -> int:
    """How many samples one shard holds: about 16 MiB, whatever machine cuts them."""
    return max(LEAST_ROWS, min(MOST_ROWS, SHARD_BYTES // (channels * size * size)))


def cuts(count: int, rows: int) -> list[range]:
    """The rows of each part of `count` samples."""
    return [range(first, min(first + rows, count)) for first in range(0, count, rows)]


def state_of(facts: Iterable[object]) -> str:
    """A short name for what tells one state of a source from another."""
    digest = hashlib.blake2b(digest_size=16)
    for fact in facts:
        digest.update(repr(fact).encode(errors="surrogateescape"))
    return digest.hexdigest()
