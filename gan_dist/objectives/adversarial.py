"""The classic two-player losses. Real and fake samples go through D apart, as batch normalisation in D wants.

Logits are D's outputs, larger for real. Each loss is a mean over samples (and over the places of a patch
discriminator).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, get_args

from torch import Tensor
from torch.nn import functional as F

from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over, watch

Loss = Callable[[Tensor], Tensor]
Fakes = Literal["fresh", "shared"]


class BestSamples:
    """What losses have whose G learns from the generated samples that D takes for the most real alone."""

    def __init__(self, top_k: float) -> None:
        if not 0 < top_k <= 1:
            raise ValueError(f"top_k must be in (0, 1], not {top_k}")
        self.top_k = top_k

    def looks_ahead(self, phase: str) -> bool:
        """Whether not all samples count."""
        return phase == "G" and self.top_k < 1

    def ahead(self, phase: str, nets: Nets, batch: Batch) -> Tensor:
        """D's logits [B], of a patch discriminator their means."""
        return batch.discriminate(nets, "fakes").logits.view(batch.n, -1).mean(1)

    def mean_of_best(self, losses: Tensor, nets: Nets, batch: Batch) -> Term:
        """The mean of losses over the best samples of the global batch."""
        if self.top_k == 1:
            return mean_over(losses)
        everyone = batch.everyone.get(self)
        everyone = self.ahead("G", nets, batch).detach() if everyone is None else everyone
        place = (everyone > everyone[batch.first : batch.first + batch.n, None]).sum(1)
        best = max(1, round(self.top_k * len(everyone)))
        chosen = (place < best).to(losses.dtype).view(-1, *[1] * (losses.ndim - 1))
        return Term((losses * chosen).sum(), losses.numel() * best / len(everyone))


class NonSaturating(BestSamples):
    """D: -log s(real) - log(1 - s(fake)); G: -log s(fake), s the logistic (Goodfellow et al. 2014, section 3).

    Args:
        d_steps: D steps for each G step, each on fresh data.
        label_smoothing: real labels become 1 - this (one-sided; Salimans et al. 2016, arXiv 1606.03498), in [0, 0.5).
        top_k: share of the generated samples that G learns from, those that D takes for the most real of the global
            batch, in (0, 1]; may fall over a run, as to 0.5 (Sinha et al. 2020, arXiv 2002.06224).
        fakes: what G's step learns from: `fresh` samples, as in the papers' algorithms, or those of the D step before
            it, `shared`, as in the code of DCGAN and pix2pix, which saves a pass through G.
    """

    def __init__(
        self, *, d_steps: int = 1, label_smoothing: float = 0.0, top_k: float = 1.0, fakes: Fakes = "fresh"
    ) -> None:
        super().__init__(top_k)
        self.phases = alternating_phases(d_steps, fakes)
        self.label_smoothing = _smoothing(label_smoothing)

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        real = _log_loss_of_real(self.label_smoothing)
        return adversarial_terms(
            phase, nets, batch, real, F.softplus, lambda fake: F.softplus(-fake), mean=self.mean_of_best
        )


class Minimax:
    """D as `non_saturating`; G: log(1 - s(fake)), the game's own value (Goodfellow et al. 2014, equation 1).

    Args:
        d_steps: D steps for each G step, each on fresh data.
        label_smoothing: real labels become 1 - this, in [0, 0.5).
        fakes: what G's step learns from: `fresh` samples, or those of the D step before it, `shared`.
    """

    def __init__(self, *, d_steps: int = 1, label_smoothing: float = 0.0, fakes: Fakes = "fresh") -> None:
        self.phases = alternating_phases(d_steps, fakes)
        self.label_smoothing = _smoothing(label_smoothing)

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        real = _log_loss_of_real(self.label_smoothing)
        return adversarial_terms(phase, nets, batch, real, F.softplus, lambda fake: -F.softplus(fake))


