"""Relativistic losses: D says whether a real sample looks more real than a fake one. G's phase draws real data too."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over, watch
from gan_dist.objectives.adversarial import alternating_phases


class Relativistic:
    """D: softplus(-(real - fake)); G: softplus(-(fake - real)), sample i of the one against sample i of the other.

    The relativistic pairing GAN (Jolicoeur-Martineau 2018, arXiv 1807.00734), the loss of R3GAN (Huang et al. 2024,
    arXiv 2501.05441, equation 2). Both of a pair have the same class. Without R1 and R2 it need not converge.

    Args:
        d_steps: D steps for each G step, each on fresh data.
    """

    threshold: ClassVar[float | None] = None

    def __init__(self, *, d_steps: int = 1) -> None:
        self.phases = phases_with_reals(d_steps)

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        real, fake = scores_of_both(nets, batch)
        ahead = real - fake
        if phase == "G":
            return {"adversarial": mean_over(F.softplus(ahead))}
        return {"adversarial": mean_over(F.softplus(-ahead)), **watch_scores(real, fake), "accuracy": watch(ahead > 0)}


class RelativisticAverage:
    """D: softplus(-(real - m_fake)) + softplus(fake - m_real); G: the same with real and fake exchanged.

    m is the mean of D over the samples of the other kind, and gradients flow through it (Jolicoeur-Martineau 2018,
    arXiv 1807.00734). It is taken over what goes through D together: one worker's micro-batch. So this loss depends
    on the number of workers and on `micro_batch`, and is no part of the promise that neither changes the result.

    Args:
        d_steps: D steps for each G step, each on fresh data.
    """

    couples_batch = True
    threshold: ClassVar[float | None] = None

    def __init__(self, *, d_steps: int = 1) -> None:
        self.phases = phases_with_reals(d_steps)

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        real, fake = scores_of_both(nets, batch)
        real_ahead, fake_ahead = real - fake.mean(0), fake - real.mean(0)
        if phase == "G":
            return {"adversarial": mean_over(F.softplus(real_ahead) + F.softplus(-fake_ahead))}
        right = (real_ahead > 0).float() + (fake_ahead < 0).float()
        return {
            "adversarial": mean_over(F.softplus(-real_ahead) + F.softplus(fake_ahead)),
            **watch_scores(real, fake),
            "accuracy": watch(right / 2),
        }


def phases_with_reals(d_steps: int) -> tuple[Phase, ...]:
    """The rows of `alternating`, with real data in G's too."""
    return tuple(phase._replace(real=True) for phase in alternating_phases(d_steps))


def scores_of_both(nets: Nets, batch: Batch) -> tuple[Tensor, Tensor]:
    """D's logits on the real and on the fake samples, which go through D apart."""
    return batch.discriminate(nets, "real").logits, batch.discriminate(nets, "fakes").logits


def watch_scores(real: Tensor, fake: Tensor) -> dict[str, Term]:
    """Means of the logits, which may drift together, and of their difference, which means something."""
    return {"real_logits": watch(real), "fake_logits": watch(fake), "real_minus_fake": watch(real - fake)}
