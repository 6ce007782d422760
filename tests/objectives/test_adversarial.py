"""Each loss against its formula in the paper, written out once more in plain Python, and against differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.contracts import Phase, Term
from gan_dist.objectives.adversarial import Hinge, LeastSquares, Minimax, NonSaturating
from gan_dist.objectives.wasserstein import Wasserstein
from tests.helpers import Passing, batch_of, finite_difference, nets_of

REAL, FAKE = [2.0, -0.3, 0.9, -4.0], [0.4, -1.7, 1.3, 3.0]
Formula = Callable[[float], float]


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def smoothed(x: float) -> float:
    return -0.8 * math.log(logistic(x)) - 0.2 * math.log(1 - logistic(x))


LOG_REAL: Formula = lambda x: -math.log(logistic(x))  # noqa: E731
LOG_FAKE: Formula = lambda x: -math.log(1 - logistic(x))  # noqa: E731

CASES: list[tuple[Any, Formula, Formula, Formula]] = [
    (NonSaturating(), LOG_REAL, LOG_FAKE, LOG_REAL),
    (NonSaturating(label_smoothing=0.2), smoothed, LOG_FAKE, LOG_REAL),
    (Minimax(), LOG_REAL, LOG_FAKE, lambda x: math.log(1 - logistic(x))),
    (Minimax(label_smoothing=0.2), smoothed, LOG_FAKE, lambda x: math.log(1 - logistic(x))),
    (LeastSquares(), lambda x: (x - 1) ** 2 / 2, lambda x: x**2 / 2, lambda x: (x - 1) ** 2 / 2),
    (Hinge(), lambda x: max(0, 1 - x), lambda x: max(0, 1 + x), lambda x: -x),
    (Wasserstein(), lambda x: -x, lambda x: x, lambda x: -x),
]
NAMES = ["non_saturating", "non_saturating-smoothed", "minimax", "minimax-smoothed", "least_squares", "hinge"]
NAMES += ["wasserstein"]
each_loss = pytest.mark.parametrize(("objective", "d_real", "d_fake", "g_fake"), CASES, ids=NAMES)


def terms(objective: Any, phase: str, real: Tensor | None, fake: Tensor) -> dict[str, Term]:
    found: dict[str, Term] = objective.terms(phase, nets_of(Passing()), batch_of(real, fake))
    return found


def value(term: Term) -> Tensor:
    assert term.weight is not None
    return term.total / term.weight


def double(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


@each_loss
def test_d_loss_is_its_formula(objective: Any, d_real: Formula, d_fake: Formula, g_fake: Formula) -> None:
    expected = sum(d_real(r) + d_fake(f) for r, f in zip(REAL, FAKE, strict=True)) / 4
    found = value(terms(objective, "D", double(REAL), double(FAKE))["adversarial"])
    assert found.item() == pytest.approx(expected, abs=1e-12)


@each_loss
def test_g_loss_is_its_formula(objective: Any, d_real: Formula, d_fake: Formula, g_fake: Formula) -> None:
    expected = sum(map(g_fake, FAKE)) / 4
    found = value(terms(objective, "G", None, double(FAKE))["adversarial"])
    assert found.item() == pytest.approx(expected, abs=1e-12)


@each_loss
@pytest.mark.parametrize("phase", ["D", "G"])
def test_gradients_are_those_of_finite_differences(
    objective: Any, d_real: Formula, d_fake: Formula, g_fake: Formula, phase: str
) -> None:
    real, fake = double(REAL), double(FAKE)

    def loss() -> Tensor:
        return value(terms(objective, phase, real if phase == "D" else None, fake)["adversarial"])

    loss().backward()
    for logits in (real, fake) if phase == "D" else (fake,):
        assert logits.grad is not None
        torch.testing.assert_close(logits.grad, finite_difference(loss, logits), rtol=0, atol=1e-8)


@each_loss
def test_extreme_logits_stay_finite(objective: Any, d_real: Formula, d_fake: Formula, g_fake: Formula) -> None:
    for phase in ("D", "G"):
        real, fake = double([1e4, -1e4]), double([1e4, -1e4])
        total = terms(objective, phase, real, fake)["adversarial"].total
        total.backward()
        assert torch.isfinite(total) and fake.grad is not None and torch.isfinite(fake.grad).all()


@each_loss
def test_patch_logits_are_averaged_over_places(
    objective: Any, d_real: Formula, d_fake: Formula, g_fake: Formula
) -> None:
    flat = value(terms(objective, "D", double(REAL), double(FAKE))["adversarial"])
    patches = terms(objective, "D", double(REAL).view(1, 2, 2), double(FAKE).view(1, 2, 2))["adversarial"]
    assert patches.weight == 4 and value(patches).item() == pytest.approx(flat.item(), abs=1e-12)


def test_non_saturating_moves_g_where_minimax_does_not() -> None:
    slopes = {}
    for objective in (NonSaturating(), Minimax()):
        fake = double([-20.0])
        terms(objective, "G", None, fake)["adversarial"].total.backward()
        assert fake.grad is not None
        slopes[type(objective)] = abs(fake.grad.item())
    assert slopes[NonSaturating] == pytest.approx(1, abs=1e-8) and slopes[Minimax] < 1e-8


@pytest.mark.parametrize(("objective", "threshold"), [(Hinge(), 0.0), (NonSaturating(), 0.0), (LeastSquares(), 0.5)])
def test_accuracy_counts_both_sides_of_the_threshold(objective: Any, threshold: float) -> None:
    real = double([threshold + 0.1, threshold - 0.1, threshold + 1, threshold + 2])
    fake = double([threshold - 0.1, threshold + 0.1, threshold + 1, threshold - 2])
    found = terms(objective, "D", real, fake)["accuracy"]
    assert value(found).item() == pytest.approx(5 / 8) and found.watch


def test_watched_logits_are_means_outside_the_graph() -> None:
    found = terms(Hinge(), "D", double(REAL), double(FAKE))
    assert value(found["real_logits"]).item() == pytest.approx(sum(REAL) / 4)
    assert value(found["fake_logits"]).item() == pytest.approx(sum(FAKE) / 4)
    assert not any(found[name].total.requires_grad for name in ("real_logits", "fake_logits", "accuracy"))


@pytest.mark.parametrize("kind", [NonSaturating, Minimax, LeastSquares, Hinge])
def test_d_steps_repeat_the_row_of_d_on_fresh_data(kind: Any) -> None:
    d, g = Phase("D", ("discriminator",), real=True), Phase("G", ("generator",), real=False)
    assert kind().phases == (d, g)
    assert kind(d_steps=3).phases == (d, d, d, g)


def test_a_critic_takes_five_steps_for_each_of_g() -> None:
    assert [phase.name for phase in Wasserstein().phases] == ["D"] * 5 + ["G"]


@pytest.mark.parametrize("kind", [NonSaturating, Minimax, LeastSquares, Hinge, Wasserstein])
@pytest.mark.parametrize("steps", [0, -2])
def test_fewer_than_one_d_step_is_refused(kind: Any, steps: int) -> None:
    with pytest.raises(ValueError, match=rf"^d_steps must be at least 1, not {steps}$"):
        kind(d_steps=steps)


@pytest.mark.parametrize("kind", [NonSaturating, Minimax])
@pytest.mark.parametrize("smoothing", [-0.1, 0.5, 1.0])
def test_label_smoothing_out_of_range_is_refused(kind: Any, smoothing: float) -> None:
    with pytest.raises(ValueError, match=rf"^label_smoothing must be in \[0, 0.5\), not {smoothing}$"):
        kind(label_smoothing=smoothing)


class Weighted(nn.Module):
    """A critic with a weight that is trained and one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([-3.0, -0.01, 0.02, 5.0]))
        self.frozen = nn.Parameter(torch.tensor([7.0]), requires_grad=False)


