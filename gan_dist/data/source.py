"""What a source is: parts that are each read alone, what is found in them, and what tells its states apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray
from PIL import Image

from gan_dist.data.images import Look, Unreadable

SHARD_BYTES = 16 << 20
LEAST_ROWS, MOST_ROWS = 64, 8192
SPARSE = 100
Content = bytes | NDArray[Any] | Image.Image | Unreadable
Label = str | int | None


class DataError(ValueError):
    """The data of a job cannot be used; the text says what is wrong and what would work."""


class Absent(DataError):
    """The data are not at hand: nothing is there, or it cannot be reached."""


class Found(NamedTuple):
    """One sample as its source holds it: a file's bytes, a uint8 array, a picture, or why there is none."""

    name: str
    content: Content
    label: int


@dataclass(frozen=True)
class Part:
    """A piece of a source that one task reads into one shard.

    Attributes:
        first: the place of its first sample among all.
        root: the folder or file that the samples are in.
        names: of the samples.
        places: where each lies in the file, as the kind of source counts.
        classes: class numbers; empty when unconditional.
        note: what else the kind needs to know.
    """

    kind: str
    first: int
    look: Look
    root: str
    names: tuple[str, ...]
    places: tuple[int, ...]
    classes: tuple[int, ...] = ()
    note: str = ""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Part:
        """From `dataclasses.asdict` by way of JSON, which knows no tuples."""
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
        return cls(**known | {"look": Look(**record["look"])})

    def rows(self) -> Iterator[tuple[str, int, int]]:
        """(name, place, class) of each sample; class 0 where there are none."""
        return zip(self.names, self.places, self.classes or (0,) * len(self.names), strict=True)


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
    channels_given: bool

    @property
    def look(self) -> Look:
        return self.parts[0].look

    @property
    def count(self) -> int:
        return sum(len(part.names) for part in self.parts)


@dataclass(frozen=True)
class Listing:
    """The samples of a source one by one, as a kind of source lists them.

    Attributes:
        labels: of each sample, as written; empty when unconditional.
        places: as in `Part`; the numbers of the samples where none are given.
    """

    kind: str
    where: str
    state: str
    root: str
    names: Sequence[str]
    labels: Sequence[Label] = ()
    places: Sequence[int] = ()
    note: str = ""

    def part(self, rows: range, look: Look, classes: Sequence[int] = ()) -> Part:
        """Some of the samples."""
        at = slice(rows.start, rows.stop, rows.step)
        places = self.places or range(len(self.names))
        return Part(
            self.kind,
            rows.start,
            look,
            self.root,
            tuple(self.names[at]),
            tuple(places[at]),
            tuple(classes[at]),
            self.note,
        )


def numbered(labels: Sequence[Label], names: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Class names in order, and the number of each label: text by the alphabet, numbers as they are unless most are
    missing (catalogue numbers), which are counted anew.

    Raises:
        DataError: some samples have no label.
    """
    missing = [name for name, label in zip(names, labels, strict=False) if label is None]
    if missing:
        raise DataError(f"data.labels: {len(missing)} of {len(labels)} samples have no label (first: {missing[0]!r})")
    whole = [label for label in labels if isinstance(label, int)]
    if len(whole) == len(labels):
        if negative := [label for label in whole if label < 0]:
            raise DataError(f"data.labels: a class is a number from 0 on, not {negative[0]}")
        distinct = sorted(set(whole))
        if not whole or distinct[-1] < SPARSE * len(distinct):
            return tuple(str(number) for number in range(max(whole, default=-1) + 1)), tuple(whole)
        number = {label: index for index, label in enumerate(distinct)}
        return tuple(map(str, distinct)), tuple(number[label] for label in whole)
    classes = tuple(sorted({str(label) for label in labels}))
    place = {name: index for index, name in enumerate(classes)}
    return classes, tuple(place[str(label)] for label in labels)


def folder_labels(names: Sequence[str], where: str) -> list[Label]:
    """The class of each name by its first folder.

    Raises:
        DataError: some lie in no folder.
    """
    loose = [name for name in names if "/" not in name]
    if loose:
        raise DataError(
            f"data.labels: 'folders' wants each image in its class's folder, but {len(loose)} lie directly "
            f"in {where!r} (first: {loose[0]!r})"
        )
    return [name.split("/")[0] for name in names]


def rows_of_a_part(look: Look) -> int:
    """How many samples one shard holds: about 16 MiB, whatever machine cuts them."""
    return max(LEAST_ROWS, min(MOST_ROWS, SHARD_BYTES // (look.channels * look.size * look.size)))


def cuts(count: int, rows: int) -> list[range]:
    """The rows of each part of `count` samples."""
    return [range(first, min(first + rows, count)) for first in range(0, count, rows)]


def state_of(facts: Iterable[object]) -> str:
    """A short name for what tells one state of a source from another."""
    digest = hashlib.blake2b(digest_size=16)
    for fact in facts:
        digest.update(repr(fact).encode(errors="surrogateescape"))
    return digest.hexdigest()
