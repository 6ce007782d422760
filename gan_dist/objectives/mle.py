"""Maximum likelihood: what a text generator is compared with, and what most text GANs start from."""

from __future__ import annotations

from typing import ClassVar

from gan_dist.contracts import Batch, Nets, Phase, Term, watch


class MaximumLikelihood:
    """-log p(sentence) / T, averaged over sentences of at most T tokens; G gives log p of each token by `log_prob`.

    The division is by the longest length, so that every sentence weighs by its tokens and the gradient is the same
    however sentences are spread over workers. The logged `nll` is per token, the end of a sentence counted.
    """

    needs_discriminator = False
    modality = "text"
    needs_methods: ClassVar = {"generator": ("log_prob", "mask")}
    phases = (Phase("MLE", ("generator",)),)

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        assert batch.real is not None
        log_p = nets.G.call("log_prob", batch.real, batch.cond)
        mask = nets.G.call("mask", batch.real)
        return {
            "likelihood": Term(-log_p.sum() / batch.real.shape[1], float(batch.n)),
            "nll": watch(-log_p, mask),
        }
