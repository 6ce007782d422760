"""FastGAN's networks (Liu et al. 2021, arXiv 2101.04775), for few images.

Maps scale the channels of others far from them (skip-layer excitation): in G small ones those sixteen times as large,
in D large ones those of an eighth. Batch normalisation; every convolution has spectral normalisation. With classes G's
normalisation is by class, and D is a projection discriminator, neither of which the paper has.

Unlike in the authors' code, which so cannot be replayed number by number: the small copy that D judges is the average
of the image's pixels, where their G has a layer of its own for it and real images are thinned out; the first layer has
the spectral norm of a linear layer, and theirs that of a transposed convolution; vectors of spectral norms move once a
step and not in each pass; and each image has a quarter of its own to be rebuilt, where theirs have one for a batch.
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
from gan_dist.networks.layers.checks import one_hot_classes, plan_doublings
from gan_dist.networks.layers.equalized import normalize_2nd_moment
from gan_dist.networks.layers.spectral_norm import SpectralConv, SpectralLinear
from gan_dist.spec.image_size import Size

# Channels at each size of a square, as multiples of `width`; other images have those of the square that is doubled as
# often. So for all numbers of pixels here.
SHARES = {4: 16.0, 8: 8.0, 16: 4.0, 32: 2.0, 64: 2.0, 128: 1.0, 256: 0.5, 512: 0.25, 1024: 0.125}
APART, GATED = 16, 512
# Channels of D's maps of each size, as multiples of its width; those of 4 pixels are inside its head.
JUDGED = {4: 16.0, 8: 8.0, 16: 4.0, 32: 2.0, 64: 1.0, 128: 0.5, 256: 0.25, 512: 0.125}
JUDGED_APART = 8
LAST, LARGEST, COPIED = 8, 256, 128


class Generator(nn.Module):
    """Noise to images [B, C, H, W] in (-1, 1), through gated linear units. The noise is z, and one for each pixel of
    every second size.

    Args:
        size: N or (height, width) in pixels, 8 to 1024, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        z: dimensions of the normal noise.
        width: channels at 128 pixels; 64 in the paper, 128 in Projected GAN.

    Raises:
        ValueError: there is no such size, or the width leaves some size without a channel.
    """

    channels_last = True
    sizes: ClassVar[dict[str, int]] = {"least": 8, "most": 1024, "base": 4}
    batch_norm: ClassVar[bool] = True

    def __init__(self, *, size: Size, channels: int, classes: int = 0, z: int = 256, width: int = 64) -> None:
        super().__init__()
        self.plan = plan_doublings(size, self.sizes, "fastgan")
        sides = [4 * 2**step for step in range(self.plan.count + 1)]
        widths = {side: int(SHARES[side] * width) for side in sides}
        last = sides[-1]
        if widths[last] < 1:
            raise ValueError(f"fastgan at {last} pixels needs width >= {round(1 / SHARES[last])}, not {width}")
        self.z, self.classes, self.sides = z, classes, sides
        self.first = SpectralLinear(z, widths[4] * 2 * math.prod(self.plan.base), bias=False)
        self.norm = ClassBatchNorm(widths[4] * 2, 0)
        self.blocks = nn.ModuleList()
        self.gates = nn.ModuleDict()
        for number, side in enumerate(sides[1:]):
            self.blocks.append(UpBlock(widths[side // 2], widths[side], classes, twice=number % 2 == 0))
            if 4 * APART <= side <= GATED:
                self.gates[str(side)] = SkipLayerExcitation(widths[side // APART], widths[side])
        self.last = SpectralConv(widths[last], channels, 3)

    def draw(self, n: int, rng: Rng) -> dict[str, Tensor | list[Tensor]]:
        """z [n, z], and two maps of noise [n, 1, h, w] in a row, [n, 2, h, w], for every second size."""
        shapes = [self.plan.at(side) for side in self.sides[1::2]]
        areas = [2 * height * width for height, width in shapes]
        flat = torch.split(rng.normal(self.z + sum(areas)), [self.z, *areas], 1)
        pixels = [one.view(n, 2, *shape) for one, shape in zip(flat[1:], shapes, strict=True)]
        return {"z": flat[0], "pixels": pixels}

    def forward(self, noise: dict[str, Tensor], cond: Tensor | None = None) -> Tensor:
        z = normalize_2nd_moment(noise["z"])
        classes = one_hot_classes(cond, self.classes, z) if self.classes else None
        x = self.first(z).view(len(z), -1, *self.plan.base)
        maps = {4: F.glu(self.norm(x, None), 1)}
        pixels = iter(noise["pixels"])
        for side, block in zip(self.sides[1:], self.blocks, strict=True):
            made = block(maps[side // 2], classes, next(pixels) if block.twice else None)
            if str(side) in self.gates:
                made = made * self.gates[str(side)](maps[side // APART])
            maps[side] = made
        return torch.tanh(self.last(maps[self.sides[-1]]))


class UpBlock(nn.Module):
    """[B, before, H, W] to [B, after, 2H, 2W]: doubled, then 3x3, normalisation and gate, once or twice; if twice, with
    noise after each convolution."""

    def __init__(self, before: int, after: int, classes: int, twice: bool) -> None:
        super().__init__()
        self.twice = twice
        inputs = [before, after] if twice else [before]
        self.convs = nn.ModuleList([SpectralConv(one, 2 * after, 3, bias=False) for one in inputs])
        self.norms = nn.ModuleList([ClassBatchNorm(2 * after, classes) for _ in inputs])
        self.strengths = nn.Parameter(torch.zeros(2)) if twice else None

    def forward(self, x: Tensor, classes: Tensor | None, noise: Tensor | None) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = conv(x)
            if self.strengths is not None and noise is not None:
                x = x + self.strengths[number] * noise[:, number, None]
            x = F.glu(norm(x, classes), 1)
        return x


class SkipLayerExcitation(nn.Module):
    """A small map [B, inputs, H, W] to factors [B, outputs, 1, 1] of a large one's channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = SpectralConv(inputs, outputs, 4, padding=0, bias=False)
        self.excite = SpectralConv(outputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.excite(F.silu(self.squeeze(F.adaptive_avg_pool2d(x, 4)))))


