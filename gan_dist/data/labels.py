"""Labels as data sets write them, to classes: numbers or words, and nothing else."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from gan_dist.errors import DataError

SPARSE = 100  # numbers this many times as large as their count are catalogue numbers, and are counted anew
EMPTY = ("", "nan")
_NUMBER = re.compile(r"-?[0-9]+(\.0+)?", re.ASCII)


class NoClass(NamedTuple):
    """A label that is no class: a vector, a list, a mapping, a fraction. `shown` is how it was written."""

    shown: str


Label = str | int | None | NoClass


def label_of(value: Any) -> Label:
    """One label: a number (also a whole float), a word, None for none at all, or what is no class."""
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if value is None or isinstance(value, NoClass):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return int(value) if value.is_integer() else NoClass(repr(value))
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return None if value.strip().lower() in EMPTY else value.strip()
    written = repr(value.tolist() if hasattr(value, "tolist") else value)
    return NoClass(written if len(written) <= 60 else f"{written[:57]}...")


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
    odd = [(name, label) for name, label in zip(names, labels, strict=False) if isinstance(label, NoClass)]
    if odd:
        name, label = odd[0]
        raise DataError(
            f"data.labels: {len(odd)} of {len(labels)} labels are no class (a number or a word); first: {name!r} has "
            f"{label.shown}; use labels: none, or give each sample one class"
        )
    missing = [name for name, label in zip(names, labels, strict=False) if label is None]
    if missing:
        raise DataError(f"data.labels: {len(missing)} of {len(labels)} samples have no label (first: {missing[0]!r})")
