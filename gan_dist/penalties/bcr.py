"""Balanced consistency: D shall judge a sample and a changed copy alike (Zhao et al. 2020, arXiv 2002.04724)."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_dist.augment.transforms import flip, shift_pixels, whole_shifts
from gan_dist.contracts import Batch, Nets, Term, Which


class Bcr:
    """real * E (D(T(x)) - D(x))^2 + fake * E (D(T(G(z))) - D(G(z)))^2 (algorithm 1).

    T mirrors half of the samples and moves each by up to an eighth of its height and width, mirrored beyond the edge. D
    is taken without the job's augmentation.

    Args:
        real: strength on real samples, >= 0.
        fake: strength on generated samples, >= 0.

    Raises:
        ValueError: a strength is negative.
    """

    phase = "D"
    second_order = False

    def __init__(self, *, real: float = 10.0, fake: float = 10.0) -> None:
        if real < 0 or fake < 0:
            raise ValueError(f"real and fake must be at least 0, not {real} and {fake}")
        self.real, self.fake = real, fake

    def terms(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        real, fake = _inconsistency(nets, batch, "real"), _inconsistency(nets, batch, "fakes")
        return {
            "bcr_real": Term(self.real * real.square().sum(), float(real.numel())),
            "bcr_fake": Term(self.fake * fake.square().sum(), float(fake.numel())),
        }


def _inconsistency(nets: Nets, batch: Batch, which: Which) -> Tensor:
    """How much D's logit differs between changed and unchanged samples, [B, ...]."""
    x = batch.real if which == "real" else batch.fakes
    assert x is not None
    plain = nets.D.raw
    judged: Tensor = batch.discriminate(nets, which).logits if plain is nets.D else plain(x, batch.cond)
    mirror, right, down = batch.rng(f"bcr {which}").uniform(3).unbind(1)
    shift = whole_shifts(torch.stack([right, down], 1), [x.shape[3] // 8, x.shape[2] // 8])
    changed: Tensor = plain(shift_pixels(flip(x, mirror < 0.5), shift, mirrored=True), batch.cond)
    return changed - judged
