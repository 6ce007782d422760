"""SAGAN (Zhang et al. 2019, arXiv 1805.08318): residual networks with self-attention, for 16 to 128 pixels.

Both networks have spectral normalisation, G batch normalisation by class beside it; classes enter D by projection.
Wants `hinge` and a larger learning rate for D: the paper has 1e-4 for G and 4e-4 for D, with betas [0, 0.9]. The
attention is that of the authors' code: its values have half of the channels, its keys and values are the largest of
2x2 places; the paper's text has an eighth, and all places.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.distributed.randomness import Rng
from gan_dist.networks.image.sngan import ClassBatchNorm
from gan_dist.networks.layers.checks import class_logits, one_hot_classes, plan_doublings
from gan_dist.networks.layers.spectral_norm import SpectralConv, SpectralLinear
from gan_dist.spec.image_size import Size

WIDEST = 16
LARGEST_ATTENDED = 32


class Generator(nn.Module):
    """Noise [B, z] to images [B, C, H, W] in (-1, 1).

    Args:
        size: N or (height, width) in pixels, 16 to 128, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        z: dimensions of the normal noise.
        width: channels at full size; they double with each halving, up to 16 times.

    Raises:
        ValueError: there is no such size, or the width is below 1.
    """

    channels_last = True
    sizes: ClassVar[dict[str, int]] = {"least": 16, "most": 128, "base": 4}
    batch_norm: ClassVar[bool] = True

    def __init__(self, *, size: Size, channels: int, classes: int = 0, z: int = 128, width: int = 64) -> None:
        super().__init__()
        plan = plan_doublings(size, self.sizes, "sagan")
        widths = _widths(plan.count, width)[::-1]
        self.z, self.classes, self.base = z, classes, plan.base
        self.first = SpectralLinear(z, widths[0] * math.prod(plan.base))
        self.blocks = nn.ModuleList([UpBlock(before, after, classes) for before, after in pairwise(widths)])
        self.attended = plan.at(_attended(plan.square))
        self.attention = SelfAttention(widths[_attended(plan.square).bit_length() - 3], values=2, pooled=True)
        self.norm = nn.BatchNorm2d(widths[-1])
        self.last = SpectralConv(widths[-1], channels, 3, gain=1.0)

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Standard normal noise [n, z]."""
        return rng.normal(self.z)

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        classes = one_hot_classes(cond, self.classes, noise) if self.classes else None
        x: Tensor = self.first(noise).view(len(noise), -1, *self.base)
        for block in self.blocks:
            x = block(x, classes)
            if x.shape[2:] == self.attended:
                x = self.attention(x)
        return torch.tanh(self.last(F.relu(self.norm(x))))


