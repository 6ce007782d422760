"""R1: the squared gradient of D at real samples (Mescheder, Geiger and Nowozin 2018, arXiv 1801.04406, eq. 9)."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_dist.contracts import Batch, Nets, Term


class R1:
    """gamma/2 * E |grad_x D(x)|^2 over real x, in D's phase.

    Args:
        gamma: strength, >= 0; larger images want more (StyleGAN2-ADA starts from 0.0002 * height * width / batch).
    """

    phase = "D"
    differentiates = ("real",)

    def __init__(self, *, gamma: float = 10.0) -> None:
        if gamma < 0:
            raise ValueError(f"gamma must be at least 0, not {gamma}")
        self.gamma = gamma

    def terms(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        x, logits = batch.discriminate(nets, "real", differentiable=True)
        norms = squared_gradient(logits, x)
        return {"r1": Term(self.gamma / 2 * norms.sum(), float(batch.n))}


def squared_gradient(logits: Tensor, x: Tensor) -> Tensor:
    """|d logits / d x|^2 of each sample, [B], summed in at least float32 and differentiable again."""
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    wide = torch.promote_types(gradient.dtype, torch.float32)
    return gradient.to(wide).square().flatten(1).sum(1)


class R2:
    """R2: the squared gradient of D at fake samples (Mescheder, Geiger and Nowozin 2018, arXiv 1801.04406, eq. 10).

    gamma/2 * E |grad_x D(x)|^2 over fake x, in D's phase. R3GAN uses it beside R1, equally strong.

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
