"""R2: the squared gradient of D at fake samples (Mescheder, Geiger and Nowozin 2018, arXiv 1801.04406, eq. 10)."""

from __future__ import annotations

from gan_dist.contracts import Batch, Nets, Term
from gan_dist.penalties.r1 import squared_gradient


class R2:
    """gamma/2 * E |grad_x D(x)|^2 over fake x, in D's phase. R3GAN uses it beside R1, equally strong.

    Args:
        gamma: strength, >= 0.
    """

    phase = "D"
    differentiates = ("fakes",)

    def __init__(self, *, gamma: float = 10.0) -> None:
        if gamma < 0:
            raise ValueError(f"gamma must be at least 0, not {gamma}")
        self.gamma = gamma

    def terms(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        x, logits = batch.discriminate(nets, "fakes", differentiable=True)
        norms = squared_gradient(logits, x)
        return {"r2": Term(self.gamma / 2 * norms.sum(), float(batch.n))}
