"""WGAN-GP: D's gradient between real and fake samples shall have length 1 (Gulrajani et al. 2017, arXiv 1704.00028)."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_dist.contracts import Batch, Nets, Term


class WganGp:
    """gamma * E (|grad_x D(x)| - target)^2 at x = u real + (1 - u) fake, u uniform for each sample (equation 3).

    Args:
        gamma: strength, >= 0; the paper's lambda.
        target: the length that the gradient shall have, >= 0.
        one_sided: whether only longer gradients are punished (section 4; Petzka et al. 2018, arXiv 1709.08894).
    """

    phase = "D"

    def __init__(self, *, gamma: float = 10.0, target: float = 1.0, one_sided: bool = False) -> None:
        check_strength(gamma, target)
        self.gamma, self.target, self.one_sided = gamma, target, one_sided

    def terms(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        real = batch.as_floats("real")
        u = batch.rng("wgan_gp").uniform(*[1] * (real.ndim - 1))
        x = torch.lerp(batch.fakes.detach(), real, u).requires_grad_()
        lengths = gradient_norm(nets.D(x, batch.cond), x)
        return {
            "wgan_gp": Term(
                self.gamma * squared_distance_to_target(lengths, self.target, self.one_sided), float(batch.n)
            )
        }


def gradient_norm(logits: Tensor, x: Tensor) -> Tensor:
    """|d logits / d x| of each sample, [B], in at least float32 and differentiable again, also where it is 0."""
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    wide = torch.promote_types(gradient.dtype, torch.float32)
    lengths: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=wide)
    return lengths


def squared_distance_to_target(lengths: Tensor, target: float, one_sided: bool) -> Tensor:
    """The sum of (length - target)^2; one-sided, of those above the target."""
    off = lengths - target
    return (off.clamp_min(0) if one_sided else off).square().sum()


def check_strength(gamma: float, target: float) -> None:
    """Raises ValueError for negative numbers."""
    if gamma < 0 or target < 0:
        raise ValueError(f"gamma and target must be at least 0, not {gamma} and {target}")


class Dragan:
    """DRAGAN: D's gradient around real samples shall have length 1 (Kodali et al. 2017, arXiv 1705.07215).

    gamma * E (|grad_x D(x)| - target)^2 at x = real + noise with normal noise.

    So the paper has it. Its code adds uniform numbers below half of the batch's standard deviation, which couple the
    samples of a batch and brighten them all.

    Args:
        gamma: strength, >= 0; the paper's lambda.
        target: the length that the gradient shall have, >= 0; the paper's k.
        noise: standard deviation of the noise on pixels in [-1, 1], >= 0.
    """

    phase = "D"

    def __init__(self, *, gamma: float = 10.0, target: float = 1.0, noise: float = 0.25) -> None:
        check_strength(gamma, target)
        if noise < 0:
            raise ValueError(f"noise must be at least 0, not {noise}")
        self.gamma, self.target, self.noise = gamma, target, noise

    def terms(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        real = batch.as_floats("real")
        noise = batch.rng("dragan").normal(*real.shape[1:])
        x = (real + self.noise * noise).detach().requires_grad_()
        lengths = gradient_norm(nets.D(x, batch.cond), x)
        return {
            "dragan": Term(
                self.gamma * squared_distance_to_target(lengths, self.target, one_sided=False), float(batch.n)
            )
        }
