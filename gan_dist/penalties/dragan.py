"""DRAGAN: D's gradient around real samples shall have length 1 (Kodali et al. 2017, arXiv 1705.07215)."""

from __future__ import annotations

from gan_dist.contracts import Batch, Nets, Term
from gan_dist.penalties.wgan_gp import check_strength, gradient_norm, squared_distance_to_target


class Dragan:
    """gamma * E (|grad_x D(x)| - target)^2 at x = real + noise with normal noise.

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
