"""Known shifts of the digits move each metric the right way."""

from __future__ import annotations

import math

import pytest

from benchmarks.shifts import shifts

pytestmark = pytest.mark.slow

Found = dict[str, dict[str, float]]


@pytest.fixture(scope="module", params=["random", "classifier"])
def found(request: pytest.FixtureRequest) -> Found:
    return shifts(request.param)


@pytest.mark.parametrize("shift", ["blurred (3x3)", "digits 0-4 only", "50 images repeated"])
def test_distances_grow(found: Found, shift: str) -> None:
    assert found[shift]["fd"] > 5 * found["the other half"]["fd"]
    assert (
        found[shift]["kid_all_pairs"]
        > found["the other half"]["kid_all_pairs"] + found["the other half"]["kid_all_pairs_se"]
    )


def test_noise_moves_them_less_for_a_network_that_learnt_to_look_past_it(found: Found) -> None:
    assert found["noise (32 of 255)"]["fd"] > found["the other half"]["fd"]
    assert found["noise (32 of 255)"]["fd"] < found["blurred (3x3)"]["fd"]


def test_other_digits_are_as_good_and_as_varied(found: Found) -> None:
    same = found["the other half"]
    assert abs(same["kid_all_pairs"]) < 4 * same["kid_all_pairs_se"] and same["density"] == pytest.approx(1, abs=0.1)
    assert min(same[value] for value in ("precision", "recall", "coverage")) > 0.9


def test_lost_quality_is_in_precision_and_density(found: Found) -> None:
    same, blurred = found["the other half"], found["blurred (3x3)"]
    assert blurred["precision"] < same["precision"] - 0.05 and blurred["density"] < same["density"] - 0.3


@pytest.mark.parametrize("shift", ["digits 0-4 only", "50 images repeated"])
def test_lost_variety_is_in_recall_and_coverage_alone(found: Found, shift: str) -> None:
    same, narrow = found["the other half"], found[shift]
    assert narrow["recall"] < same["recall"] - 0.3 and narrow["coverage"] < same["coverage"] - 0.3
    assert narrow["precision"] > 0.9 and narrow["density"] > 0.9


def test_only_the_distance_of_classes_sees_exchanged_ones(found: Found) -> None:
    same, exchanged = found["the other half"], found["classes exchanged"]
    assert exchanged["fd"] == pytest.approx(same["fd"]) and exchanged["coverage"] == same["coverage"]
    assert exchanged["class_fd"] > 3 * same["class_fd"]


def test_only_memorisation_sees_copies(found: Found) -> None:
    same, copied = found["the other half"], found["the data copied"]
    assert copied["fd"] < same["fd"] and copied["precision"] == copied["coverage"] == 1
    assert same["memorised"] < 0.05 and (copied["memorised"], copied["nearest"]) == (1, 0)


def test_bad_samples_are_far_from_the_data(found: Found) -> None:
    assert found["blurred (3x3)"]["nearest"] > found["the other half"]["nearest"]


@pytest.mark.parametrize("shift", ["digits 0-4 only"])
def test_lost_classes_are_in_diversity_and_score(found: Found, shift: str) -> None:
    same, narrow = found["the other half"], found[shift]
    assert narrow["diversity"] < same["diversity"]
    if "class_score" in same:
        assert narrow["class_score"] < 0.6 * same["class_score"] and math.isnan(narrow["class_fd"])
