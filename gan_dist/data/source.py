"""What a source is: parts that are each read alone, what is found in them, and what tells its states apart."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gan_dist.data.codec import Codec
from gan_dist.data.image_decoding import ImageForm
from gan_dist.data.labels import Conditions, Label, number_classes, number_vectors
from gan_dist.errors import DataError, DataNotFound, GanDistError, StorageError, UnreadableSample
from gan_dist.spec.paths import absolute_path
from gan_dist.spec.problems import nearest_name

FORMAT = 5  # of prepared data
SHARD_BYTES = 16 << 20
LEAST_ROWS, MOST_ROWS = 64, 8192
FILE_BYTES, FEWEST_FILES, FINEST_PARTS = 8 << 20, 16, 64
One = bytes | NDArray[Any] | Image.Image | UnreadableSample
Content = One | str | tuple[One, One]
Form = ImageForm | Codec


class RawSample(NamedTuple):
    """One sample as its source holds it: a file's bytes, text, an array of pixels or token ids, a picture, a pair of
    such (what is to be made, and of what), or why there is none."""

    name: str
    content: Content
    label: int


@dataclass(kw_only=True, frozen=True)
class Part:
    """A piece of a source that one task reads into one shard.

    Attributes:
        first: the place of its first sample among all.
        form: what every sample is brought to.
        root: the folder or file that the samples are in.
        names: of the samples.
        places: where each lies in the file, as the kind of source counts.
        classes: class numbers; empty when unconditional.
        note: what else the kind needs to know.
    """

    kind: str
    first: int
    form: Form
    root: str
    names: tuple[str, ...]
    places: tuple[int, ...]
    classes: tuple[int, ...] = ()
    note: str = ""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Part:
        """From `dataclasses.asdict` by way of JSON, which knows no tuples."""
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
        form: Form = Codec.of(record["form"]) if "vocabulary" in record["form"] else ImageForm.of(record["form"])
        return cls(**known | {"form": form})

    def rows(self) -> Iterator[tuple[str, int, int]]:
        """(name, place, class) of each sample; class 0 where there are none."""
        return zip(self.names, self.places, self.classes or (0,) * len(self.names), strict=True)


def printable(name: str) -> str:
    """A name as it is shown and stored: bytes of it that are no UTF-8 are written as `\\xe9`."""
    if name.isascii():
        return name
    return (
        "".join(f"\\x{ord(char) - 0xDC00:02x}" if "\udc80" <= char <= "\udcff" else char for char in name)
        .encode("utf-8", "backslashreplace")
        .decode()
    )


class Counted(Sequence[str]):
    """`word 0`, `word 1`, ...: names of samples that have none. The list of a million would be large."""

    def __init__(self, word: str, count: int) -> None:
        self.word, self.numbers = word, range(count)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [f"{self.word} {number}" for number in self.numbers[at]]
        return f"{self.word} {self.numbers[at]}"


class Parts(Sequence[Part]):
    """The parts of a listing, each made when asked for: the names of all would not be held twice."""

    def __init__(self, listing: Listing, form: Form, classes: Sequence[int]) -> None:
        self.listing, self.form, self.classes = listing, form, classes
        self.rows = cuts(len(listing.names), min(rows_of_a_part(form), files_of_a_part(listing)))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        return self.listing.part(self.rows[at], self.form, self.classes)

    def in_colour(self) -> Parts:
        """The same, every picture in RGB."""
        assert isinstance(self.form, ImageForm)
        return Parts(self.listing, replace(self.form, channels=3), self.classes)


@dataclass(frozen=True)
class Contents:
    """What a source holds, in canonical order, before anything was decoded.

    Attributes:
        classes: names of the classes; empty when unconditional.
        vectors: distinct ones that samples are conditioned on, [M, K], whose rows are the parts' classes.
        channels_open: whether the pictures themselves say how many channels they have.
        notes: what else is to be remembered of the data.
        held_out: sentences that nothing is learnt from, by what they are for.
        shares: how much of all that is, where shares were asked for.
        remarks: what was found, assumed and passed over, for people.
        domains: whether the parts' classes are two domains, of which one is to look like the other.
    """

    parts: Sequence[Part]
    classes: tuple[str, ...]
    form: Form
    vectors: NDArray[np.float32] | None = None
    channels_open: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)
    held_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    domains: bool = False

    def in_colour(self) -> Contents:
        """The same, every picture in RGB."""
        assert isinstance(self.form, ImageForm)
        parts: Any = self.parts
        return replace(self, form=replace(self.form, channels=3), parts=parts.in_colour())


@dataclass(frozen=True)
class Source:
    """What there is to read. `key` is equal for equal content and options, as far as names, sizes and times of change
    tell; what it holds is looked at only where no preparation of that name is at hand."""

    where: str
    key: str
    look: Callable[[], Contents]

    @cached_property
    def contents(self) -> Contents:
        return self.look()

    @property
    def parts(self) -> Sequence[Part]:
        return self.contents.parts

    @property
    def classes(self) -> tuple[str, ...]:
        return self.contents.classes

    @property
    def count(self) -> int:
        return sum(len(part.names) for part in self.parts)


@dataclass(kw_only=True, frozen=True)
class Listing:
    """The samples of a source one by one, as a kind of source lists them.

    Attributes:
        labels: of each sample, as written; empty when unconditional.
        places: as in `Part`; the numbers of the samples where none are given.
        remarks: what was found and what was passed over, for people.
        file_bytes: what all samples take in files that a part reads alone; 0 where it would read those of others too.
    """

    kind: str
    where: str
    state: str
    root: str
    names: Sequence[str]
    labels: Sequence[Label] = ()
    places: Sequence[int] = ()
    note: str = ""
    remarks: Sequence[str] = ()
    file_bytes: int = 0

    def part(self, rows: range, form: Form, classes: Sequence[int] = ()) -> Part:
        """Some of the samples."""
        at = slice(rows.start, rows.stop, rows.step)
        places = self.places or range(len(self.names))
        return Part(
            kind=self.kind,
            first=rows.start,
            form=form,
            root=self.root,
            names=tuple(self.names[at]),
            places=tuple(places[at]),
            classes=tuple(classes[at]),
            note=self.note,
        )


def conditions_of(listing: Listing, asked: str) -> Conditions:
    """What the listed samples are conditioned on, by `data.labels`.

    Raises:
        DataError: some samples have no label, or one that is none.
    """
    if asked == "vectors":
        vectors, numbers = number_vectors(listing.labels, listing.names)
        return Conditions(numbers=numbers, vectors=vectors)
    classes, numbers = number_classes(listing.labels, listing.names)
    return Conditions(tuple(map(printable, classes)), numbers)


def rows_of_a_part(form: Form) -> int:
    """How many samples one shard holds at most: about 16 MiB, whatever machine cuts them."""
    return max(LEAST_ROWS, min(MOST_ROWS, SHARD_BYTES // (math.prod(form.shape) * form.dtype.itemsize)))


def files_of_a_part(listing: Listing) -> int:
    """How many samples one process decodes at most, so that some hundred large photographs, which fit one shard, give
    work to many: about 8 MiB of files, but no fewer than 16 samples, and no more than 64 parts for that reason."""
    count = len(listing.names)
    if not listing.file_bytes:
        return max(1, count)
    return max(FEWEST_FILES, -(-count // FINEST_PARTS), FILE_BYTES * count // listing.file_bytes)


def cuts(count: int, most: int) -> list[range]:
    """The rows of each part of `count` samples: as few parts of at most `most` rows as there can be, and as equal."""
    parts = -(-count // most)
    edges = [number * count // parts for number in range(parts + 1)] if parts else []
    return [range(first, end) for first, end in pairwise(edges)]


def state_of(facts: Iterable[object]) -> str:
    """A short name for what tells one state of a source from another."""
    digest = hashlib.blake2b(digest_size=16)
    for fact in facts:
        digest.update(repr(fact).encode(errors="surrogateescape"))
    return digest.hexdigest()


@contextmanager
def explain_unreachable(where: str, key: str = "data.source") -> Iterator[None]:
    """Turns what the storage says of a missing or unreachable source into words about a key of the job.

    Raises:
        DataNotFound: nothing is there, with the nearest name, or it cannot be read.
    """
    try:
        yield
    except FileNotFoundError:
        near = "" if "://" in where else _nearest(absolute_path(where))
        raise DataNotFound(f"{key}: {where!r} does not exist{near}") from None
    except (OSError, StorageError) as error:
        raise DataNotFound(f"{key}: {where!r} cannot be read: {error}") from error


@contextmanager
def explain_damage(where: str) -> Iterator[None]:
    """Turns whatever a library raises over a damaged file into words about that file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        yield
    except (MemoryError, GanDistError):
        raise
    except Exception as error:  # readers raise anything on damaged files
        raise DataError(f"data.source: {where} cannot be read: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """The first line of what a library says, or the name of the exception where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _nearest(path: Path) -> str:
    if not os.path.isdir(path.parent):
        return ""
    near = nearest_name(path.name, [entry.name for entry in path.parent.iterdir()])
    return f"; did you mean {str(path.parent / near)!r}?" if near else ""
