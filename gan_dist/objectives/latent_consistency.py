"""Losses about what G makes of two noises: it shall use them, and D shall not be led by them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over
from gan_dist.distributed.randomness import Rng

FLOOR = 1e-5


class Zcr:
    """Latent consistency: D + fake * E (D(G(z)) - D(G(z + e)))^2; G - spread * E (G(z) - G(z + e))^2, over pixels.

    e is normal with a deviation of `radius` (Zhao et al. 2020, arXiv 2002.04724, section 3.2). D judges neighbours
    alike, and G makes them differ. It goes beside an adversarial objective; with the penalty `bcr` it is the paper's
    ICR. D is taken without the job's augmentation.

    Args:
        fake: strength in D's phase, >= 0.
        spread: strength in G's phase, >= 0.
        radius: deviation of e, above 0.

    Raises:
        ValueError: a number is out of its range.
    """

    phases = (Phase("D", ("discriminator",)), Phase("G", ("generator",), real=False))

    def __init__(self, *, fake: float = 20.0, spread: float = 0.5, radius: float = 0.05) -> None:
        if fake < 0 or spread < 0 or radius <= 0:
            raise ValueError(f"fake and spread must be at least 0 and radius above, not {fake}, {spread} and {radius}")
        self.fake, self.spread, self.radius = fake, spread, radius

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        near = moved_noise(batch.noise, batch.rng("zcr"), self.radius)
        if phase == "G":
            apart = (batch.fakes - nets.G(near, batch.cond)).square()
            return {"spread": Term(-self.spread * apart.sum(), float(apart.numel()))}
        with torch.no_grad():
            fakes = nets.G(near, batch.cond)
        plain = nets.D.raw
        judged: Tensor = batch.discriminate(nets, "fakes").logits if plain is nets.D else plain(batch.fakes, batch.cond)
        return {"zcr": mean_over(self.fake * (judged - plain(fakes, batch.cond)).square())}


class ModeSeeking:
    """G: E 1 / (mean |G(z) - G(z')| / mean |z - z'| + 1e-5), z' another noise for the same class or picture.

    For a G that ignores its noise, as conditional ones do (Mao et al. 2019, arXiv 1903.05628, equation 3). The ratio is
    that of each sample, so that it depends on no others; the authors' code has the ratio of means over half a batch. It
    goes beside an adversarial objective, and doubles the passes of G in its phase.
    """

    needs_discriminator = False
    phases = (Phase("G", ("generator",), real=False),)

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        generator: Any = nets.G.module
        other = generator.draw(batch.n, batch.rng("mode seeking"))
        made = _distance(batch.fakes, nets.G(other, batch.cond))
        between = [_distance(one, two) for one, two in zip(vectors(batch.noise), vectors(other), strict=True)]
        noise = torch.stack(between).mean(0)
        return {"mode_seeking": mean_over(1 / (made / noise + FLOOR))}


def moved_noise(noise: Any, rng: Rng, radius: float) -> Any:
    """A generator's noise whose vectors, not its maps, have normal noise of deviation `radius` added."""
    if isinstance(noise, dict):
        return {name: moved_noise(leaf, rng, radius) for name, leaf in noise.items()}
    if not _is_vector(noise):
        return noise
    moved: Tensor = noise + radius * rng.normal(noise.shape[1]).to(noise.dtype)
    return moved


def vectors(noise: Any) -> list[Tensor]:
    """The vectors [B, d] of a generator's noise."""
    if isinstance(noise, dict):
        return [vector for leaf in noise.values() for vector in vectors(leaf)]
    return [noise] if _is_vector(noise) else []


def _is_vector(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim == 2 and leaf.is_floating_point()


def _distance(one: Tensor, two: Tensor) -> Tensor:
    return (one - two).abs().flatten(1).mean(1)
