"""R1 against closed forms and differences; a lazy penalty against the one applied every time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.contracts import Batch, Nets, Term
from gan_dist.objectives.adversarial import Hinge
from gan_dist.penalties.r1 import R1
from gan_dist.spec.optimizer import OptimizerSpec
from gan_dist.stages import Cadence, Lazy, Stage, Weighted, lazy_correction
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


class NoLoss:
    """An objective with D's phases whose loss has no gradient, so that only penalties act."""

    phases = Hinge().phases

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        return {}


def stage_with(every: int, begins: int = 0, weights: Any = NoLoss) -> Stage:
    settings = {name: OptimizerSpec().settings(name) for name in ("generator", "discriminator")}
    lazy = Lazy("r1", R1(gamma=2.0), every)
    objective = Weighted("none", weights(), 1.0)
    return Stage("test", begins, 10_000, (objective,), (lazy,), settings, Cadence(1, 1, 1, 1), (), CLOCK)


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
