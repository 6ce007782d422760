"""R1 and R2 without a second derivative: how much D's logit changes when a little noise is added (Lin et al. 2025,
arXiv 2501.08316, section 3.3)."""

from __future__ import annotations

from torch import Tensor

from gan_dist.contracts import Batch, Nets, Term, Which


class ApproximateR1:
    """gamma/2 * E ((D(x + step e) - D(x)) / step)^2 over real x and normal e, in D's phase.

    In the mean over e this is R1 plus step^2 gamma/2 (|H|^2 / 2 + (tr H)^2 / 4), H the second derivatives of D at x,
    and more of step^4. One e is drawn for each sample. It costs one more pass of D in place of a derivative of a
    derivative, so it goes with compiled networks and batch normalisation. Both passes are of the same augmented
    picture.

    Args:
        gamma: strength, >= 0, on the scale of `r1`; the paper's lambda of 100 at step 0.01 is 0.02.
        step: deviation of the noise on pixels in [-1, 1], above 0; 0.05 where D computes in bfloat16, whose rounding
            would be larger than what 0.01 changes.
    """

    phase = "D"
    second_order = False

    def __init__(self, *, gamma: float = 10.0, step: float = 0.01) -> None:
        self.gamma, self.step = _checked(gamma, step)

    def terms(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        squares = squared_slopes(nets, batch, "real", self.step)
        return {"approximate_r1": Term(self.gamma / 2 * squares.sum(), float(batch.n))}


class ApproximateR2:
    """The same over fake x: what R2 is to R1 (Lin et al. 2025, arXiv 2501.08316, section 3.3).

    Args:
        gamma: strength, >= 0, on the scale of `r2`.
        step: deviation of the noise on pixels in [-1, 1], above 0; 0.05 where D computes in bfloat16.
    """

    phase = "D"
    second_order = False

    def __init__(self, *, gamma: float = 10.0, step: float = 0.01) -> None:
        self.gamma, self.step = _checked(gamma, step)

    def terms(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        squares = squared_slopes(nets, batch, "fakes", self.step)
        return {"approximate_r2": Term(self.gamma / 2 * squares.sum(), float(batch.n))}


def squared_slopes(nets: Nets, batch: Batch, which: Which, step: float) -> Tensor:
    """((D(x + step e) - D(x)) / step)^2 of each sample, [B]; of a D with several logits, of their sum."""
    x = batch.as_floats(which).detach()
    noise = batch.rng(f"approximate penalty {which}").normal(*x.shape[1:]).to(x.dtype)
    there = batch.discriminate(nets, which)
    moved = batch.discriminate_again(nets, which, x + step * noise)
    slopes = (moved - there.logits).view(len(x), -1).sum(1) / step
    return slopes.square()


def _checked(gamma: float, step: float) -> tuple[float, float]:
    if gamma < 0 or step <= 0:
        raise ValueError(f"gamma must be at least 0 and step above it, not {gamma} and {step}")
    return gamma, step
