"""Perceptual path length: how much a picture changes in a small step between two latents (Karras et al. 2019, arXiv
1812.04948, section 4.1)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.distributed.randomness import Rng
from gan_dist.errors import UsageError

LARGEST = 256  # pixels; larger pictures are averaged over boxes first
LOWEST, HIGHEST = 1, 99  # percentiles beyond which lengths are left out


class PerceptualPathLength:
    """Mean over pairs of |f(G(t)) - f(G(t + epsilon))|^2 / epsilon^2, f the features of a picture and G(t) the picture
    at the share t of the way between two latents; without the shortest and the longest hundredth, as the authors' code
    has it. Smaller is smoother.

    Both ends have the same class, and the same noise of pixels. By features `lpips` with VGG16 in w at the ends it is
    what StyleGAN2 is published by.

    Args:
        space: w goes straight from style to style, z on the sphere from noise to noise.
        at: end takes t = 0, full a share by chance.
        epsilon: the step, a share of the way.

    Raises:
        ValueError: epsilon is out of range.
    """

    values = ("ppl",)
    needs = "latents"
    costly = True
    in_label: ClassVar[tuple[str, ...]] = ("space", "at")

    def __init__(
        self, *, space: Literal["w", "z"] = "w", at: Literal["end", "full"] = "end", epsilon: float = 1e-4
    ) -> None:
        if not 0 < epsilon <= 1:
            raise ValueError(f"epsilon: {epsilon} is out of range; must be above 0 and at most 1")
        self.space, self.at, self.epsilon = space, at, epsilon

    def lengths(self, generator: Any, extractor: nn.Module, rng: Rng, cond: Tensor | None) -> Tensor:
        """Of each of `rng.n` pairs, [n] in float64.

        Raises:
            UsageError: the generator has no styles, its noise has no part z, or the features want whole numbers.
        """
        if self.space == "w" and not (hasattr(generator, "styles") and hasattr(generator, "synthesis")):
            raise UsageError("metrics: 'ppl' in w needs a generator with styles, such as stylegan2; take space: z")
        noise, other = generator.draw(rng.n, rng), generator.draw(rng.n, rng)  # numbers that follow each other
        share = rng.uniform(1)[:, 0] if self.at == "full" else torch.zeros(rng.n, device=rng.device, dtype=rng.dtype)
        ends = [
            self._picture(generator, noise, other, share + step, cond).mul(127.5).add(127.5)
            for step in (0.0, self.epsilon)
        ]
        try:
            first, second = (extractor(_box_mean(one)).double().flatten(1) for one in ends)
        except AssertionError as error:
            raise UsageError(
                "metrics: 'ppl' looks at differences below a grey value, and these features see whole ones; take "
                "lpips, random, resnet50, dinov2 or efficientnet_lite0"
            ) from error
        return torch.as_tensor((first - second).square().sum(1) / self.epsilon**2)

    def _picture(self, generator: Any, noise: Any, other: Any, share: Tensor, cond: Tensor | None) -> Tensor:
        if self.space == "w":
            one, two = generator.styles(noise, cond), generator.styles(with_z(noise, _z_of(other)), cond)
            return torch.as_tensor(generator.synthesis(torch.lerp(one, two, share[:, None, None]), noise))
        between = slerp(_z_of(noise), _z_of(other), share)
        return torch.as_tensor(generator(with_z(noise, between), cond))

    def compare(self, real: None, lengths: Tensor) -> dict[str, float]:
        """The mean of lengths [N, 1] between two of them, the percentiles."""
        found = lengths[:, 0].double().cpu().numpy()
        low = np.percentile(found, LOWEST, method="lower")
        high = np.percentile(found, HIGHEST, method="higher")
        return {"ppl": float(found[(found >= low) & (found <= high)].mean())}


def slerp(one: Tensor, two: Tensor, share: Tensor) -> Tensor:
    """Rows of [n, d] at a share [n] of the way on the arc between two directions; lengths go evenly."""
    length, longer = one.norm(dim=1, keepdim=True), two.norm(dim=1, keepdim=True)
    first, second = one / length, two / longer
    angle = (first * second).sum(1, keepdim=True).clamp(-1, 1).acos() * share[:, None]
    across = F.normalize(second - (first * second).sum(1, keepdim=True) * first, dim=1)
    made: Tensor = (first * angle.cos() + across * angle.sin()) * length.lerp(longer, share[:, None])
    return made


def with_z(noise: Any, z: Tensor) -> Any:
    """A generator's noise with another z."""
    return {**noise, "z": z} if isinstance(noise, dict) else z


def _z_of(noise: Any) -> Tensor:
    """The part of a generator's noise that makes a picture what it is."""
    found = noise.get("z") if isinstance(noise, dict) else noise
    if isinstance(found, Tensor):
        return found
    raise UsageError("metrics: 'ppl' needs noise that is a tensor [n, z], or a dict with one as z")


def _box_mean(pixels: Tensor) -> Tensor:
    """[B, C, H, W] with the shorter side at most 256 pixels, where that is a whole part of it."""
    times = min(pixels.shape[2:]) // LARGEST
    return F.avg_pool2d(pixels, times) if times > 1 else pixels
