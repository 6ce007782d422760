"""Distances of each generated sample to the real one of the same number, for a G whose sample is meant to be that one:
one of its own condition, or an encoder's."""

from __future__ import annotations

from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over

PHASES = (Phase("G", ("generator",)),)


class L1:
    """G: the mean of |fake - real| over pixels (as in pix2pix, Isola et al. 2017, arXiv 1611.07004, equation 3)."""

    phases = PHASES

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        if phase != "G":
            return {}
        assert batch.real is not None
        return {"l1": mean_over((batch.fakes - batch.real).abs())}


class L2:
    """G: the mean of (fake - real)^2 over pixels."""

    phases = PHASES

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        if phase != "G":
            return {}
        assert batch.real is not None
        return {"l2": mean_over((batch.fakes - batch.real).square())}