class Discriminator(nn.Module):
    """Images [B, C, H, W] to logits [B].

    Args:
        size: N or (height, width) in pixels, 16 to 128, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        width: channels at half the size; they double with each halving, up to 16 times.

    Raises:
        ValueError: there is no such size, or the width is below 1.
    """

    channels_last = True
    sizes: ClassVar[dict[str, int]] = {"least": 16, "most": 128, "base": 4}

    def __init__(self, *, size: Size, channels: int, classes: int = 0, width: int = 64) -> None:
        super().__init__()
        plan = plan_doublings(size, self.sizes, "sagan", "judges")
        widths = _widths(plan.count, width)[:-1]
        self.blocks = nn.ModuleList([DownBlock(channels, widths[0], active=False)])
        self.blocks.extend(DownBlock(before, after) for before, after in pairwise(widths))
        self.blocks.append(DownBlock(widths[-1], widths[-1], halved=False))
        self.attended = plan.at(_attended(plan.square))
        width_attended = widths[(plan.square // _attended(plan.square)).bit_length() - 2]
        self.attention = SelfAttention(width_attended, values=2, pooled=True)
        self.head = SpectralLinear(widths[-1], 1)
        self.embed = SpectralLinear(classes, widths[-1], bias=False) if classes else None
        self.classes = classes

    def image_blocks(self) -> list[list[nn.Module]]:
        """The residual blocks."""
        return [[block] for block in self.blocks]

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x)
            if x.shape[2:] == self.attended:
                x = self.attention(x)
        return F.relu(x).sum((2, 3))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return class_logits(self.features(x, cond), cond, self.head, self.embed)


class UpBlock(nn.Module):
    """[B, before, H, W] to [B, after, 2H, 2W]: norm, ReLU, double, 3x3, norm, ReLU, 3x3; beside it double, 1x1."""

    def __init__(self, before: int, after: int, classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([ClassBatchNorm(before, classes), ClassBatchNorm(after, classes)])
        self.convs = nn.ModuleList([SpectralConv(before, after, 3), SpectralConv(after, after, 3)])
        self.aside = SpectralConv(before, after, 1, gain=1.0)

    def forward(self, x: Tensor, classes: Tensor | None) -> Tensor:
        inner = F.interpolate(F.relu(self.norms[0](x, classes)), scale_factor=2, mode="nearest")
        inner = F.relu(self.norms[1](self.convs[0](inner), classes))
        aside = F.interpolate(self.aside(x), scale_factor=2, mode="nearest")
        return self.convs[1](inner) + aside  # type: ignore[no-any-return]


class DownBlock(nn.Module):
    """[B, before, H, W] to [B, after, H/2, W/2], or the same size if not `halved`: ReLU (if `active`), 3x3, ReLU, 3x3,
    mean of each 2x2; beside it 1x1 and the same mean."""

    def __init__(self, before: int, after: int, active: bool = True, halved: bool = True) -> None:
        super().__init__()
        self.active, self.halved = active, halved
        self.body = nn.Sequential(SpectralConv(before, after, 3), nn.ReLU(), SpectralConv(after, after, 3))
        self.aside = SpectralConv(before, after, 1, gain=1.0) if before != after or halved else None

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.body(F.relu(x) if self.active else x)
        if self.halved:
            # The mean may be taken before a 1x1 convolution, which then has a quarter of the work.
            made, x = F.avg_pool2d(made, 2), F.avg_pool2d(x, 2)
        return made + (self.aside(x) if self.aside is not None else x)


def _widths(halvings: int, width: int) -> list[int]:
    """Channels at full size and after each halving."""
    if width < 1:
        raise ValueError(f"sagan needs width >= 1, not {width}")
    return [width * min(WIDEST, 2**step) for step in range(halvings + 1)]


def _attended(square: int) -> int:
    """The map of a square image that attends to itself: that of 32 pixels, which the paper found best, or half of a
    smaller image."""
    return min(LARGEST_ATTENDED, square // 2)


NARROWER = 8


class SelfAttention(nn.Module):
    """Self-attention over the places of a map (Zhang et al. 2019, arXiv 1805.08318, section 3).

    x + gamma v(sum_i b_ji h(x_i)), b_ji a softmax over i of f(x_i).g(x_j); gamma begins at 0 (equations 1 to 3).

    Maps [B, C, H, W] stay of that shape. All four have spectral normalisation.

    Args:
        width: channels; f and g have an eighth of them.
        values: what part of them h has: an eighth in the paper's text, half in its code and in BigGAN.
        pooled: whether only the largest key and value of each 2x2 places are looked at, as in that code and in BigGAN.
    """

    def __init__(self, width: int, values: int = NARROWER, pooled: bool = False) -> None:
        super().__init__()
        inner, outer = max(1, width // NARROWER), max(1, width // values)
        self.pooled = pooled
        self.f, self.g, self.h = (
            SpectralConv(width, narrow, 1, gain=1.0, bias=False) for narrow in (inner, inner, outer)
        )
        self.v = SpectralConv(outer, width, 1, gain=1.0, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        found = self.f(x), self.h(x)
        keys, values = (F.max_pool2d(one, 2).flatten(2) if self.pooled else one.flatten(2) for one in found)
        queries = self.g(x).flatten(2)
        shares = torch.softmax(queries.mT @ keys, 2)
        mixed = (values @ shares.mT).view(len(x), -1, *x.shape[2:])
        return x + self.gamma * self.v(mixed)  # type: ignore[no-any-return]
