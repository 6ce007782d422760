"""R3GAN2 (Huang et al. 2026, Magnitude-preserving Discriminators Enable Efficient GANs), for 8 to 256 pixels.

R3GAN's blocks with weights of fixed magnitude: rows are normalised in every pass and after every step, each block is
weighted by a learned `alpha` in (-1, 1) for every channel, which begins at 0, and what a block gets is divided by the
deviation that the blocks before gave it. So a learning rate of 1e-2 works, which falls as 1/sqrt(samples). Wants
`relativistic` with `r1` and `r2`, betas [0, 0.99].

Under bfloat16 autocast the heads stay in full precision, as the authors' code has them.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.distributed.randomness import Rng
from gan_dist.networks.layers.checks import Doublings, full_precision, plan_doublings
from gan_dist.networks.layers.magnitude import (
    BiasedWeight,
    ClassVectors,
    GroupedWeight,
    LogitScale,
    NormalizedWeight,
    activate,
)
from gan_dist.networks.layers.resample import Downsample, Upsample, smooth
from gan_dist.spec.image_size import Size

EXPANSION = 2


class Generator(nn.Module):
    """Noise to images [B, C, H, W], not bounded. The noise is z, and one number for each pixel of each block.

    Args:
        size: N or (height, width) in pixels, 8 to 256, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        z: dimensions of the normal noise, and of a class's vector.
        width: channels up to `wide` pixels; 512 for CIFAR-10 and FFHQ, 1024 for ImageNet.
        wide: largest stage in pixels that has all channels; each doubling beyond has half of those before.
        group: channels in a group of the 3x3 convolutions.
        blocks: residual blocks in each stage.

    Raises:
        ValueError: there is no such size, or a stage cannot be cut into groups.
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
        width: int = 512,
        wide: int = 64,
        group: int = 32,
        blocks: int = 4,
    ) -> None:
        super().__init__()
        plan = plan_doublings(size, self.sizes, "r3gan2")
        self.widths = widths = _widths(plan, width, wide, group, blocks)
        inner = EXPANSION * widths[0]
        self.z = z
        self.embed = ClassVectors(classes, z) if classes else None
        self.head = BiasedWeight(2 * z if classes else z, inner)
        self.basis = GroupedWeight(inner, group, plan.base)
        self.narrow = NormalizedWeight(widths[0], inner)
        self.upsample = Upsample()
        self.stages = nn.ModuleList([Stage(one, group, blocks, noisy=True) for one in widths])
        self.picture = NormalizedWeight(channels, widths[-1], centered=False)
        self.brightness = nn.Parameter(torch.ones(()))
        self.maps = [plan.at(8 << number) for number in range(len(widths)) for _ in range(blocks)]

    def latent_weights(self) -> list[Tensor]:
        """By what the first layer takes z, [features, z]."""
        return [self.head()[:, 1 : 1 + self.z]]

    def draw(self, n: int, rng: Rng) -> dict[str, Any]:
        """Standard normal z [n, z], and a map [n, 1, h, w] for each block."""
        z = rng.normal(self.z)
        areas = [height * width for height, width in self.maps]
        flat = torch.split(rng.normal(sum(areas)), areas, 1)
        return {"z": z, "pixels": [one.view(n, 1, *shape) for one, shape in zip(flat, self.maps, strict=True)]}

    def forward(self, noise: dict[str, Any], cond: Tensor | None = None) -> Tensor:
        z: Tensor = noise["z"]
        with full_precision(z):
            if self.embed is not None:
                z = torch.cat([z, self.embed.of(cond, z)], 1)
            x = activate(self.basis.spread(activate(self.head.linear(z))))
            x = F.conv2d(x, self.narrow()[:, :, None, None])
        blocks = len(self.maps) // len(self.stages)
        for number, stage in enumerate(self.stages):
            x = self.upsample(x) if number == 0 else self._doubled(x, number)
            x = stage(x, noise["pixels"][number * blocks : (number + 1) * blocks])
        made: Tensor = F.conv2d(x, self.brightness * self.picture()[:, :, None, None])
        return made

    def _doubled(self, x: Tensor, number: int) -> Tensor:
        """What stage `number` gets of the one before: fewer channels are made by places that take turns."""
        before, after = self.widths[number - 1], self.widths[number]
        if before == after:
            doubled: Tensor = self.upsample(x)
            return doubled
        return smooth(F.pixel_shuffle(x.repeat_interleave(4 * after // before, 1), 2))


class Discriminator(nn.Module):
    """Images [B, C, H, W] to logits [B]. With classes the logit is a product with the class's vector alone.

    Args:
        size: N or (height, width) in pixels, 8 to 256, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        width: channels up to `wide` pixels; 512 for CIFAR-10 and FFHQ, 1024 for ImageNet.
        wide: largest stage in pixels that has all channels; each doubling beyond has half of those before.
        group: channels in a group of the 3x3 convolutions.
        blocks: residual blocks in each stage.

    Raises:
        ValueError: there is no such size, or a stage cannot be cut into groups.
    """

    channels_last = True
    sizes: ClassVar[dict[str, int]] = {"least": 8, "most": 256, "base": 4}

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        classes: int = 0,
        width: int = 512,
        wide: int = 64,
        group: int = 32,
        blocks: int = 4,
    ) -> None:
        super().__init__()
        plan = plan_doublings(size, self.sizes, "r3gan2", "judges")
        self.widths = widths = _widths(plan, width, wide, group, blocks)
        top, inner = widths[0], EXPANSION * widths[0]
        self.picture = NormalizedWeight(widths[-1], channels, centered=False)
        # As in G the first is that of 8 pixels; the image passes them in reverse.
        self.stages = nn.ModuleList([Stage(one, group, blocks, noisy=False) for one in widths])
        self.downsample = Downsample()
        self.widen = BiasedWeight(top, inner)
        self.pool = GroupedWeight(inner, group, plan.base)
        self.head = NormalizedWeight(top if classes else 1, inner)
        self.embed = ClassVectors(classes, top) if classes else None
        self.scale = LogitScale()

    def image_blocks(self) -> list[list[nn.Module]]:
        """The stages, the one of the image with its first convolution."""
        blocks: list[list[nn.Module]] = [[stage] for stage in reversed(self.stages)]
        return [[self.picture, *blocks[0]], *blocks[1:]]

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x = F.conv2d(x, self.picture()[:, :, None, None])
        for number in range(len(self.stages) - 1, -1, -1):
            x = self._halved(self.stages[number](x), number)
        with full_precision(x):
            x = activate(self.widen.convolve(x.to(self.widen.weight.dtype)))
            return activate(self.pool.convolve(x, padding=0)).flatten(1)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        features = self.features(x, cond)
        with full_precision(x):
            found = F.linear(features, self.head())
            if self.embed is not None:
                found = (found * self.embed.of(cond, found)).sum(1, keepdim=True) / math.sqrt(found.shape[1])
            logits: Tensor = self.scale(found.squeeze(1))
            return logits

    def _halved(self, x: Tensor, number: int) -> Tensor:
        """What comes after stage `number`: more channels are made of the places of a 2x2 square."""
        before, after = self.widths[number], self.widths[max(0, number - 1)]
        if before == after:
            halved: Tensor = self.downsample(x)
            return halved
        apart = F.pixel_unshuffle(smooth(x), 2)
        return apart.view(len(x), after, -1, *apart.shape[2:]).mean(2)


class Stage(nn.Module):
    """Blocks at one size, [B, width, H, W] to the same, of the same variance where the input is white noise of 1.

    Args:
        width: channels.
        group: channels in a group of the 3x3 convolutions.
        blocks: how many.
        noisy: whether each block adds noise.
    """

    def __init__(self, width: int, group: int, blocks: int, noisy: bool) -> None:
        super().__init__()
        self.width = width
        self.blocks = nn.ModuleList([Block(width, group, noisy) for _ in range(blocks)])

    def forward(self, x: Tensor, noise: list[Tensor] | None = None) -> Tensor:
        variance = x.new_ones(self.width)
        for number, block in enumerate(self.blocks):
            x, variance = block(x, variance, None if noise is None else noise[number])
        return x * variance.rsqrt().to(x.dtype)[:, None, None]


class Block(nn.Module):
    """x + alpha W3 a(W2 a(W1 (x / s))), W2 a grouped 3x3 convolution between 1x1 ones, twice as wide inside.

    Args:
        width: channels in and out.
        group: channels in a group of W2.
        noisy: whether W1 adds noise.
    """

    def __init__(self, width: int, group: int, noisy: bool) -> None:
        super().__init__()
        inner = EXPANSION * width
        self.widen = BiasedWeight(width, inner, noisy)
        self.mix = GroupedWeight(inner, group, (3, 3))
        self.narrow = NormalizedWeight(width, inner)
        self.strength = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, variance: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The block of x, whose channels have a `variance` [width], and the variance of what comes out."""
        alpha = torch.tanh(self.strength)
        inner = activate(self.widen.convolve(x, variance.rsqrt(), noise))
        inner = activate(self.mix.convolve(inner, padding=1))
        rows = alpha[:, None] * self.narrow()
        return x + F.conv2d(inner, rows[:, :, None, None]), variance + alpha.square()


def _widths(plan: Doublings, width: int, wide: int, group: int, blocks: int) -> list[int]:
    """Channels at 8, 16, ... pixels.

    Raises:
        ValueError: some stage cannot be cut into groups; the text names a width that can.
    """
    if min(width, wide, group, blocks) < 1:
        raise ValueError(
            f"r3gan2 needs positive numbers, not width={width}, wide={wide}, group={group}, blocks={blocks}"
        )
    parts = [max(1, (8 << stage) // wide) for stage in range(plan.count)]
    step = max(group // math.gcd(group, EXPANSION), 1) * parts[-1]
    if width % step:
        near = max(step, round(width / step) * step)
        raise ValueError(
            f"r3gan2 at {plan.square} pixels with group={group} and wide={wide} needs a width that {step} divides, "
            f"not {width}; {near} is nearest"
        )
    widths = [width // part for part in parts]
    assert all(before in (after, 2 * after) for before, after in pairwise(widths))
    return widths