class LeastSquares(BestSamples):
    """D: ((real - 1)^2 + fake^2) / 2; G: (fake - 1)^2 / 2 (Mao et al. 2017, arXiv 1611.04076, equation 9).

    Args:
        d_steps: D steps for each G step, each on fresh data.
        top_k: share of the generated samples that G learns from, those that D takes for the most real of the global
            batch, in (0, 1]; may fall over a run, as to 0.5 (Sinha et al. 2020, arXiv 2002.06224).
        fakes: what G's step learns from: `fresh` samples, or those of the D step before it, `shared`.
    """

    threshold: ClassVar[float | None] = 0.5

    def __init__(self, *, d_steps: int = 1, top_k: float = 1.0, fakes: Fakes = "fresh") -> None:
        super().__init__(top_k)
        self.phases = alternating_phases(d_steps, fakes)

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        return adversarial_terms(
            phase,
            nets,
            batch,
            lambda real: (real - 1).square() / 2,
            lambda fake: fake.square() / 2,
            lambda fake: (fake - 1).square() / 2,
            threshold=0.5,
            mean=self.mean_of_best,
        )


class Hinge(BestSamples):
    """D: max(0, 1 - real) + max(0, 1 + fake); G: -fake (Lim and Ye 2017, arXiv 1705.02894).

    Args:
        d_steps: D steps for each G step, each on fresh data.
        margin_noise: each 1 becomes a random number between 1 minus this and 1, for each logit anew; 0.2 in FastGAN's
            code (Liu et al. 2021, arXiv 2101.04775), in [0, 1].
        top_k: share of the generated samples that G learns from, those that D takes for the most real of the global
            batch, in (0, 1]; may fall over a run, as to 0.5 (Sinha et al. 2020, arXiv 2002.06224).
        fakes: what G's step learns from: `fresh` samples, or those of the D step before it, `shared`, as in
            the code of FastGAN.
    """

    def __init__(
        self, *, d_steps: int = 1, margin_noise: float = 0.0, top_k: float = 1.0, fakes: Fakes = "fresh"
    ) -> None:
        super().__init__(top_k)
        if not 0 <= margin_noise <= 1:
            raise ValueError(f"margin_noise must be in [0, 1], not {margin_noise}")
        self.phases = alternating_phases(d_steps, fakes)
        self.margin_noise = margin_noise

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        def margin(logits: Tensor, kind: str) -> Tensor | float:
            if not self.margin_noise:
                return 1.0
            return 1 - self.margin_noise * batch.rng(f"margin of {kind}").uniform(*logits.shape[1:])

        return adversarial_terms(
            phase,
            nets,
            batch,
            lambda real: F.relu(margin(real, "real") - real),
            lambda fake: F.relu(margin(fake, "fake") + fake),
            lambda fake: -fake,
            mean=self.mean_of_best,
        )


def alternating_phases(d_steps: int, fakes: Fakes = "fresh") -> tuple[Phase, ...]:
    """`d_steps` rows that train D, then one that trains G and needs no real data.

    Raises:
        ValueError: d_steps is below 1, or there are no such fakes.
    """
    if d_steps < 1:
        raise ValueError(f"d_steps must be at least 1, not {d_steps}")
    if fakes not in get_args(Fakes):
        raise ValueError(f"fakes must be fresh or shared, not {fakes!r}")
    g_row = Phase("G", ("generator",), real=False, shared=fakes == "shared")
    return (Phase("D", ("discriminator",)),) * d_steps + (g_row,)


def adversarial_terms(
    phase: str,
    nets: Nets,
    batch: Batch,
    d_real: Loss,
    d_fake: Loss,
    g_fake: Loss,
    threshold: float = 0.0,
    mean: Callable[[Tensor, Nets, Batch], Term] = lambda losses, nets, batch: mean_over(losses),
) -> dict[str, Term]:
    """The terms of a two-player loss from its three element-wise parts.

    `threshold` is the logit between real and fake, for D's accuracy (the mean over real and fake samples). `mean` is
    that of G's losses.
    """
    if phase == "G":
        return {"adversarial": mean(g_fake(batch.discriminate(nets, "fakes").logits), nets, batch)}
    real, fake = batch.discriminate(nets, "real").logits, batch.discriminate(nets, "fakes").logits
    right = (real > threshold).float() + (fake < threshold).float()
    return {
        "adversarial": mean_over(d_real(real) + d_fake(fake)),
        "real_logits": watch(real),
        "fake_logits": watch(fake),
        "accuracy": watch(right / 2),
    }


def _log_loss_of_real(smoothing: float) -> Loss:
    return lambda real: (1 - smoothing) * F.softplus(-real) + smoothing * F.softplus(real)


def _smoothing(value: float) -> float:
    if not 0 <= value < 0.5:
        raise ValueError(f"label_smoothing must be in [0, 0.5), not {value}")
    return value
