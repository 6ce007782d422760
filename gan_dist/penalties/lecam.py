"""LeCam: D's logits on one kind stay near their moving mean on the other (Tseng et al. 2021, arXiv 2104.03310)."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_dist.contracts import Batch, Nets, Term, watch


class LeCam:
    """gamma * (E (D(real) - a_fake)^2 + E (D(fake) - a_real)^2), a the moving means of D's logits.

    The means are those before the step, over all workers. They begin at 0, near which logits begin too.

    Args:
        gamma: strength, >= 0; 0.3 in the paper's BigGAN.
        decay: how much of the means is kept in a step, in [0, 1).

    Raises:
        ValueError: a number is out of its range.
    """

    phase = "D"
    second_order = False

    def __init__(self, *, gamma: float = 0.3, decay: float = 0.99) -> None:
        if gamma < 0 or not 0 <= decay < 1:
            raise ValueError(f"gamma must be at least 0 and decay in [0, 1), not {gamma} and {decay}")
        self.gamma, self.decay = gamma, decay
        self.means = {which: torch.zeros((), dtype=torch.float64, device="cpu") for which in ("real", "fake")}

    def terms(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        real, fake = batch.discriminate(nets, "real").logits, batch.discriminate(nets, "fakes").logits
        means = {which: mean.to(real.device, real.dtype) for which, mean in self.means.items()}
        apart = (real - means["fake"]).square().sum() + (fake - means["real"]).square().sum()
        return {
            "lecam": Term(self.gamma * apart, float(real.numel())),
            "lecam_real": watch(real),
            "lecam_fake": watch(fake),
        }

    def after_step(self, means: dict[str, Tensor]) -> None:
        for which, mean in self.means.items():
            now = means[f"lecam_{which}"]
            self.means[which] = torch.lerp(now, mean.to(now.device), self.decay)

    def state(self) -> dict[str, Tensor]:
        return self.means
