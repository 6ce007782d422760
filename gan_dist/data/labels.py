"""Labels as data sets write them, to classes, numbers or words, or to vectors of numbers."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.json_text import parse_json
from gan_dist.errors import DataError

SPARSE = 100  # numbers this many times as large as their count are catalogue numbers, and are counted anew
EMPTY = ("", "nan")
VECTORS = ("vector", "attributes", "condition")  # names of columns
_NUMBER = re.compile(r"-?[0-9]+(\.0+)?", re.ASCII)


SHOWN = 60


class NoClass(NamedTuple):
    """A label that is neither class nor vector: a mapping, a list of words. `shown` is how it was written."""

    shown: str


class Vector(NamedTuple):
    """A label that is numbers: a list of them, or a fraction."""

    values: tuple[float, ...]

    @property
    def shown(self) -> str:
        """As people write it."""
        return _shortened(repr(self.values[0]) if len(self.values) == 1 else repr(list(self.values)))


Label = str | int | None | NoClass | Vector


class Conditions(NamedTuple):
    """What the samples of a source are conditioned on.

    Attributes:
        classes: names of the classes; empty where there are none, or vectors.
        numbers: of each sample, its class or its row of `vectors`; empty when unconditional.
        vectors: the distinct vectors, float32 [M, K], where each sample has one.
    """

    classes: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    vectors: NDArray[np.float32] | None = None

    @property
    def state(self) -> str:
        """A short name that tells vectors from others; empty where there are none."""
        return "" if self.vectors is None else hashlib.blake2b(self.vectors.tobytes(), digest_size=16).hexdigest()

    def describe(self) -> list[str]:
        """What is to be said of them, for people."""
        if self.vectors is None:
            return describe_classes(self.classes, self.numbers)
        least, most = float(self.vectors.min()), float(self.vectors.max())
        count, width = self.vectors.shape
        return [f"vectors: {width} numbers in [{least:g}, {most:g}] a sample, {count:,} distinct ones"]


def label_of(value: Any) -> Label:
    """One label: a number (also a whole float), a word, a vector, None for none at all, or what is none of these."""
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if value is None or isinstance(value, NoClass | Vector):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return int(value) if value.is_integer() else Vector((value,))
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return None if value.strip().lower() in EMPTY else value.strip()
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple) and value and all(isinstance(one, int | float) for one in value):
        return Vector(tuple(map(float, value)))
    return NoClass(_shortened(repr(value)))


def labels_of(values: Iterable[Any]) -> list[Label]:
    """A column of labels: numbers where all are such, also those written as text; else words."""
    labels = [label_of(value) for value in values]
    words = [label for label in labels if isinstance(label, str)]
    if all(_NUMBER.fullmatch(word) for word in words):
        return [int(label.partition(".")[0]) if isinstance(label, str) else label for label in labels]
    return [str(label) if isinstance(label, int) else label for label in labels]


def number_classes(labels: Sequence[Label], names: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Class names in order, and the number of each label: text by the alphabet, numbers as they are unless most are
    missing (catalogue numbers), which are counted anew.

    Raises:
        DataError: some samples have no label, or one that is no class.
    """
    _check(labels, names)
    whole = [label for label in labels if isinstance(label, int)]
    if len(whole) == len(labels):
        if negative := [label for label in whole if label < 0]:
            raise DataError(
                f"data.labels: a class is a number from 0 on, and {len(negative)} of {len(labels)} labels are negative "
                f"(first: {negative[0]}); use labels: none, or leave those samples out"
            )
        distinct = sorted(set(whole))
        if not whole or distinct[-1] < SPARSE * len(distinct):
            return tuple(str(number) for number in range(max(whole, default=-1) + 1)), tuple(whole)
        number = {label: index for index, label in enumerate(distinct)}
        return tuple(map(str, distinct)), tuple(number[label] for label in whole)
    classes = tuple(sorted({str(label) for label in labels}))
    place = {name: index for index, name in enumerate(classes)}
    return classes, tuple(place[str(label)] for label in labels)


def number_vectors(labels: Sequence[Label], names: Sequence[str]) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """The distinct vectors among labels, [M, K] in ascending order, and the row of each label.

    Raises:
        DataError: some samples have none, one that is not finite, or one of another length than most.
    """
    _check_none_missing(labels, names)
    rows = [_vector_of(label) for label in labels]
    _check_vectors([(name, label) for name, label, row in zip(names, labels, rows, strict=True) if row is None], labels)
    width, _ = Counter(len(row) for row in rows if row is not None).most_common(1)[0]
    for name, row in zip(names, rows, strict=True):
        if row is not None and len(row) != width:
            raise DataError(f"data.labels: the vector of {name!r} has {len(row)} numbers, where others have {width}")
    vectors, numbers = np.unique(np.array(rows, np.float32), axis=0, return_inverse=True)
    return vectors, tuple(numbers.reshape(-1).tolist())


def _vector_of(label: Label) -> tuple[float, ...] | None:
    """The numbers of a label, also as text; None where it has none, or some that are not finite."""
    if isinstance(label, str):
        try:
            label = label_of(parse_json(label))
        except ValueError:
            return None
    values = label.values if isinstance(label, Vector) else (float(label),) if isinstance(label, int) else ()
    return values if values and all(map(math.isfinite, values)) else None


def _check_vectors(odd: Sequence[tuple[str, Label]], labels: Sequence[Label]) -> None:
    if odd:
        name, label = odd[0]
        raise DataError(
            f"data.labels: 'vectors', but {len(odd)} of {len(labels)} labels are no list of finite numbers; first: "
            f"{name!r} has {_shown(label)}; use labels: source for classes"
        )


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


def describe_classes(classes: Sequence[str], numbers: Iterable[int]) -> list[str]:
    """The classes that no sample is of, for people."""
    counts = Counter(numbers)
    empty = [name for number, name in enumerate(classes) if not counts[number]]
    shown = ", ".join(empty[:10]) + (", ..." if len(empty) > 10 else "")
    return [f"classes: {len(empty)} of {len(classes)} have no sample: {shown}"] if empty else []


def _check(labels: Sequence[Label], names: Sequence[str]) -> None:
    odd = [(name, label) for name, label in zip(names, labels, strict=False) if isinstance(label, NoClass | Vector)]
    if odd:
        name, label = odd[0]
        other = "vectors" if all(isinstance(label, Vector) for _, label in odd) else "none"
        raise DataError(
            f"data.labels: {len(odd)} of {len(labels)} labels are no class (a number or a word); first: {name!r} has "
            f"{_shown(label)}; use labels: {other}, or give each sample one class"
        )
    _check_none_missing(labels, names)


def _check_none_missing(labels: Sequence[Label], names: Sequence[str]) -> None:
    missing = [name for name, label in zip(names, labels, strict=False) if label is None]
    if missing:
        raise DataError(f"data.labels: {len(missing)} of {len(labels)} samples have no label (first: {missing[0]!r})")


def _shown(label: Label) -> str:
    return label.shown if isinstance(label, NoClass | Vector) else repr(label)


def _shortened(written: str) -> str:
    return written if len(written) <= SHOWN else f"{written[: SHOWN - 3]}..."
