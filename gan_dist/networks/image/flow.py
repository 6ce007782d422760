"""A velocity field of images by a small U-Net (Ho, Jain and Abbeel 2020, arXiv 2006.11239), for 8 to 256 pixels.

It is no GAN's generator, though it is sampled like one: noise is carried to an image along the field, in some steps.
Wants the objective `flow_matching`, which trains `velocity`, and no discriminator.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.distributed.randomness import Rng
from gan_dist.networks.layers.checks import one_hot_classes, plan_doublings
from gan_dist.spec.image_size import Size, sides

WIDEST = 4
ATTENDED = 8  # pixels of a square, up to which places attend to each other
FREQUENCIES = 64


class Generator(nn.Module):
    """Noise [B, C * H * W] to images [B, C, H, W], not bounded, by `steps` midpoint steps of two passes each.

    Args:
        size: N or (height, width) in pixels, 8 to 256, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        width: channels at full size; they double with each halving, up to 4 times.
        blocks: residual blocks at each size, on the way down; one more on the way up.
        steps: from noise to image, two passes each; more are more exact.

    Raises:
        ValueError: there is no such size, or a number is not positive.
    """

    channels_last = True
    sizes: ClassVar[dict[str, int]] = {"least": 8, "most": 256, "base": 4}

    def __init__(
        self, *, size: Size, channels: int, classes: int = 0, width: int = 64, blocks: int = 1, steps: int = 16
    ) -> None:
        super().__init__()
        if min(width, blocks, steps) < 1:
            raise ValueError(f"flow needs positive numbers, not width={width}, blocks={blocks}, steps={steps}")
        plan = plan_doublings(size, self.sizes, "flow")
        widths = [width * min(2**step, WIDEST) for step in range(plan.count + 1)]
        attends = [plan.square >> step <= ATTENDED for step in range(plan.count + 1)]
        self.shape, self.classes, self.steps = (channels, *sides(size)), classes, steps
        given = 4 * width
        self.time = nn.Sequential(nn.Linear(2 * FREQUENCIES + classes, given), nn.SiLU(), nn.Linear(given, given))
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        kept = [width]
        for level, (before, after) in enumerate(pairwise([width, *widths])):
            if level:
                self.down.append(Halved(before))
                kept.append(before)
            for number in range(blocks):
                self.down.append(Block(before if number == 0 else after, after, given, attends[level]))
                kept.append(after)
        self.middle = Block(widths[-1], widths[-1], given, attends[-1])
        inner = widths[-1]
        for level in range(plan.count, -1, -1):
            for _ in range(blocks + 1):
                self.up.append(Block(inner + kept.pop(), widths[level], given, attends[level]))
                inner = widths[level]
            if level:
                self.up.append(Doubled(inner))
        self.norm = _norm(width)
        self.last = _zeros(nn.Conv2d(width, channels, 3, padding=1))

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Standard normal noise [n, C * H * W]."""
        return rng.normal(math.prod(self.shape))

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        x = noise.view(-1, *self.shape)
        length = 1 / self.steps
        # On the meta device, where a step costs a hundred times as much, one shows the shape.
        for step in range(1 if noise.is_meta else self.steps):
            time = torch.full((len(x),), step * length, dtype=x.dtype, device=x.device)
            middle = x + length / 2 * self.velocity(x, time, cond).to(x.dtype)
            x = x + length * self.velocity(middle, time + length / 2, cond).to(x.dtype)
        return x

    def velocity(self, x: Tensor, time: Tensor, cond: Tensor | None = None) -> Tensor:
        """How x [B, C, H, W] moves at a time [B] in [0, 1], 0 that of noise and 1 that of images."""
        given = self._given(time, cond)
        x = self.first(x)
        kept = [x]
        for part in self.down:
            x = part(x, given) if isinstance(part, Block) else part(x)
            kept.append(x)
        x = self.middle(x, given)
        for part in self.up:
            x = part(torch.cat([x, kept.pop()], 1), given) if isinstance(part, Block) else part(x)
        made: Tensor = self.last(F.silu(self.norm(x)))
        return made

    def _given(self, time: Tensor, cond: Tensor | None) -> Tensor:
        """What all blocks are told: the time by waves of many lengths, and the class."""
        lengths = torch.arange(FREQUENCIES, device=time.device, dtype=time.dtype) / FREQUENCIES
        angles = time[:, None] * 1000 * torch.exp(-math.log(10_000) * lengths)
        told = [angles.cos(), angles.sin()]
        told += [one_hot_classes(cond, self.classes, time)] if self.classes else []
        found: Tensor = self.time(torch.cat(told, 1))
        return found


class Block(nn.Module):
    """Two 3x3 convolutions, scaled and shifted by what is given between them, beside x; then, if asked for, attention.

    Args:
        before, after: channels.
        given: dimensions of what is given, [B, given].
        attends: whether places attend to each other.
    """

    def __init__(self, before: int, after: int, given: int, attends: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList([_norm(before), _norm(after)])
        self.convs = nn.ModuleList(
            [nn.Conv2d(before, after, 3, padding=1), _zeros(nn.Conv2d(after, after, 3, padding=1))]
        )
        self.told = nn.Linear(given, 2 * after)
        self.aside = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        self.attention = Attention(after) if attends else nn.Identity()

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        scale, shift = self.told(F.silu(given))[:, :, None, None].chunk(2, 1)
        inner = self.norms[1](self.convs[0](F.silu(self.norms[0](x))))
        inner = self.convs[1](F.silu(inner * (1 + scale) + shift))
        made: Tensor = self.attention(self.aside(x) + inner)
        return made


class Attention(nn.Module):
    """Self-attention of one head over the places of a map, [B, C, H, W] to the same, beside x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.asked = nn.Conv2d(width, 3 * width, 1)
        self.last = _zeros(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.asked(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, 2)
        found = F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        made: Tensor = x + self.last(found.reshape(x.shape))
        return made


class Halved(nn.Module):
    """[B, C, H, W] to [B, C, H/2, W/2] by a 3x3 convolution of every second place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.conv(x)
        return made


class Doubled(nn.Module):
    """[B, C, H, W] to [B, C, 2H, 2W], each place four times, by a 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return made


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(width, 8), width)


def _zeros(conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution that begins at 0, so that what it is added to passes unchanged at first."""
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv
