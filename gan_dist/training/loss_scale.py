"""Scaled losses for float16 (Micikevicius et al. 2018, arXiv 1710.03740): gradients below 6e-8 would be 0 in it."""

from __future__ import annotations

import torch
from torch import Tensor

FIRST = 2.0**16
GROWTH, GROWN_AFTER = 2.0, 2000  # steps in a row whose gradients were finite
LEAST = 1.0  # where gradients are not finite even so, it is not the format


class LossScale:
    """The factor of a phase's loss, a power of two, so that nothing is rounded by it: doubled after 2000 good steps in
    a row, halved where a gradient was not finite, in which case the step is left out. It resumes where it stood.
    """

    def __init__(self) -> None:
        self.factor, self.good = FIRST, 0

    def unscale(self, gradients: list[Tensor]) -> None:
        """Divide gradients of the scaled loss by the factor, in place."""
        torch._foreach_mul_(gradients, 1 / self.factor)

    def follow(self, norms: dict[str, Tensor]) -> bool:
        """Move the factor by the gradient norms of a step; whether the step is to be made. One that is not finite at
        the least factor is: the run has then diverged, which is said where it is looked for.
        """
        # Sums over workers are the same everywhere, and so is what follows from them.
        if all(bool(torch.isfinite(norm)) for norm in norms.values()):
            self.good += 1
            if self.good == GROWN_AFTER:
                self.factor, self.good = self.factor * GROWTH, 0
            return True
        if self.factor <= LEAST:
            return True
        self.factor, self.good = self.factor / GROWTH, 0
        return False

    def state(self) -> list[float]:
        return [self.factor, float(self.good)]

    def set_state(self, stored: list[float]) -> None:
        self.factor, self.good = stored[0], int(stored[1])
