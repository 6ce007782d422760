"""The Wasserstein loss. D is a critic: its logits have no zero of their own, only differences mean something."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gan_dist.contracts import Batch, Nets, Term, mean_over
from gan_dist.objectives.adversarial import Fakes, alternating_phases
from gan_dist.objectives.relativistic import watch_scores


class Wasserstein:
    """D: fake - real; G: -fake (Arjovsky, Chintala and Bottou 2017, arXiv 1701.07875, equations 2 and 3).

    D must be kept Lipschitz: by a penalty such as `wgan_gp`, by spectral normalisation, or by `clip`.

    Args:
        d_steps: D steps for each G step, each on fresh data.
        clip: after each of its steps D's weights are cut to [-clip, clip] (algorithm 1, with 0.01); null for not.
        fakes: what G's step learns from: `fresh` samples, or those of the D step before it, `shared`.
    """

    threshold: ClassVar[float | None] = None

    def __init__(self, *, d_steps: int = 5, clip: float | None = None, fakes: Fakes = "fresh") -> None:
        self.phases = alternating_phases(d_steps, fakes)
        self.clip = clip
        if clip is not None:
            if clip <= 0:
                raise ValueError(f"clip must be above 0, not {clip}")
            # Set only here, because an objective with `after_step` costs a reduction in each phase.
            self.after_step = self._cut

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        if phase == "G":
            return {"adversarial": mean_over(-batch.discriminate(nets, "fakes").logits)}
        real, fake = batch.discriminate(nets, "real").logits, batch.discriminate(nets, "fakes").logits
        return {"adversarial": mean_over(fake - real), **watch_scores(real, fake)}

    @torch.no_grad()
    def _cut(self, phase: str, nets: Nets, means: dict[str, Tensor]) -> None:
        if phase == "D" and self.clip is not None:
            for parameter in nets.D.module.parameters():
                if parameter.requires_grad:
                    parameter.clamp_(-self.clip, self.clip)
