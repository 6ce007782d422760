"""The losses that compare real with fake: against their formulas in plain Python, and against differences."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gan_dist.contracts import Phase
from gan_dist.objectives.relativistic import Relativistic, RelativisticAverage
from gan_dist.registry import lookup
from tests.helpers import batch_of, finite_difference, nets_of
from tests.objectives.test_adversarial import FAKE, REAL, double, terms, value

BOTH = pytest.mark.parametrize("objective", [Relativistic(), RelativisticAverage()], ids=["paired", "average"])
each_phase = pytest.mark.parametrize("phase", ["D", "G"])


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def paired(phase: str) -> float:
    sign = {"D": -1, "G": 1}[phase]
    return sum(softplus(sign * (r - f)) for r, f in zip(REAL, FAKE, strict=True)) / 4


def average(phase: str) -> float:
    high, low = (REAL, FAKE) if phase == "D" else (FAKE, REAL)
    mean_high, mean_low = sum(high) / 4, sum(low) / 4
    return sum(softplus(mean_low - h) for h in high) / 4 + sum(softplus(x - mean_high) for x in low) / 4


@each_phase
def test_losses_are_their_formulas(phase: str) -> None:
    for objective, formula in ((Relativistic(), paired), (RelativisticAverage(), average)):
        found = value(terms(objective, phase, double(REAL), double(FAKE))["adversarial"])
        assert found.item() == pytest.approx(formula(phase), abs=1e-12)


@BOTH
@each_phase
def test_gradients_are_those_of_finite_differences(objective: Any, phase: str) -> None:
    real, fake = double(REAL), double(FAKE)

    def loss() -> Tensor:
        return value(terms(objective, phase, real, fake)["adversarial"])

    loss().backward()
    for logits in (real, fake):
        assert logits.grad is not None
        torch.testing.assert_close(logits.grad, finite_difference(loss, logits), rtol=0, atol=1e-8)


@BOTH
@each_phase
def test_only_differences_matter(objective: Any, phase: str) -> None:
    moved = [terms(objective, phase, double(REAL) + by, double(FAKE) + by)["adversarial"] for by in (0.0, 17.0)]
    assert value(moved[0]).item() == pytest.approx(value(moved[1]).item(), abs=1e-12)


@BOTH
@each_phase
def test_extreme_logits_stay_finite(objective: Any, phase: str) -> None:
    real, fake = double([1e4, -1e4]), double([-1e4, 1e4])
    total = terms(objective, phase, real, fake)["adversarial"].total
    total.backward()
    assert torch.isfinite(total) and fake.grad is not None and torch.isfinite(fake.grad).all()


@BOTH
def test_patches_are_compared_place_by_place(objective: Any) -> None:
    """One sample's logits are their own mean, so that either loss is made of softplus(-1)."""
    one = torch.tensor([[[0.5, -1.0], [2.0, 0.0]]], dtype=torch.float64)
    found = terms(objective, "D", one, one - 1)["adversarial"]
    halves = 2 if isinstance(objective, RelativisticAverage) else 1
    assert found.weight == 4 and value(found).item() == pytest.approx(halves * softplus(-1), abs=1e-12)


def test_accuracy_counts_pairs_and_sides() -> None:
    real, fake = double([1.0, 0.0, 3.0, -1.0]), double([0.0, 1.0, 0.0, 0.0])
    assert value(terms(Relativistic(), "D", real, fake)["accuracy"]).item() == pytest.approx(2 / 4)
    # Means are 3/4 and 1/4: two real samples lie above 1/4, and three fake ones below 3/4.
    assert value(terms(RelativisticAverage(), "D", real, fake)["accuracy"]).item() == pytest.approx(5 / 8)


@BOTH
def test_both_phases_draw_real_data(objective: Any) -> None:
    d, g = Phase("D", ("discriminator",), real=True), Phase("G", ("generator",), real=True)
    assert objective.phases == (d, g)
    assert type(objective)(d_steps=3).phases == (d, d, d, g)


def test_both_of_a_pair_have_its_class() -> None:
    class Asking(torch.nn.Module):
        def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
            assert cond is not None
            return x * cond

    batch = batch_of(double(REAL), double(FAKE), torch.tensor([0, 1, 2, 1]))
    found = Relativistic().terms("D", nets_of(Asking()), batch)["adversarial"]
    expected = sum(softplus(-c * (r - f)) for c, r, f in zip((0, 1, 2, 1), REAL, FAKE, strict=True)) / 4
    assert value(found).item() == pytest.approx(expected, abs=1e-12)


def test_what_couples_the_batch_says_so() -> None:
    saying = [alias for alias, target in lookup.ALIASES["objective"].items() if coupled(target)]
    assert saying == ["feature_matching", "relativistic_average"]


def coupled(target: str) -> bool:
    return getattr(lookup.load_object(target), "couples_batch", False)
