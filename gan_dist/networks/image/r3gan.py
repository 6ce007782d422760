"""R3GAN (Huang, Gokaslan, Kuleshov and Tompkin 2024, arXiv 2501.05441), for 8 to 256 pixels.

Residual blocks of a grouped 3x3 convolution between two 1x1 ones, twice as wide inside, with LeakyReLU(0.2) and no
normalisation of any kind. A block ends in zeros, so that both networks begin linear. Wants the objective
`relativistic` with `r1` and `r2`.

Under bfloat16 autocast the 4x4 stage stays in full precision, as the paper's code has it.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from gan_dist.distributed.randomness import Rng
from gan_dist.networks.layers.checks import full_precision, one_hot_classes, plan_doublings
from gan_dist.networks.layers.resample import Downsample, Upsample
from gan_dist.spec.image_size import Size

SLOPE = 0.2
EXPANSION = 2


class Generator(nn.Module):
    """Noise [B, z] to images [B, C, H, W], not bounded.

    Args:
        size: N or (height, width) in pixels, 8 to 256, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        z: dimensions of the normal noise.
        width: channels up to `wide` pixels; 768 in the paper, 1536 for ImageNet. 384 and 192 have 27 % and 8 % of it.
        wide: largest stage in pixels that has all channels; each doubling beyond has half of those before.
        group: channels in a group of the 3x3 convolutions; 32 for ImageNet.
        blocks: residual blocks in each stage.
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
        width: int = 768,
        wide: int = 32,
        group: int = 16,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        plan = plan_doublings(size, self.sizes, "r3gan")
        widths = _widths(plan.square, width, wide, group, blocks)
        self.z, self.classes = z, classes
        self.embed = _linear(classes, z) if classes else None
        self.basis = nn.Parameter(torch.randn(widths[0], *plan.base))
        self.scale = _linear(2 * z if classes else z, widths[0])
        self.first = _stage(widths[0], group, blocks, blocks * len(widths))
        self.rest = nn.Sequential()
        for before, after in pairwise(widths):
            if before != after:
                self.rest.append(_conv(before, after, 1))
            self.rest.append(Upsample())
            self.rest.append(_stage(after, group, blocks, blocks * len(widths)))
        self.rest.append(_conv(widths[-1], channels, 1))

    def stage_names(self) -> dict[str, str]:
        """Names of what follows the 4-pixel stage by the doubling it belongs to."""
        names, doubling = {}, 1
        for number, part in enumerate(self.rest):
            what = "stage" if isinstance(part, nn.Sequential) else "widths"
            names[f"rest.{number}"] = f"{what} {doubling}" if number < len(self.rest) - 1 else "picture"
            doubling += isinstance(part, nn.Sequential)
        return names

    def latent_weights(self) -> list[Tensor]:
        """By what the first layer takes z, [channels, z]."""
        return [self.scale.weight[:, : self.z]]

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Standard normal noise [n, z]."""
        return rng.normal(self.z)

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        with full_precision(noise):
            if self.embed is not None:
                noise = torch.cat([noise, self.embed(one_hot_classes(cond, self.classes, noise))], dim=1)
            x = self.first(self.basis * self.scale(noise)[:, :, None, None])
        return self.rest(x)  # type: ignore[no-any-return]


class Discriminator(nn.Module):
    """Images [B, C, H, W] to logits [B]. With classes the logit is a product with the class's vector alone.

    Args:
        size: N or (height, width) in pixels, 8 to 256, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        width: channels up to `wide` pixels; 768 in the paper, 1536 for ImageNet. 384 and 192 have 27 % and 8 % of it.
        wide: largest stage in pixels that has all channels; each doubling beyond has half of those before.
        group: channels in a group of the 3x3 convolutions; 32 for ImageNet.
        blocks: residual blocks in each stage.
    """

    channels_last = True
    sizes: ClassVar[dict[str, int]] = {"least": 8, "most": 256, "base": 4}

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        classes: int = 0,
        width: int = 768,
        wide: int = 32,
        group: int = 16,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        plan = plan_doublings(size, self.sizes, "r3gan", "judges")
        widths = _widths(plan.square, width, wide, group, blocks)[::-1]
        self.first = nn.Sequential(_conv(channels, widths[0], 1))
        for before, after in pairwise(widths):
            self.first.append(_stage(before, group, blocks, blocks * len(widths)))
            self.first.append(Downsample())
            if before != after:
                self.first.append(_conv(before, after, 1))
        top = widths[-1]
        self.last = _stage(top, group, blocks, blocks * len(widths))
        self.pool = _conv(top, top, plan.base, groups=top)
        self.classes = classes
        self.head = _linear(top, top if classes else 1)
        self.embed = _linear(classes, top, gain=1 / math.sqrt(top)) if classes else None

    def stage_names(self) -> dict[str, str]:
        """Names of what comes before the 4-pixel stage by how often the image is still halved."""
        halvings = sum(isinstance(part, nn.Sequential) for part in self.first)
        names = {}
        for number, part in enumerate(self.first):
            what = "stage" if isinstance(part, nn.Sequential) else "widths"
            names[f"first.{number}"] = f"{what} {halvings}" if number else "picture"
            halvings -= isinstance(part, Downsample)
        return names

    def image_blocks(self) -> list[list[nn.Module]]:
        """The stages, with what comes before each: the image's first convolution, or a change of channels."""
        blocks: list[list[nn.Module]] = [[]]
        for part in self.first:
            blocks[-1].append(part)
            if isinstance(part, nn.Sequential):
                blocks.append([])
        return [*blocks[:-1], [*blocks[-1], self.last]]

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x = self.first(x)
        with full_precision(x):
            return self.pool(self.last(x.to(self.pool.weight.dtype))).flatten(1)  # type: ignore[no-any-return]

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        pooled = self.features(x, cond)
        with full_precision(x):
            features = self.head(pooled)
            if self.embed is None:
                return features.squeeze(1)  # type: ignore[no-any-return]
            return (features * self.embed(one_hot_classes(cond, self.classes, features))).sum(1)  # type: ignore[no-any-return]


