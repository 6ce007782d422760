"""Feature matching: G's samples shall have the same features in D as real ones, on average."""

from __future__ import annotations

from typing import ClassVar

from gan_dist.contracts import Batch, Nets, Phase, Term


class FeatureMatching:
    """G: |E f(real) - E f(fake)|^2, f what D's logit is made of (Salimans et al. 2016, arXiv 1606.03498, section 3.1).

    It trains G alone: sum it with an objective that trains D. D must have `features(x, cond)`, [B, F]. The means are
    over what goes through D together, one worker's micro-batch. So this loss depends on the number of workers and on
    `micro_batch`, and is no part of the promise that neither changes the result.
    """

    couples_batch = True
    phases = (Phase("G", ("generator",)),)
    needs_methods: ClassVar = {"discriminator": ("features",)}

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        if phase != "G":
            return {}
        real = nets.D.call("features", batch.real, batch.cond)
        fake = nets.D.call("features", batch.fakes, batch.cond)
        apart = (real.mean(0) - fake.mean(0)).square().sum()
        return {"features": Term(batch.n * apart, float(batch.n))}