class Discriminator(nn.Module):
    """Images [B, C, H, W] to logits [B, P], of places in the image and as many in a smaller copy of it: 25 each where
    the size is a power of two.

    Decoders rebuild real images from its small maps, which keeps these full of them (section 3.2). The copy, and what
    the decoders make, has 128 pixels, or half of the image's if those are fewer.

    Args:
        size: N or (height, width) in pixels, 32 to 1024, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        width: channels at 64 pixels; 64 in the paper.
        decoders: whether there are decoders, which the objective `reconstruction` trains; the paper has them.

    Raises:
        ValueError: there is no such size, or the width leaves some size without a channel.
    """

    channels_last = True
    couples_batch = True
    sizes: ClassVar[dict[str, int]] = {"least": 32, "most": 1024, "base": 4}
    batch_norm: ClassVar[bool] = True

    def __init__(self, *, size: Size, channels: int, classes: int = 0, width: int = 64, decoders: bool = False) -> None:
        super().__init__()
        plan = plan_doublings(size, self.sizes, "fastgan", "judges")
        square = plan.square
        first, least = min(square, LARGEST), round(1 / JUDGED[min(square, LARGEST if square < 1024 else 2 * LARGEST)])
        least = max(least, 2 if decoders else 1)
        if width < least:
            raise ValueError(f"fastgan at {square} pixels needs width >= {least}, not {width}")
        widths = {side: int(share * width) for side, share in JUDGED.items()}
        sides = [2**power for power in range(first.bit_length() - 1, 2, -1)]
        self.classes, self.first, self.copied = classes, first, min(COPIED, square // 2)
        self.copy = plan.at(self.copied)
        self.stem = _stem(channels, square, widths)
        self.downs = nn.ModuleList(DownTwice(widths[side], widths[side // 2]) for side in sides[:-1])
        gated = [side for side in sides if side * JUDGED_APART <= first]
        self.gates = nn.ModuleDict(
            {str(side): SkipLayerExcitation(widths[side * JUDGED_APART], widths[side]) for side in gated}
        )
        self.head = nn.Sequential(*_normalised(widths[LAST], widths[4], 1), _logits(widths[4]))
        # A map of the copy has the channels of the image's map of twice its size.
        copied = [side for side in sides if side <= self.copied // 2]
        halvings = [_normalised(widths[2 * one], widths[2 * other], 4) for one, other in pairwise(copied)]
        first_of_copy = [SpectralConv(channels, widths[self.copied], 4, stride=2, padding=1, bias=False), _leaky()]
        self.branch = nn.Sequential(*first_of_copy, *(layer for halving in halvings for layer in halving))
        self.branch_head = _logits(widths[2 * LAST])
        self.embed = SpectralLinear(classes, widths[LAST], bias=False) if classes else None
        inputs = {"image": widths[LAST], "copy": widths[2 * LAST], "part": widths[2 * LAST]} if decoders else {}
        made = {name: _decoder(one, self.copied, channels, width // 2) for name, one in inputs.items()}
        self.decoders = nn.ModuleDict(made)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        last = self._maps(x)[LAST]
        made = [self.head(last).flatten(1), self.branch_head(self.branch(self._smaller(x))).flatten(1)]
        logits = torch.cat(made, 1)
        if self.embed is not None:
            of_class = self.embed(one_hot_classes(cond, self.classes, x)) * last.mean((2, 3))
            logits = logits + of_class.sum(1, keepdim=True)
        return logits

    def reconstructed(self, x: Tensor, part: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What each decoder makes of an image and what it should be, both [B, C, h, w]: the image from its last map,
        the same from that of the copy, and one quarter of it from that quarter of the map of 16 pixels.

        Args:
            part: number of the quarter, row by row, [B].
        """
        maps, whole = self._maps(x), self._smaller(x)
        return [
            (self.decoders["image"](maps[LAST]), whole),
            (self.decoders["copy"](self.branch(whole)), whole),
            (self.decoders["part"](crop_quarter(maps[2 * LAST], part)), self._smaller(crop_quarter(x, part))),
        ]

    def _maps(self, x: Tensor) -> dict[int, Tensor]:
        """The maps of an image by their size."""
        x, side = self.stem(x), self.first
        maps = {side: x}
        for down in self.downs:
            side //= 2
            x = down(x)
            if str(side) in self.gates:
                x = x * self.gates[str(side)](maps[side * JUDGED_APART])
            maps[side] = x
        return maps

    def _smaller(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, self.copy)


class DownTwice(nn.Module):
    """[B, before, H, W] to [B, after, H/2, W/2]: the mean of two convolutions and of an average with one."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.main = nn.Sequential(*_normalised(before, after, 4), *_normalised(after, after, 3))
        self.direct = nn.Sequential(nn.AvgPool2d(2), *_normalised(before, after, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (self.main(x) + self.direct(x)) / 2  # type: ignore[no-any-return]


def crop_quarter(x: Tensor, part: Tensor) -> Tensor:
    """The quarter [B, C, H/2, W/2] of each [B, C, H, W] with the number `part`, [B], row by row."""
    n, channels, height, width = x.shape
    cut = x.reshape(n, channels, 2, height // 2, 2, width // 2).permute(0, 2, 4, 1, 3, 5)
    return cut[torch.arange(n, device=x.device), part // 2, part % 2]


def _stem(channels: int, size: int, widths: dict[int, int]) -> nn.Sequential:
    """An image to the first map, of at most 256 pixels."""
    if size <= LARGEST:
        return nn.Sequential(SpectralConv(channels, widths[size], 3, bias=False), _leaky())
    halved = SpectralConv(channels, widths[size // 2], 4, stride=2, padding=1, bias=False)
    again = _normalised(widths[size // 2], widths[LARGEST], 4) if size // 2 > LARGEST else []
    return nn.Sequential(halved, _leaky(), *again)


def _normalised(before: int, after: int, kernel: int) -> list[nn.Module]:
    """A convolution, by which a kernel of 4 halves the map, with normalisation and activation."""
    halves = kernel == 4
    conv = SpectralConv(before, after, kernel, stride=1 + halves, padding=1 if halves else None, bias=False)
    return [conv, nn.BatchNorm2d(after), _leaky()]


def _leaky() -> nn.LeakyReLU:
    return nn.LeakyReLU(0.2)


def _logits(inputs: int) -> SpectralConv:
    """A map of 8 pixels to logits [B, 1, 5, 5]."""
    return SpectralConv(inputs, 1, 4, padding=0, bias=False)


def _decoder(inputs: int, size: int, channels: int, width: int) -> nn.Sequential:
    """A map of 8 pixels to an image in (-1, 1), with G's channels at each size."""
    sides = [2**power for power in range(4, size.bit_length())]
    widths = [inputs, *(int(SHARES[side] * width) for side in sides)]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Upsample(scale_factor=2), SpectralConv(before, 2 * after, 3, bias=False)]
        layers += [nn.BatchNorm2d(2 * after), nn.GLU(1)]
    return nn.Sequential(*layers, SpectralConv(widths[-1], channels, 3, bias=False), nn.Tanh())
