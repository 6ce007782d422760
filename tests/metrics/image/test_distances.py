"""Each distance against its closed form, a library, or its definition written out slowly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gan_dist.metrics.image.frechet import Frechet, frechet_distance
from gan_dist.metrics.image.kid import BLOCKS, Kid, squared_mmd
from gan_dist.metrics.image.prdc import Prdc, knn_radii
from gan_dist.metrics.statistics import FeatureRows, Moments


def gaussian(count: int, dim: int, seed: int, shift: float = 0.0) -> Tensor:
    numbers = np.random.RandomState(seed)
    mixing = numbers.standard_normal((dim, dim))
    return torch.from_numpy(numbers.standard_normal((count, dim)) @ mixing + shift)


def test_moments_are_those_of_numpy() -> None:
    rows = gaussian(50, 4, 0, shift=3.0)
    moments = Moments.of(rows)
    assert moments.count == 50
    assert torch.allclose(moments.mean, rows.mean(0), rtol=0, atol=1e-12)
    assert np.allclose(moments.covariance.numpy(), np.cov(rows.numpy().T), rtol=0, atol=1e-11)


@pytest.mark.parametrize("piece", [1, 7, 50])
def test_pieces_do_not_matter(piece: int) -> None:
    rows = gaussian(50, 4, 0).float()
    moments, kept = Moments.empty(4, rows.device), FeatureRows.empty(50, 4, rows.device)
    for start, part in zip(range(0, 50, piece), rows.split(piece), strict=True):
        moments.add(start, part)
        kept.add(start, part)
    whole = Moments.of(rows)
    assert moments.count == whole.count and torch.equal(kept.rows, rows)
    assert torch.allclose(moments.total, whole.total, rtol=0, atol=1e-12)
    assert torch.allclose(moments.outer, whole.outer, rtol=0, atol=1e-11)


def test_state_gives_back_the_same() -> None:
    moments = Moments.of(gaussian(50, 4, 0))
    again = Moments.from_state(moments.state(), torch.device("cpu"))
    assert again.count == 50 and torch.equal(again.outer, moments.outer)


def test_frechet_of_one_dimension_in_closed_form() -> None:
    """(m1 - m2)^2 + (s1 - s2)^2."""
    found = frechet_distance(*(torch.tensor(x, dtype=torch.float64) for x in ([1.0], [[4.0]], [3.0], [[25.0]])))
    assert found == pytest.approx(4 + 9, abs=1e-12)


def test_frechet_of_commuting_covariances_in_closed_form() -> None:
    """Diagonal covariances: the sum over dimensions of the one-dimensional distances."""
    one, two = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 0.0, 1.0]).double()
    found = frechet_distance(torch.zeros(3).double(), one.diag(), torch.ones(3).double(), two.diag())
    assert found == pytest.approx(3 + ((one.sqrt() - two.sqrt()) ** 2).sum().item(), abs=1e-12)


@pytest.mark.parametrize("dim", [2, 16, 64])
def test_frechet_equals_that_of_scipys_matrix_root(dim: int) -> None:
    from scipy.linalg import sqrtm

    one, two = Moments.of(gaussian(200, dim, 1)), Moments.of(gaussian(150, dim, 2, shift=0.5))
    product = (one.covariance @ two.covariance).numpy()
    traces = (one.covariance + two.covariance).trace().item() - 2 * np.trace(sqrtm(product)).real
    slow = (one.mean - two.mean).square().sum().item() + traces
    assert Frechet().compare(one, two)["fd"] == pytest.approx(slow, rel=1e-8)


def test_frechet_of_fewer_samples_than_dimensions() -> None:
    """Rank-deficient covariances: the distance to itself is 0, and the distance is symmetric."""
    one, two = Moments.of(gaussian(5, 40, 1)), Moments.of(gaussian(7, 40, 2))
    assert Frechet().compare(one, one)["fd"] == pytest.approx(0, abs=1e-5)
    there, back = Frechet().compare(one, two)["fd"], Frechet().compare(two, one)["fd"]
    assert there == pytest.approx(back, rel=1e-6) and there > 0


def test_frechet_of_what_is_not_finite_is_no_number() -> None:
    broken = Moments.of(torch.full((5, 3), float("nan")))
    assert math.isnan(Frechet().compare(Moments.of(gaussian(5, 3, 1)), broken)["fd"])


def slow_discrepancy(real: Tensor, fake: Tensor) -> float:
    def kernel(x: Tensor, y: Tensor) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    def within(rows: Tensor) -> float:
        return float(np.mean([kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]))

    return within(real) + within(fake) - 2 * float(np.mean([kernel(x, y) for x in real for y in fake]))


def test_kid_of_a_block_is_its_definition() -> None:
    real, fake = gaussian(9, 3, 1), gaussian(7, 3, 2)
    assert squared_mmd(real, fake) == pytest.approx(slow_discrepancy(real, fake), rel=1e-10)


def test_kid_is_its_definition_over_all_pairs() -> None:
    real, fake = gaussian(45, 3, 1), gaussian(31, 3, 2)
    assert Kid().compare(real, fake)["kid_all_pairs"] == pytest.approx(slow_discrepancy(real, fake), rel=1e-10)
    wide = Kid().compare(real.float(), fake.float())["kid_all_pairs"]
    assert wide == pytest.approx(slow_discrepancy(real, fake), rel=1e-4)


@pytest.mark.slow
def test_kid_s_standard_error_is_the_jackknife_of_its_blocks() -> None:
    real, fake = gaussian(45, 3, 1), gaussian(31, 3, 2)
    pairs = [one.tensor_split(BLOCKS) for one in (real, fake)]
    without = [[torch.cat(one[:k] + one[k + 1 :]) for one in pairs] for k in range(BLOCKS)]
    slow = np.array([slow_discrepancy(*both) for both in without])
    wanted = math.sqrt((BLOCKS - 1) / BLOCKS * ((slow - slow.mean()) ** 2).sum())
    assert Kid().compare(real, fake)["kid_all_pairs_se"] == pytest.approx(wanted, rel=1e-9)


def test_kid_does_not_depend_on_the_order_in_blocks() -> None:
    real, fake = gaussian(60, 4, 1), gaussian(60, 4, 2)
    turned = torch.cat([block.flip(0) for block in fake.tensor_split(BLOCKS)])
    assert Kid().compare(real, turned) == pytest.approx(Kid().compare(real, fake), rel=1e-12)


@pytest.mark.slow
def test_kid_s_standard_error_is_the_spread_of_repetitions() -> None:
    numbers = torch.Generator().manual_seed(0)
    drawn = [(torch.randn(400, 8, generator=numbers), torch.randn(400, 8, generator=numbers) + 0.3) for _ in range(120)]
    found = [Kid().compare(*both) for both in drawn]
    spread = np.std([one["kid_all_pairs"] for one in found], ddof=1)
    assert np.mean([one["kid_all_pairs_se"] for one in found]) == pytest.approx(spread, rel=0.15)
    # Ten blocks that share no pair, as the estimate was before, spread more.
    blocks = [zip(*(one.split(40) for one in both), strict=True) for both in drawn]
    assert np.std([np.mean([squared_mmd(*pair) for pair in one]) for one in blocks]) > spread


def test_kid_of_equal_distributions_is_within_its_error() -> None:
    numbers = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(1000, 8, generator=numbers) for _ in range(2))
    found = Kid().compare(real, fake)
    assert abs(found["kid_all_pairs"]) < 3 * found["kid_all_pairs_se"]


def slow_prdc(real: Tensor, fake: Tensor, k: int) -> dict[str, float]:
    def far(x: Tensor, y: Tensor) -> float:
        return float((x - y).square().sum().sqrt())

    def reach(rows: Tensor) -> list[float]:
        return [sorted(far(x, y) for j, y in enumerate(rows) if j != i)[k - 1] for i, x in enumerate(rows)]

    of_real, of_fake = reach(real), reach(fake)
    inside = np.array([[far(f, r) <= of_real[i] for i, r in enumerate(real)] for f in fake])
    recalled = [any(far(r, f) <= of_fake[j] for j, f in enumerate(fake)) for r in real]
    return {
        "precision": inside.any(1).mean(),
        "recall": np.mean(recalled),
        "density": inside.sum() / (k * len(fake)),
        "coverage": inside.any(0).mean(),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
def test_prdc_is_its_definition(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_dist.metrics.image.prdc.CHUNK", 8)
    real, fake = gaussian(30, 3, 1), gaussian(25, 3, 1, shift=1.0)
    assert Prdc(k=k).compare(real, fake) == pytest.approx(slow_prdc(real, fake, k), abs=1e-12)


def test_prdc_of_a_set_and_itself() -> None:
    rows = gaussian(40, 3, 1)
    found = Prdc().compare(rows, rows)
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)


def test_radius_is_the_distance_to_the_kth_other() -> None:
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert knn_radii(line, 2).tolist() == [3, 2, 3, 6]


def test_no_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="k: 0 is out of range; must be at least 1"):
        Prdc(k=0)
