"""The encoder of a variational autoencoder (Kingma and Welling 2014, arXiv 1312.6114), for 8 to 256 pixels.

Its decoder is any generator whose noise is one row of normal numbers a sample, such as `dcgan` or `mlp`.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gan_dist.distributed.randomness import Rng
from gan_dist.networks.layers.checks import one_hot_classes, plan_doublings
from gan_dist.spec.image_size import Size

WIDEST = 8


class Encoder(nn.Module):
    """Images [B, C, H, W] to what is known of their noise: means and log-variances, [B, 2z].

    Args:
        size: N or (height, width) in pixels, 8 to 256, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        z: dimensions of the generator's noise.
        width: channels at half the size; they double with each halving, up to 8 times.
        norm: batch or none.
    """

    channels_last = True
    sizes: ClassVar[dict[str, int]] = {"least": 8, "most": 256, "base": 4}

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        classes: int = 0,
        z: int = 64,
        width: int = 32,
        norm: Literal["batch", "none"] = "batch",
    ) -> None:
        super().__init__()
        self.z, self.classes = z, classes
        plan = plan_doublings(size, self.sizes, "vae", "encodes")
        widths = [width * min(2**step, WIDEST) for step in range(plan.count)]
        parts: list[nn.Module] = []
        for before, after in pairwise([channels, *widths]):
            parts += [nn.Conv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after) if norm == "batch" else nn.Identity()]
            parts.append(nn.LeakyReLU(0.2))
        self.body = nn.Sequential(*parts)
        self.head = nn.Linear(widths[-1] * math.prod(plan.base) + classes, 2 * z)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        found = self.body(x).flatten(1)
        if self.classes:
            found = torch.cat([found, one_hot_classes(cond, self.classes, found)], 1)
        known: Tensor = self.head(found)
        return known


def reparametrize(known: Tensor, rng: Rng) -> Tensor:
    """Noise [B, z] of the normal distributions that `known` [B, 2z] describes (section 2.4, the reparameterisation)."""
    mean, log_variance = known.chunk(2, 1)
    return mean + (log_variance / 2).exp() * rng.normal(mean.shape[1]).to(mean.dtype)
