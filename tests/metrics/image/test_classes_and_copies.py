"""Scores of classes, memorisation and diversity against their definitions written out, closed forms and libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gan_dist.metrics.image.frechet import ClassFrechet, Frechet
from gan_dist.metrics.image.inception_score import SPLITS, ClassScore, inception_score
from gan_dist.metrics.image.prdc import Diversity, Memorization, leave_one_out_distances, nearest_distances
from gan_dist.metrics.statistics import ClassMoments, Moments, PairwiseDistances
from tests.helpers import CPU


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of_classes(rows: Tensor, labels: Tensor, classes: int, piece: int = 7) -> ClassMoments:
    found = ClassMoments.empty(classes, rows.shape[1], CPU)
    for start in range(0, len(rows), piece):
        found.add(start, rows[start : start + piece], labels[start : start + piece])
    return found


def test_the_score_of_sure_and_even_classes_is_their_number() -> None:
    sure = 1000 * torch.eye(5, dtype=torch.float64).repeat(20, 1)
    assert float(inception_score(sure)) == pytest.approx(5) and float(
        inception_score(torch.zeros(20, 5).double())
    ) == pytest.approx(1)
    assert ClassScore().compare(None, sure) == {"class_score": pytest.approx(5), "class_score_sd": pytest.approx(0)}


def test_the_score_is_its_definition() -> None:
    logits = normal(100, 4)
    scores = []
    for part in np.array_split(torch.softmax(logits, 1).numpy(), SPLITS):
        mean = part.mean(0)
        scores.append(math.exp(np.mean([sum(p * math.log(p / q) for p, q in zip(row, mean)) for row in part])))  # noqa: B905
    found = ClassScore().compare(None, logits)
    assert found["class_score"] == pytest.approx(np.mean(scores), rel=1e-12)
    assert found["class_score_sd"] == pytest.approx(np.std(scores), rel=1e-9)


def test_the_score_is_that_of_a_peer() -> None:
    peer = pytest.importorskip("torch_fidelity.metric_isc", reason="torch-fidelity is not here")
    logits = normal(200, 6)
    theirs = peer.isc_features_to_metric(logits, splits=SPLITS, shuffle=False)
    found = ClassScore().compare(None, logits)
    assert found["class_score"] == pytest.approx(theirs["inception_score_mean"], rel=1e-9)
    assert found["class_score_sd"] == pytest.approx(theirs["inception_score_std"], rel=1e-6)


def test_the_distance_of_classes_is_the_mean_of_theirs() -> None:
    real, fake = normal(60, 3), normal(40, 3, seed=1) + 0.5
    of_real, of_fake = torch.arange(60) % 2, (torch.arange(40) % 4 == 0).long()
    parts = [
        Frechet().compare(Moments.of(real[of_real == label]), Moments.of(fake[of_fake == label]))["fd"]
        for label in (0, 1)
    ]
    found = ClassFrechet(class_counts=(30, 30)).compare(of_classes(real, of_real, 2), of_classes(fake, of_fake, 2))
    assert found["class_fd"] == pytest.approx(np.mean(parts), rel=1e-9)


def test_the_distance_of_classes_sees_swapped_ones() -> None:
    """Two classes far apart, each drawn as the other: as a whole nothing has changed."""
    labels = torch.arange(200) % 2
    rows = normal(200, 2) + 10 * labels[:, None]
    real, swapped = of_classes(rows, labels, 2), of_classes(rows, 1 - labels, 2)
    metric = ClassFrechet(class_counts=(100, 100))
    assert metric.compare(real, real)["class_fd"] == pytest.approx(0, abs=1e-6)
    assert metric.compare(real, swapped)["class_fd"] == pytest.approx(2 * 10**2, rel=0.1)


def test_a_class_without_samples_is_no_number() -> None:
    rows, labels = normal(20, 2), torch.arange(20) % 2
    only = of_classes(rows, torch.zeros(20, dtype=torch.int64), 2)
    assert math.isnan(ClassFrechet(class_counts=(10, 10)).compare(of_classes(rows, labels, 2), only)["class_fd"])


@pytest.mark.parametrize(("counts", "message"), [((), "the data have no classes; set data.labels"), ((5, 1), "fewer")])
def test_classes_are_needed(counts: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassFrechet(class_counts=counts)


def test_a_rare_class_wants_many_samples() -> None:
    assert ClassFrechet(class_counts=(90, 10)).least == 100


def test_moments_of_too_many_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="moments of 2048 features for 1000 classes take 31 GiB"):
        ClassMoments.empty(1000, 2048, CPU)
    with pytest.raises(ValueError, match="moments of 66000 features take 32 GiB; use features of fewer dimensions"):
        Moments.empty(66_000, CPU)


def test_the_nearest_is_the_nearest() -> None:
    rows, among = normal(30, 3), normal(50, 3, seed=1)
    far = torch.stack([(among - row).square().sum(1).sqrt() for row in rows])
    distances, places = nearest_distances(rows, among)
    assert torch.equal(places, far.argmin(1)) and torch.allclose(distances, far.min(1).values, rtol=1e-12)
    own = torch.stack([(rows - row).square().sum(1).sqrt() for row in rows]).fill_diagonal_(torch.inf).min(1).values
    assert torch.allclose(leave_one_out_distances(rows), own, rtol=1e-12)


def test_copies_are_memorised_and_new_samples_are_not() -> None:
    real, new = normal(2000, 8), normal(1000, 8, seed=1)
    found = Memorization(quantile=0.05).compare(real, new)
    assert found["memorised"] == pytest.approx(0.05, abs=0.03) and found["nearest"] == pytest.approx(1, abs=0.05)
    half = torch.cat([new[:500], real[:500]])
    assert Memorization(quantile=0.05).compare(real, half)["memorised"] == pytest.approx(0.525, abs=0.02)
    assert Memorization().compare(real, real[::2]) == {"memorised": 1, "nearest": 0}
    assert Memorization().compare(real, new + 100)["memorised"] == 0


def test_exact_copies_are_seen_among_data_that_hold_pairs() -> None:
    """Where the closest training samples are equal ones, only copies are close."""
    real = normal(100, 5).repeat(2, 1)
    assert Memorization().compare(real, real[:10])["memorised"] == 1
    assert Memorization().compare(real, real[:10] + 1e-6)["memorised"] == 0


@pytest.mark.parametrize("quantile", [0.0, 1.0])
def test_quantiles_out_of_range_are_refused(quantile: float) -> None:
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        Memorization(quantile=quantile)


def test_diversity_is_the_mean_over_pairs() -> None:
    rows = normal(30, 4) + 3
    pairs = [float((x - y).square().sum()) for i, x in enumerate(rows) for y in rows[:i]]
    found = PairwiseDistances.empty(4, CPU)
    for start in range(0, 30, 7):
        found.add(start, rows[start : start + 7])
    assert found.of_pairs == pytest.approx(np.mean(pairs), rel=1e-12)
    same = PairwiseDistances.empty(4, CPU)
    same.add(0, rows[:1].repeat(5, 1))
    values = Diversity().compare(found, same)
    assert values["diversity"] == pytest.approx(0, abs=1e-9) and values["diversity_of_real"] == found.of_pairs


@pytest.mark.parametrize("kind", [ClassMoments, PairwiseDistances])
def test_state_and_sum_give_back_the_same(kind: type) -> None:
    rows, labels = normal(20, 3), torch.arange(20) % 2
    if kind is ClassMoments:
        one = of_classes(rows, labels, 2)
    else:
        one = PairwiseDistances.empty(3, CPU)
        one.add(0, rows)
    again = kind.from_state(one.state(), CPU).summed(lambda value: 2 * value)
    for name, value in one.state().items():
        assert torch.allclose(2 * value, again.state()[name])