class Block(nn.Module):
    """x + W3 a(W2 a(W1 x)), a LeakyReLU after a bias; W3 begins at zero (figure 3 d of the paper).

    Args:
        width: channels in and out.
        group: channels in a group of W2.
        depth: residual blocks of the whole network, by which W1 and W2 begin smaller (Zhang, Dauphin and Ma 2019,
            arXiv 1901.09321).
    """

    def __init__(self, width: int, group: int, depth: int) -> None:
        super().__init__()
        inner = EXPANSION * width
        gain = nn.init.calculate_gain("leaky_relu", SLOPE) * depth**-0.25
        self.branch = nn.Sequential(
            _conv(width, inner, 1, gain=gain, bias=True),
            nn.LeakyReLU(SLOPE, inplace=True),
            _conv(inner, inner, 3, groups=inner // group, gain=gain, bias=True),
            nn.LeakyReLU(SLOPE, inplace=True),
            _conv(inner, width, 1, gain=0),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)  # type: ignore[no-any-return]


def _stage(width: int, group: int, blocks: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*[Block(width, group, depth) for _ in range(blocks)])


def _conv(inputs: int, outputs: int, kernel: Size, groups: int = 1, gain: float = 1.0, bias: bool = False) -> nn.Conv2d:
    """Weights from N(0, gain^2 / fan_in), biases 0; only 3x3 keeps the size by padding, others make one pixel of
    theirs."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=1 if kernel == 3 else 0, groups=groups, bias=bias)
    nn.init.normal_(conv.weight, 0.0, gain / math.sqrt(conv.weight[0].numel()))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _linear(inputs: int, outputs: int, gain: float = 1.0) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(linear.weight, 0.0, gain / math.sqrt(inputs))
    return linear


def _widths(square: int, width: int, wide: int, group: int, blocks: int) -> list[int]:
    """Channels at 4, 8, ..., `square` pixels.

    Raises:
        ValueError: some stage cannot be cut into groups; the text names a width that can.
    """
    if min(width, wide, group, blocks) < 1:
        raise ValueError(
            f"r3gan needs positive numbers, not width={width}, wide={wide}, group={group}, blocks={blocks}"
        )
    parts = [max(1, 4 * 2**stage // wide) for stage in range(square.bit_length() - 2)]
    step = max(group // math.gcd(group, EXPANSION), 1) * parts[-1]
    if width % step:
        near = max(step, round(width / step) * step)
        raise ValueError(
            f"r3gan at {square} pixels with group={group} and wide={wide} needs a width that {step} divides, "
            f"not {width}; {near} is nearest"
        )
    return [width // part for part in parts]
