"""Penalties against closed forms and differences; a lazy penalty against the one applied every time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.contracts import Batch, Nets, Term, mean_over
from gan_dist.objectives.adversarial import Hinge
from gan_dist.penalties.r1 import R1, R2
from gan_dist.penalties.wgan_gp import Dragan, WganGp, gradient_norm
from gan_dist.spec.sections import OptimizerSpec
from gan_dist.training.stages import Cadence, LazyPenalty, Stage, WeightedObjective, lazy_correction
from tests.helpers import CLOCK, Bare, batch_of, finite_difference, nets_of

X = torch.linspace(-1, 1, 4 * 6, dtype=torch.float64).view(4, 1, 2, 3).sin()


class Linear(nn.Module):
    """D(x) = w.x, whose gradient is w everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5, -1.0, 2.0, 0.1, 0.0, 3.0], dtype=torch.float64))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return x.flatten(1) @ self.w


class Quadratic(nn.Module):
    """D(x) = x.Ax, whose gradient is (A + A^T) x."""

    def __init__(self) -> None:
        super().__init__()
        values = torch.arange(36, dtype=torch.float64).view(6, 6).cos()
        self.A = nn.Parameter(values)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        flat = x.flatten(1)
        return ((flat @ self.A) * flat).sum(1)


def small_d() -> nn.Module:
    torch.manual_seed(0)
    net: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    return net


