"""FastGAN's generator (Liu et al. 2021, arXiv 2101.04775), for few images of 8 to 1024 pixels.

Small maps scale the channels of maps sixteen times as large (skip-layer excitation). Gated linear units, batch
normalisation, noise for each pixel; every convolution has spectral normalisation. With classes their normalisation is
by class, which the paper has not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.networks.equalised import unit_length
from gan_dist.networks.shapes import one_hot, powers_between
from gan_dist.networks.sngan import ClassNorm
from gan_dist.networks.spectral import SpectralConv, SpectralLinear
from gan_dist.randomness import Rng

# Channels at each size, as multiples of `width`.
SHARES = {4: 16.0, 8: 8.0, 16: 4.0, 32: 2.0, 64: 2.0, 128: 1.0, 256: 0.5, 512: 0.25, 1024: 0.125}
APART = 16


class Generator(nn.Module):
    """Noise to images [B, C, H, W] in (-1, 1). The noise is z, and one for each pixel of every second size.

    Args:
        size: height and width in pixels, 8 to 1024, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        z: dimensions of the normal noise.
        width: channels at 128 pixels; 64 in the paper, 128 in Projected GAN.

    Raises:
        ValueError: the size is none of those above, or the width leaves some size without a channel.
    """

    def __init__(self, *, size: int, channels: int, classes: int = 0, z: int = 256, width: int = 64) -> None:
        super().__init__()
        sides = [2**power for power in range(2, powers_between(size, 8, 1024, "fastgan") + 1)]
        widths = {side: int(SHARES[side] * width) for side in sides}
        if widths[size] < 1:
            raise ValueError(f"fastgan at {size} pixels needs width >= {round(1 / SHARES[size])}, not {width}")
        self.z, self.classes, self.sides = z, classes, sides
        self.first = SpectralLinear(z, widths[4] * 2 * 16, bias=False)
        self.norm = ClassNorm(widths[4] * 2, 0)
        self.blocks = nn.ModuleList()
        self.gates = nn.ModuleDict()
        for number, side in enumerate(sides[1:]):
            self.blocks.append(UpBlock(widths[side // 2], widths[side], classes, twice=number % 2 == 0))
            if side >= 4 * APART:
                self.gates[str(side)] = Excitation(widths[side // APART], widths[side])
        self.last = SpectralConv(widths[size], channels, 3)

    def draw(self, n: int, rng: Rng) -> dict[str, Tensor | list[Tensor]]:
        """z [n, z], and two maps of noise [n, 1, N, N] in a row, [n, 2, N, N], for every second size."""
        sides = self.sides[1::2]
        areas = [2 * side**2 for side in sides]
        flat = torch.split(rng.normal(self.z + sum(areas)), [self.z, *areas], 1)
        pixels = [one.view(n, 2, side, side) for one, side in zip(flat[1:], sides, strict=True)]
        return {"z": flat[0], "pixels": pixels}

    def forward(self, noise: dict[str, Tensor], cond: Tensor | None = None) -> Tensor:
        z = unit_length(noise["z"])
        classes = one_hot(cond, self.classes, z) if self.classes else None
        x = self.first(z).view(len(z), -1, 4, 4)
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
        self.norms = nn.ModuleList([ClassNorm(2 * after, classes) for _ in inputs])
        self.strengths = nn.Parameter(torch.zeros(2)) if twice else None

    def forward(self, x: Tensor, classes: Tensor | None, noise: Tensor | None) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = conv(x)
            if self.strengths is not None and noise is not None:
                x = x + self.strengths[number] * noise[:, number, None]
            x = F.glu(norm(x, classes), 1)
        return x


class Excitation(nn.Module):
    """A small map [B, inputs, H, W] to factors [B, outputs, 1, 1] of a large one's channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = SpectralConv(inputs, outputs, 4, padding=0, bias=False)
        self.excite = SpectralConv(outputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.excite(F.silu(self.squeeze(F.adaptive_avg_pool2d(x, 4)))))
