"""LeCam: D's logits on one kind stay near their moving mean on the other (Tseng et al. 2021, arXiv 2104.03310)."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_dist.contracts import Batch, Nets, Term, watch


class LeCam:
    """gamma * (E (D(real) - a_fake)^2 + E (D(fake) - a_real)^2), a the moving means of D's logits.

    The means are those before the step, over all workers; the authors' code has those after it. They are unbiased: of
    few steps they are means of these steps, and in the first there is no term. So the term does not pull logits
    towards 0, and is the same whatever is added to all of them.

    Args:
        gamma: strength, >= 0; 0.3 in the paper's BigGAN.
        decay: how much of the means is kept in a step, in [0, 1); 0.9 in the authors' BigGAN.
        one_sided: whether only logits count that are further apart than the means, as in the authors' code: real
            ones above a_fake, fake ones below a_real.
        start: steps of D before which there is no term, and the means are those of the step before; 1000 in the
            authors' BigGAN.

    Raises:
        ValueError: a number is out of its range.
    """

    phase = "D"
    second_order = False

    def __init__(self, *, gamma: float = 0.3, decay: float = 0.99, one_sided: bool = False, start: int = 0) -> None:
        if gamma < 0 or not 0 <= decay < 1:
            raise ValueError(f"gamma must be at least 0 and decay in [0, 1), not {gamma} and {decay}")
        if start < 0:
            raise ValueError(f"start must be at least 0 steps, not {start}")
        self.gamma, self.decay, self.one_sided, self.start = gamma, decay, one_sided, start
        self.means = {which: torch.zeros((), dtype=torch.float64, device="cpu") for which in ("real", "fake")}
        self.weight = torch.zeros((), dtype=torch.float64, device="cpu")  # of the steps in the means; 1 in the long run
        self.steps = torch.zeros((), dtype=torch.int64, device="cpu")

    def terms(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        real, fake = batch.discriminate(nets, "real").logits, batch.discriminate(nets, "fakes").logits
        means = {which: mean.to(real.device, real.dtype) for which, mean in self.means.items()}
        above, below = real - means["fake"], means["real"] - fake
        if self.one_sided:
            above, below = above.relu(), below.relu()
        begun = (self.steps >= max(1, self.start)).to(real.device, real.dtype)
        apart = begun * (above.square().sum() + below.square().sum())
        return {
            "lecam": Term(self.gamma * apart, float(real.numel())),
            "lecam_real": watch(real),
            "lecam_fake": watch(fake),
        }

    def after_step(self, means: dict[str, Tensor]) -> None:
        device = means["lecam_real"].device
        self.steps = self.steps.to(device) + 1
        weight = self.decay * self.weight.to(device) + 1 - self.decay
        # Up to `start` the means are the last step's, and go on from there as from a long run.
        self.weight = torch.where(self.steps <= self.start, torch.ones_like(weight), weight)
        share = torch.where(self.steps <= self.start, self.weight, (1 - self.decay) / self.weight)
        for which, mean in self.means.items():
            now = means[f"lecam_{which}"].to(share.dtype)
            self.means[which] = torch.lerp(mean.to(device), now, share)

    def state(self) -> dict[str, Tensor]:
        return {**self.means, "weight": self.weight, "steps": self.steps}