class Unconditional(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        made: Tensor = self.net(x)
        return made.squeeze(1)


def r1_of(discriminator: nn.Module, gamma: float, x: Tensor = X) -> Tensor:
    term = R1(gamma=gamma).terms(nets_of(discriminator), batch_of(x, x))["r1"]
    assert term.weight == len(x)
    return term.total / term.weight


def test_r1_of_a_linear_d_is_gamma_half_w_squared() -> None:
    net = Linear()
    loss = r1_of(net, 3.0)
    assert loss.item() == pytest.approx(1.5 * (0.25 + 1 + 4 + 0.01 + 9), rel=1e-12)
    (slope,) = torch.autograd.grad(loss, net.w)
    torch.testing.assert_close(slope, 3.0 * net.w.detach(), rtol=1e-12, atol=1e-12)


def test_r1_of_a_quadratic_d_is_its_closed_form() -> None:
    net = Quadratic()
    gradients = X.flatten(1) @ (net.A + net.A.T).detach()
    assert r1_of(net, 10.0).item() == pytest.approx(5 * gradients.square().sum(1).mean().item(), rel=1e-12)


def test_gradient_of_r1_is_that_of_finite_differences() -> None:
    net = Unconditional(small_d())
    loss = r1_of(net, 2.0)
    # The last bias moves D by a constant and so leaves R1 alone.
    weights = [p for name, p in net.named_parameters() if name != "net.3.bias"]
    slopes = torch.autograd.grad(loss, weights)
    for weight, slope in zip(weights, slopes, strict=True):
        torch.testing.assert_close(slope, finite_difference(lambda: r1_of(net, 2.0), weight), rtol=0, atol=1e-7)


def test_r1_leaves_the_real_images_alone() -> None:
    x = X.clone()
    r1_of(Linear(), 1.0, x)
    assert not x.requires_grad and torch.equal(x, X)


def test_r1_sums_in_float32_what_came_in_bfloat16() -> None:
    net = Linear().to(torch.bfloat16)
    assert R1(gamma=2.0).terms(nets_of(net), batch_of(X.bfloat16(), X.bfloat16()))["r1"].total.dtype == torch.float32


def test_negative_gamma_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^gamma must be at least 0, not -1$"):
        R1(gamma=-1)


FAKES = X.flip(0).cos()
W_LENGTH = math.sqrt(0.25 + 1 + 4 + 0.01 + 9)


def penalty_of(penalty: Any, discriminator: nn.Module, real: Tensor = X, fakes: Tensor = FAKES) -> Tensor:
    (term,) = penalty.terms(nets_of(discriminator), batch_of(real, fakes)).values()
    assert term.weight == len(real)
    total: Tensor = term.total / term.weight
    return total


def test_r2_is_r1_at_fake_samples() -> None:
    net = Quadratic()
    assert penalty_of(R2(gamma=3.0), net).item() == pytest.approx(r1_of(net, 3.0, FAKES).item(), rel=1e-12)
    assert penalty_of(R2(gamma=3.0), net).item() != pytest.approx(r1_of(net, 3.0, X).item(), rel=1e-3)


@pytest.mark.parametrize("kind", [WganGp, Dragan])
@pytest.mark.parametrize("target", [0.0, 1.0, 5.0])
def test_lengths_of_a_linear_d_are_those_of_w(kind: Any, target: float) -> None:
    net = Linear()
    loss = penalty_of(kind(gamma=3.0, target=target), net)
    assert loss.item() == pytest.approx(3 * (W_LENGTH - target) ** 2, rel=1e-12)
    (slope,) = torch.autograd.grad(loss, net.w)
    expected = 6 * (W_LENGTH - target) * net.w.detach() / W_LENGTH
    torch.testing.assert_close(slope, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("target", "expected"), [(1.0, (W_LENGTH - 1) ** 2), (5.0, 0.0)])
def test_one_sided_spares_short_gradients(target: float, expected: float) -> None:
    loss = penalty_of(WganGp(gamma=1.0, target=target, one_sided=True), Linear())
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_wgan_gp_looks_between_the_pairs() -> None:
    net, u = Quadratic(), batch_of(X, FAKES).rng("wgan_gp").uniform(1, 1, 1)
    assert u.shape == (4, 1, 1, 1) and len(set(u.flatten().tolist())) == 4
    between = (u * X + (1 - u) * FAKES).flatten(1)
    lengths = (between @ (net.A + net.A.T).detach()).square().sum(1).sqrt()
    assert penalty_of(WganGp(), net).item() == pytest.approx(10 * (lengths - 1).square().mean().item(), rel=1e-12)


def test_dragan_looks_around_real_samples() -> None:
    net, noise = Quadratic(), batch_of(X, FAKES).rng("dragan").normal(1, 2, 3)
    around = (X + 0.5 * noise).flatten(1)
    lengths = (around @ (net.A + net.A.T).detach()).square().sum(1).sqrt()
    loss = penalty_of(Dragan(noise=0.5), net)
    assert loss.item() == pytest.approx(10 * (lengths - 1).square().mean().item(), rel=1e-12)


@pytest.mark.parametrize("penalty", [R2(gamma=2.0), WganGp(), WganGp(one_sided=True, target=0.2), Dragan()])
def test_gradients_are_those_of_finite_differences(penalty: Any) -> None:
    net = Unconditional(small_d())
    weights = [p for name, p in net.named_parameters() if name != "net.3.bias"]
    slopes = torch.autograd.grad(penalty_of(penalty, net), weights)
    for weight, slope in zip(weights, slopes, strict=True):
        torch.testing.assert_close(
            slope, finite_difference(lambda: penalty_of(penalty, net), weight), rtol=0, atol=1e-7
        )


@pytest.mark.parametrize("kind", [WganGp, Dragan])
def test_a_d_without_slope_has_a_finite_gradient(kind: Any) -> None:
    """A ReLU network that is dead at a sample; the length's own slope at 0 is not defined."""
    net = Linear()
    nn.init.zeros_(net.w)
    penalty_of(kind(), net).backward()
    assert net.w.grad is not None and torch.isfinite(net.w.grad).all()


@pytest.mark.parametrize("penalty", [R2(), WganGp(), Dragan()])
def test_penalties_leave_the_samples_alone(penalty: Any) -> None:
    real, fakes = X.clone(), FAKES.clone()
    penalty_of(penalty, Linear(), real, fakes)
    assert not real.requires_grad and torch.equal(real, X) and torch.equal(fakes, FAKES)


def test_lengths_are_summed_in_float32() -> None:
    x = torch.full((1, 1, 1, 1000), 0.5, dtype=torch.bfloat16, requires_grad=True)
    length = gradient_norm(x.square().sum((1, 2, 3)), x)
    assert length.dtype == torch.float32 and length.item() == pytest.approx(1000**0.5, rel=1e-6)


REFUSED = [
    (R2, {"gamma": -1}, "gamma must be at least 0, not -1"),
    (WganGp, {"gamma": -1}, "gamma and target must be at least 0, not -1 and 1.0"),
    (Dragan, {"target": -1}, "gamma and target must be at least 0, not 10.0 and -1"),
    (Dragan, {"noise": -1}, "noise must be at least 0, not -1"),
]


@pytest.mark.parametrize(("kind", "args", "text"), REFUSED)
def test_negative_strengths_are_refused(kind: Any, args: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        kind(**args)


class NoLoss:
    """An objective with D's phases whose loss has no gradient, so that only penalties act."""

    phases = Hinge().phases

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        return {}


class Counting(Unconditional):
    """Notes each pass: whether its input is a leaf that wants a gradient."""

    def __init__(self) -> None:
        super().__init__(small_d())
        self.passes: list[bool] = []

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        self.passes.append(x.requires_grad)
        return super().forward(x, cond)


class Apart(Hinge):
    """The same loss by somebody who calls D himself."""

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        real, fake = nets.D(batch.real), nets.D(batch.fakes)
        return {"adversarial": mean_over((1 - real).relu() + (1 + fake).relu())}


def passes_of(objective: Any, penalties: list[Any], seen: int = 0) -> tuple[list[bool], list[Tensor]]:
    """D's passes in its phase, and the gradients of its weights."""
    net = Counting()
    stage = stage_with(2, weights=objective)
    stage.penalties = tuple(LazyPenalty("p", penalty, 2) for penalty in penalties)
    parts = stage.parts(stage.phases[0], nets_of(net), batch_of(X, FAKES), seen)
    stage.loss(parts, 4, world=1, last=True).backward()
    return net.passes, [p.grad for p in net.parameters() if p.grad is not None]


def test_objective_and_penalties_share_d_s_passes() -> None:
    both: list[Any] = [R1(gamma=2.0), R2(gamma=3.0)]
    shared, gradients = passes_of(Hinge, both)
    apart, expected = passes_of(Apart, both)
    assert shared == [True, True] and apart == [False, False, True, True]
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_only_what_a_due_penalty_asks_for_is_made_differentiable() -> None:
    assert passes_of(Hinge, [R1()])[0] == [True, False]
    assert passes_of(Hinge, [R2()])[0] == [False, True]
    assert passes_of(Hinge, [R1(), R2()], seen=CLOCK.batch)[0] == [False, False], "in an iteration without penalties"
    assert passes_of(Hinge, [WganGp(), Dragan()])[0] == [False, False, True, True]


def stage_with(every: int, begins: int = 0, weights: Any = NoLoss) -> Stage:
    settings = {name: OptimizerSpec().settings(name) for name in ("generator", "discriminator")}
    lazy = LazyPenalty("r1", R1(gamma=2.0), every)
    objective = WeightedObjective("none", weights(), 1.0)
    return Stage(
        name="test",
        begins=begins,
        ends=10_000,
        objectives=(objective,),
        penalties=(lazy,),
        settings=settings,
        cadence=Cadence(1, 1, 1, 1),
        driven=(),
        clock=CLOCK,
    )


def gradient_at(stage: Stage, seen: int, micro: int) -> Tensor:
    """Of R1 over one iteration, from micro-batches of `micro` samples of a global batch of 8."""
    net = Linear()
    nets = Nets({"discriminator": Bare(net)})
    x = torch.cat([X, X * 2])
    for start in range(0, 8, micro):
        batch = batch_of(x[start : start + micro], x[start : start + micro])
        parts = stage.parts(stage.phases[0], nets, batch, seen)
        if parts:
            stage.loss(parts, micro, world=1, last=start + micro == 8).backward()
    return torch.zeros_like(net.w) if net.w.grad is None else net.w.grad


@pytest.mark.parametrize("every", [2, 3, 16])
@pytest.mark.parametrize("micro", [8, 4])
def test_lazy_penalty_has_the_mean_gradient_of_the_diligent_one(every: int, micro: int) -> None:
    lazy, diligent = stage_with(every), stage_with(1)
    steps = [seen * CLOCK.batch for seen in range(every)]
    mean = torch.stack([gradient_at(lazy, seen, micro) for seen in steps]).mean(0)
    torch.testing.assert_close(mean, gradient_at(diligent, 0, micro), rtol=1e-12, atol=1e-12)


def test_lazy_penalty_is_due_once_in_every_k_iterations_of_its_stage() -> None:
    begins = 37  # a stage need not begin at a multiple of the batch
    stage = stage_with(4, begins)
    first = -(-begins // CLOCK.batch) * CLOCK.batch
    due = [bool(stage.due(stage.phases[0], first + step * CLOCK.batch)) for step in range(12)]
    assert due == [True, False, False, False] * 3


def test_penalty_belongs_to_its_phase_only() -> None:
    stage = stage_with(1)
    assert [bool(stage.due(phase, 0)) for phase in stage.phases] == [True, False]


@pytest.mark.parametrize(("every", "factor"), [(1, 1.0), (4, 4 / 5), (16, 16 / 17)])
def test_lazy_correction_is_k_over_k_plus_1_for_the_network_under_it(every: int, factor: float) -> None:
    stage = stage_with(every)
    assert lazy_correction(stage, "discriminator") == pytest.approx(factor)
    assert lazy_correction(stage, "generator") == 1.0
