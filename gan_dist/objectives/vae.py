"""Variational autoencoders: what a GAN's samples are compared with where it must be something that trains easily."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over, watch
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.networks.image.vae import reparametrize


class Vae:
    """The negative evidence lower bound in nats an image: -E log p(x | z) + beta KL(q(z | x) | N(0, 1)).

    p(x | z) is normal about what G makes of z, with a standard deviation of `sigma` for every pixel in [-1, 1]; q is
    what the network `encoder` says of x (Kingma and Welling 2014, arXiv 1312.6114, equations 3 and 10; beta of Higgins
    et al. 2017). The job needs `networks: {encoder: {use: vae}}` and no discriminator.

    Args:
        sigma: standard deviation of the pixels, above 0; smaller values give sharper reconstructions but worse samples.
        beta: weight of the divergence.
    """

    needs_discriminator = False
    phases = (Phase("VAE", ("generator", "encoder")),)

    def __init__(self, sigma: float = 0.1, beta: float = 1.0) -> None:
        if sigma <= 0 or beta < 0:
            raise ValueError(f"sigma must be above 0 and beta not below, not {sigma} and {beta}")
        self.sigma, self.beta = sigma, beta

    def problems(self, networks: Mapping[str, nn.Module]) -> Iterator[str]:
        """What keeps it from training these networks."""
        generator: Any = networks["generator"]
        noise = generator.draw(1, single_lane_rng(("vae",), 1, torch.device("cpu")))
        if not isinstance(noise, Tensor) or noise.ndim != 2:
            yield "the generator's noise is not one row of numbers a sample, as that of dcgan and mlp is"
            return
        here, there = noise.shape[1], getattr(networks.get("encoder"), "z", noise.shape[1])
        if here != there:
            yield f"the generator's noise has {here} dimensions, the encoder's {there}; set both z alike"

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        assert batch.real is not None
        known = nets["encoder"](batch.real, batch.cond)
        made: Any = nets.G(reparametrize(known, batch.rng("latent")), batch.cond)
        squares = (made - batch.real).square().flatten(1)
        divergence = gaussian_kl(known)
        # The constant of the normal distribution moves no weight, and makes the number the one that others report.
        constant = squares.shape[1] * math.log(self.sigma * math.sqrt(2 * math.pi))
        unlikelihood = squares.sum(1) / (2 * self.sigma**2) + constant
        return {
            "reconstruction": mean_over(unlikelihood),
            "divergence": mean_over(self.beta * divergence),
            "elbo": watch(-unlikelihood - divergence),
            "squared_error": watch(squares.mean(1)),
        }


def gaussian_kl(known: Tensor) -> Tensor:
    """KL(N(mean, variance) | N(0, 1)) of means and log-variances [B, 2z], summed over dimensions, [B] (appendix B)."""
    mean, log_variance = known.chunk(2, 1)
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