@pytest.mark.parametrize(("phase", "expected"), [("D", [-0.05, -0.01, 0.02, 0.05]), ("G", [-3.0, -0.01, 0.02, 5.0])])
def test_the_critic_s_weights_are_cut_after_its_own_steps(phase: str, expected: list[float]) -> None:
    critic = Weighted()
    Wasserstein(clip=0.05).after_step(phase, nets_of(critic), {})
    assert critic.w.tolist() == pytest.approx(expected) and critic.frozen.item() == 7


def test_only_a_cut_critic_asks_for_means() -> None:
    assert not hasattr(Wasserstein(), "after_step")


@pytest.mark.parametrize("clip", [0.0, -0.01])
def test_a_clip_of_nothing_is_refused(clip: float) -> None:
    with pytest.raises(ValueError, match=rf"^clip must be above 0, not {clip}$"):
        Wasserstein(clip=clip)


def test_random_margins_of_hinge() -> None:
    """FastGAN's: each logit's margin is uniform in [0.8, 1), other ones for real and for fake samples."""
    zeros = torch.zeros(2000, 5, dtype=torch.float64)
    margins = value(terms(Hinge(margin_noise=0.2), "D", zeros, zeros)["adversarial"]).item()
    assert margins == pytest.approx(2 * 0.9, abs=0.005)
    real = value(terms(Hinge(margin_noise=0.2), "D", zeros, zeros - 9)["adversarial"]).item()
    assert real == pytest.approx(0.9, abs=0.005) and real != margins / 2
    assert value(terms(Hinge(margin_noise=0.2), "D", zeros + 1, zeros - 1)["adversarial"]).item() == 0
    with pytest.raises(ValueError, match=r"margin_noise must be in \[0, 1\], not 2"):
        Hinge(margin_noise=2)
