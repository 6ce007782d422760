"""Training an autoencoder whose map can stand for pictures: reconstruction, features, an opponent and a divergence."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over, watch
from gan_dist.networks.image.autoencoder import drawn_latent
from gan_dist.networks.layers.pretrained_backbone import Backbone
from gan_dist.objectives.reconstruction import Distance


class Autoencoding:
    """The first stage of latent diffusion (Rombach et al. 2022, arXiv 2112.10752, section 3.1 and appendix G).

    G: |G(x) - x| + perceptual d(G(x), x) - adversarial D(G(x)) + kl KL(q(z | x) | N(0, 1)), means over pixels, patches
    and numbers of the map. D: max(0, 1 - D(x)) + max(0, 1 + D(G(x))). For `generator: {use: autoencoder}` and pairs of
    which the input is the picture itself (`inputs: same`); d is as in `perceptual`.

    Args:
        kl: weight of the divergence, small: the map is to hold the picture, and only not to drift.
        adversarial: weight of D's opinion; a schedule lets it begin later.
        perceptual: weight of the distance in features; 0 for none, which needs no pretrained network.
        backbone: the pretrained network of that distance; efficientnet_lite0 comes with `gan-dist[pretrained]`.
        weights: the file of its weights; null looks where torch keeps downloads, "random" is for trying out.

    Raises:
        ValueError: a weight is below 0, or the backbone's weights are not there.
    """

    threshold: ClassVar[float | None] = 0.0
    modality: ClassVar = "pair"
    phases = (Phase("D", ("discriminator",)), Phase("G", ("generator",)))
    needs_methods: ClassVar = {"generator": ("encode", "decode")}
    tried_on: ClassVar = {
        "generator": {"use": "autoencoder", "width": 8},
        "discriminator": {"use": "cyclegan", "width": 4},
    }
    without_backbone: ClassVar = {"perceptual": 0.0}

    def __init__(
        self,
        *,
        kl: float = 1e-6,
        adversarial: float = 0.1,
        perceptual: float = 0.0,
        backbone: Backbone = "efficientnet_lite0",
        weights: str | None = None,
    ) -> None:
        for name, value in (("kl", kl), ("perceptual", perceptual)):
            if value < 0:
                raise ValueError(f"{name} must be at least 0, not {value}")
        self.kl, self.adversarial, self.perceptual = kl, adversarial, perceptual
        self.distance = Distance(backbone, weights) if perceptual else None

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        assert batch.cond is not None and batch.real is not None
        if phase == "D":
            real, fake = batch.discriminate(nets, "real").logits, batch.discriminate(nets, "fakes").logits
            right = (real > 0).float() + (fake < 0).float()
            return {
                "adversarial": mean_over(F.relu(1 - real) + F.relu(1 + fake)),
                "real_logits": watch(real),
                "fake_logits": watch(fake),
                "accuracy": watch(right / 2),
            }
        known: Tensor = nets.G.call("encode", batch.cond)
        made: Tensor = nets.G.call("decode", drawn_latent(known, batch.noise))
        terms = {
            "reconstruction": mean_over((made - batch.real).abs()),
            "divergence": mean_over(self.kl * divergence(known)),
            "adversarial": mean_over(-self.adversarial * nets.D(made, batch.cond)),
        }
        if self.distance is not None:
            terms["perceptual"] = mean_over(self.perceptual * self.distance(made, batch.real))
        return terms


def divergence(known: Tensor) -> Tensor:
    """KL(N(mean, variance) | N(0, 1)) of each number of maps [B, 2c, h, w], [B, c, h, w]."""
    mean, log_variance = known.chunk(2, 1)
    return (mean.square() + log_variance.exp() - 1 - log_variance) / 2
