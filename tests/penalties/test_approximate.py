"""R1 and R2 by noise against the exact ones, and real samples replaced by generated ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.augment.augmented_discriminator import AugmentedDiscriminator
from gan_dist.contracts import Nets
from gan_dist.distributed.randomness import Rng
from gan_dist.penalties.apa import Apa
from gan_dist.penalties.approximate import ApproximateR1, ApproximateR2, squared_slopes
from tests.helpers import Bare, assert_same_state, batch_of, nets_of, small, stop_at, train
from tests.penalties.test_gradient_penalties import Linear, Quadratic, r1_of

WIDE = torch.float64
MANY = 200_000


def many(x: Tensor) -> Tensor:
    return x.expand(MANY, *x.shape[1:])


X = torch.tensor([0.3, -1.0, 0.7, 0.2, 0.1, -0.4], dtype=WIDE).view(1, 1, 2, 3)


def test_of_a_linear_d_it_is_r1_in_the_mean() -> None:
    batch, net = batch_of(many(X), many(X)), Linear()
    term = ApproximateR1(gamma=3.0).terms(nets_of(net), batch)["approximate_r1"]
    noise = batch.rng("approximate penalty real").normal(1, 2, 3)
    wanted = 1.5 * (noise.flatten(1) @ net.w).square()
    torch.testing.assert_close(term.total, wanted.sum(), rtol=1e-5, atol=0)
    spread = wanted.std().item() / MANY**0.5
    assert term.weight is not None and not isinstance(term.weight, Tensor)
    assert term.total.item() / term.weight == pytest.approx(r1_of(net, 3.0, X).item(), abs=4 * spread)


@pytest.mark.parametrize("step", [0.5, 0.25])
def test_what_is_left_over_is_of_second_order(step: float) -> None:
    """step^2 (|H|^2 / 2 + (tr H)^2 / 4), H the second derivatives, and no more of a quadratic D."""
    net = Quadratic()
    squares = squared_slopes(nets_of(net), batch_of(many(X), many(X)), "real", step)
    hessian = (net.A + net.A.T).detach()
    gradient = hessian @ X.flatten()
    excess = step**2 * (hessian.square().sum() / 2 + hessian.trace() ** 2 / 4)
    error = 4 * squares.std().item() / MANY**0.5
    assert squares.mean().item() == pytest.approx((gradient.square().sum() + excess).item(), abs=error)
    assert error < excess.item() / 4, "the test can tell"


def test_r2_is_of_fake_samples_and_patches_are_summed() -> None:
    class Patches(nn.Module):
        def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
            return x.flatten(1)[:, :4].view(-1, 2, 2)

    x, fakes = torch.zeros(4, 1, 2, 3, dtype=WIDE), torch.ones(4, 1, 2, 3, dtype=WIDE)
    batch = batch_of(x, fakes)
    term = ApproximateR2(gamma=2.0, step=0.1).terms(nets_of(Patches()), batch)["approximate_r2"]
    noise = batch.rng("approximate penalty fakes").normal(1, 2, 3).flatten(1)[:, :4].sum(1)
    assert term.total.item() == pytest.approx(noise.square().sum().item())


def test_both_passes_are_augmented_alike() -> None:
    class Shifting:
        def __call__(self, x: Tensor, rng: Rng) -> Tensor:
            return x + 100 * rng.normal(*x.shape[1:])

    net = Quadratic()
    batch = batch_of(many(X)[:8], many(X)[:8])
    nets = Nets({"discriminator": AugmentedDiscriminator(Bare(net), Shifting(), batch)})
    shifted = batch_of(X + 100 * batch.rng("augment 1").normal(1, 2, 3), many(X)[:8])
    wanted = squared_slopes(nets_of(net), shifted, "real", 0.01)
    torch.testing.assert_close(squared_slopes(nets, batch, "real", 0.01), wanted, rtol=1e-6, atol=0)


# --- adaptive pseudo augmentation ------------------------------------------------------------------------------------


class Constant(nn.Module):
    def draw(self, n: int, rng: Rng) -> Tensor:
        return rng.normal(2)

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        return torch.full((len(noise), 1), -5.0, dtype=WIDE)


class First(nn.Module):
    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return x[:, 0]


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_so_many_real_samples_become_generated_ones(p: float) -> None:
    real = torch.ones(400, 1, dtype=WIDE)
    batch, penalty = batch_of(real, real), Apa(p=p)
    nets = nets_of(First(), Constant())
    penalty.prepare(nets, batch)
    share = (batch.real == -5).double().mean().item() if batch.real is not None else -1
    assert share == pytest.approx(p, abs=0.08 if 0 < p < 1 else 0)
    sign = penalty.terms(nets, batch)["apa_real_sign"]
    assert sign.total.item() == pytest.approx(400 * (1 - 2 * share))


def test_its_probability_follows_the_signs_and_resumes(tmp_path: Path) -> None:
    job = small(
        penalties=[{"use": "apa", "p": 0.5, "ramp": 400}, "r1"], augment={"use": "ada", "p": 0.2}, until="9 steps"
    )
    whole = train(job, tmp_path / "whole")
    train(job, tmp_path / "parts", stopping=stop_at(6))
    assert_same_state(whole.newest, train(job, tmp_path / "parts", attempt=2).newest)
    p = whole.newest.training()["objectives"]["0.penalty.apa.p"].item()
    moved = 4 * job.batch / 400
    assert min(abs(p - 0.5 - times * moved) for times in (-2, 0, 2)) < 1e-9, "two moves of four steps each"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ApproximateR1(step=0.0), "gamma must be at least 0 and step above it, not 10.0 and 0.0"),
        (lambda: ApproximateR2(gamma=-1.0), "not -1.0 and 0.01"),
        (lambda: Apa(p=1.5), r"p must be in \[0, 1\], not 1.5"),
        (lambda: Apa(target=1.0), r"target must be in \(0, 1\), not 1.0"),
    ],
)
def test_numbers_out_of_range(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()
