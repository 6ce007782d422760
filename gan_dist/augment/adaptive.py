"""A probability that follows how sure D is of real samples (Karras et al. 2020, arXiv 2006.06676, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_dist.contracts import Batch, Nets, Term, watch

ADAPT_EVERY = 4


class AdaptiveProbability:
    """p goes up while the mean sign is above its target, and down while it is below.

    Args:
        p: where it begins.
        target: the mean sign that p is steered to, in (0, 1).
        ramp: images in which p can go from 0 to 1.

    Attributes:
        p: a float64 scalar.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(self, p: float, target: float, ramp: int) -> None:
        if not 0 < target < 1:
            raise ValueError(f"target must be in (0, 1), not {target}; the paper has 0.6")
        check_ramp(ramp)
        self.target, self.ramp = target, ramp
        self.p = torch.tensor(p, dtype=torch.float64, device="cpu")
        self.signs = torch.zeros((), dtype=torch.float64, device="cpu")
        self.steps = torch.zeros((), dtype=torch.int64, device="cpu")

    def state(self) -> dict[str, Tensor]:
        return {"p": self.p, "signs": self.signs, "steps": self.steps}

    def adapt(self, means: dict[str, Tensor], images: int) -> None:
        """Every few steps p moves up or down by a fixed amount.

        Args:
            means: of a step's terms over the global batch, those of `signs_of_real` among them.
            images: samples of the global batch.
        """
        sign = next(means[name] for name in ("real_sign", "lead_sign") if name in means)
        signs, p = self.signs.to(sign.device) + sign, self.p.to(sign.device)
        self.steps = self.steps.to(sign.device) + 1
        # Chosen where the numbers are: to read one would make the host wait for the device.
        due = self.steps % ADAPT_EVERY == 0
        above = (signs / ADAPT_EVERY - self.target).sign()
        moved = (p + above * (ADAPT_EVERY * images / self.ramp)).clamp(0, 1)
        self.p, self.signs = torch.where(due, moved, p), torch.where(due, 0.0, signs)


def check_ramp(ramp: int) -> None:
    """Raises ValueError where p could not go from 0 to 1 in so many images."""
    if ramp < 1:
        raise ValueError(f"ramp must be at least 1 image, not {ramp}")


def signs_of_real(nets: Nets, batch: Batch) -> dict[str, Term]:
    """The mean sign of D's logits on real samples; of losses that know only differences between logits, that of their
    lead over generated ones."""
    logits = batch.discriminate(nets, "real").logits
    if batch.threshold is None:
        return {"lead_sign": watch((logits - batch.discriminate(nets, "fakes").logits).sign())}
    return {"real_sign": watch((logits - batch.threshold).sign())}
