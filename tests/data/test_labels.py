"""Labels are numbers or words, whatever file they come from; all else is refused or counted with an example."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_dist.data.labels import NoClass, Vector, describe_classes, label_of, labels_of, number_classes
from gan_dist.errors import DataError
from tests.data.corpus import ingest, spec
from tests.data.sources.kinds import LABEL_SOURCES

GOOD: dict[str, tuple[list[Any], tuple[str, ...], list[int]]] = {
    "words": (["fig", "pear", "fig"], ("fig", "pear"), [0, 1, 0]),
    "numbers": ([0, 2, 1], ("0", "1", "2"), [0, 2, 1]),
    "whole floats": ([0.0, 1.0, 0.0], ("0", "1"), [0, 1, 0]),
    "numbers as text": (["0", "01", "2.0"], ("0", "1", "2"), [0, 1, 2]),
    "truth": ([True, False, True], ("0", "1"), [1, 0, 1]),
    "catalogue numbers": ([10**9, 5, 10**9], ("5", "1000000000"), [1, 0, 1]),
    "superscripts are words": (["²", "³", "²"], ("²", "³"), [0, 1, 0]),
    "blanks around words": ([" fig", "fig ", "pear"], ("fig", "pear"), [0, 0, 1]),
}
BAD: dict[str, tuple[list[Any], str]] = {
    "vectors": ([[0, 1]] * 3, r"3 of 3 labels are no class .* has \[0\.0, 1\.0\]; use labels: vectors"),
    "mappings": ([{"a": 1}] * 3, r"3 of 3 labels are no class .* has \{'a': 1\}"),
    "fractions": ([0.5, 1.0, 1.0], r"1 of 3 labels are no class .* has 0\.5"),
    "infinity": ([math.inf, 1.0, 1.0], "1 of 3 labels are no class .* has inf"),
    "NaN": ([math.nan, 1.0, 1.0], "1 of 3 samples have no label"),
    "none": ([None, 1, 1], "1 of 3 samples have no label"),
    "empty": (["", "fig", " "], "2 of 3 samples have no label"),
    "negative": ([-1, 1, 2], r"1 of 3 labels are negative \(first: -1\)"),
}


@pytest.mark.parametrize("source", LABEL_SOURCES)
@pytest.mark.parametrize("kind", GOOD)
def test_numbers_and_words_are_classes(tmp_path: Path, kind: str, source: str) -> None:
    given_labels, classes, numbers = GOOD[kind]
    read = ingest(spec(LABEL_SOURCES[source](tmp_path, given_labels), labels="source"))
    assert read.facts.classes == classes and read.labels.tolist() == numbers


@pytest.mark.parametrize("source", LABEL_SOURCES)
@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_class_is_refused_with_an_example(tmp_path: Path, kind: str, source: str) -> None:
    given_labels, message = BAD[kind]
    with pytest.raises(DataError, match=rf"^data\.labels: .*{message}"):
        ingest(spec(LABEL_SOURCES[source](tmp_path, given_labels), labels="source"))


@pytest.mark.parametrize("source", LABEL_SOURCES)
def test_classes_without_samples_are_told(tmp_path: Path, source: str) -> None:
    read = ingest(spec(LABEL_SOURCES[source](tmp_path, [0, 3, 3]), labels="source"))
    assert "classes: 2 of 4 have no sample: 1, 2" in read.facts.remarks


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (np.int64(3), 3),
        (np.float32(2), 2),
        (np.array(4), 4),
        (np.bool_(True), 1),
        (np.str_("fig"), "fig"),
        (b"fig", "fig"),
        (np.array([1, 2]), Vector((1, 2))),
        ((1,), Vector((1,))),
        ({"a": 1}, NoClass("{'a': 1}")),
        ([[1]], NoClass("[[1]]")),
        (float("nan"), None),
        ("NaN", None),
        (2.5, Vector((2.5,))),
    ],
)
def test_one_label(value: Any, label: Any) -> None:
    assert label_of(value) == label and type(label_of(value)) is type(label)


def test_a_long_vector_is_shown_short() -> None:
    (found,) = labels_of([list(range(1000))])
    assert isinstance(found, Vector) and len(found.shown) == 60 and found.shown.endswith("...")


def test_many_empty_classes_are_not_all_named() -> None:
    (told,) = describe_classes([str(number) for number in range(50)], [49])
    assert told == "classes: 49 of 50 have no sample: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..."


@settings(max_examples=200)
@given(st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()))))
def test_any_labels_are_classes_or_refused(values: list[Any]) -> None:
    labels = labels_of(values)
    names = [str(place) for place in range(len(values))]
    try:
        classes, numbers = number_classes(labels, names)
    except DataError:
        return
    assert len(numbers) == len(values) and all(0 <= number < len(classes) for number in numbers)
    same = {(number, label) for number, label in zip(numbers, labels, strict=True)}
    assert len({number for number, _ in same}) == len(same)  # different labels are different classes
