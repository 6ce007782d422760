"""Adaptive pseudo augmentation: some real samples become generated ones (Jiang et al. 2021, arXiv 2111.06849)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gan_dist.augment.adaptive import AdaptiveProbability, signs_of_real
from gan_dist.contracts import Batch, Nets, Term, watch


class Apa:
    """In D's phase each real sample becomes a generated one of the same class with probability p, and counts as real.

    So D cannot be sure of real samples by knowing them by heart. p follows the mean sign of D's logits on what it is
    told is real, as `ada` does, with which it may be combined. Gradient penalties are of the mixed samples too.

    Args:
        p: where the probability begins, in [0, 1].
        target: the mean sign that p is steered to, in (0, 1).
        ramp: images in which p can go from 0 to 1.

    Raises:
        ValueError: a number is out of its range.
    """

    phase = "D"
    second_order = False

    def __init__(self, *, p: float = 0.0, target: float = 0.6, ramp: int = 500_000) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p must be in [0, 1], not {p}")
        self.adaptive = AdaptiveProbability(p, target, ramp)
        self.images = 0

    def prepare(self, nets: Nets, batch: Batch) -> None:
        """Replace some of the real samples."""
        assert batch.real is not None
        generator: Any = nets.G.module
        with torch.no_grad():
            pseudo = nets.G(generator.draw(batch.n, batch.rng("pseudo noise")), batch.cond)
        chosen = batch.rng("pseudo").uniform() < self.adaptive.p.to(pseudo.device)
        batch.real = torch.where(chosen.view(-1, *[1] * (pseudo.ndim - 1)), pseudo, batch.real)
        self.images = batch.whole

    def terms(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        p = torch.as_tensor(self.adaptive.p, device=batch.discriminate(nets, "real").logits.device)
        signs = {f"apa_{name}": term for name, term in signs_of_real(nets, batch).items()}
        return {"apa_p": watch(p), **signs}

    def after_step(self, means: dict[str, Tensor]) -> None:
        signs = {name.removeprefix("apa_"): mean for name, mean in means.items()}
        self.adaptive.adapt(signs, self.images)

    def state(self) -> dict[str, Tensor]:
        return self.adaptive.state()
