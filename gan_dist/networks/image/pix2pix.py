"""pix2pix (Isola, Zhu, Zhou and Efros 2017, arXiv 1611.07004): a picture made of another one, for pairs of pictures.

G is a U-Net down to one pixel, or to a map that cannot be halved, whose only noise is dropout in its first decoding
blocks, also when it is used. D judges patches of the picture beside the one it was made of. Kernel 4, weights from
N(0, 0.02), sizes of appendix 6.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.distributed.randomness import Rng
from gan_dist.spec.image_size import Size, SizeRule, sides

Norm = Literal["instance", "batch", "none"]
SLOPE, STD, WIDEST, NOISY = 0.2, 0.02, 8, 3


class Generator(nn.Module):
    """Pictures [B, input_channels, H, W] in [-1, 1] to pictures [B, C, H, W] in (-1, 1).

    Args:
        size: N or (height, width) in pixels, multiples of 16 up to 1024, supplied by the data; halved as often as both
            can be.
        channels: of what is made, supplied by the data.
        input_channels: of what it is made of, supplied by the data.
        width: channels of the first encoding block; 64 in the paper.
        norm: instance (what batch normalisation is at the paper's batch of 1), batch or none.
        dropout: share of features left out in the first three decoding blocks; the noise.
    """

    sizes: ClassVar[dict[str, int]] = {"least": 16, "most": 1024, "multiple": 16}
    batch_norm: ClassVar[dict[str, str]] = {"norm": "batch"}

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        input_channels: int,
        width: int = 64,
        norm: Norm = "instance",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout: {dropout}; at least 0 and below 1")
        SizeRule.of(self.sizes).check(size, "pix2pix")
        common = math.gcd(*sides(size))
        depth = (common & -common).bit_length() - 1
        widths = [width * min(2**step, WIDEST) for step in range(depth)]
        self.dropout = dropout
        self.down = nn.ModuleList()
        for step, (before, after) in enumerate(zip([input_channels, *widths], widths, strict=False)):
            plain = step in (0, depth - 1)  # the picture itself, and the last map, most often one pixel without spread
            self.down.append(_block(nn.Conv2d, before, after, "none" if plain else norm))
        self.up = nn.ModuleList()
        for step in range(depth - 1, 0, -1):
            inputs = widths[step] * (1 if step == depth - 1 else 2)
            self.up.append(_block(nn.ConvTranspose2d, inputs, widths[step - 1], norm))
        self.last = nn.ConvTranspose2d(2 * width, channels, 4, 2, 1)
        # Where features are left out: channels, height and width of the first decoding blocks' outputs.
        high, wide = (side >> depth for side in sides(size))
        self._noisy = [
            (widths[depth - 2 - step], high << (step + 1), wide << (step + 1)) for step in range(min(NOISY, depth - 1))
        ]
        self.apply(_initialise)

    def draw(self, n: int, rng: Rng) -> list[Tensor]:
        """What each feature is multiplied by, 0 or 1 / (1 - dropout), [n, c, h, w] of each noisy block."""
        kept = 1 - self.dropout
        return [(rng.uniform(*shape) < kept) / kept for shape in self._noisy if self.dropout]

    def forward(self, noise: Sequence[Tensor], cond: Tensor | None = None) -> Tensor:
        assert cond is not None, "a picture is made of another one"
        x, skips = cond, []
        for step, block in enumerate(self.down):
            x = block(F.leaky_relu(x, SLOPE) if step else x)
            skips.append(x)
        skips.pop()
        for step, block in enumerate(self.up):
            x = block(F.relu(x))
            if step < len(noise):
                x = x * noise[step].to(x.dtype)
            x = torch.cat([x, skips.pop()], 1)
        return torch.tanh(self.last(F.relu(x)))


class Discriminator(nn.Module):
    """Pictures [B, C, H, W] beside what they were made of to logits [B, h, w], one for each patch.

    Args:
        size: N or (height, width) in pixels, supplied by the data.
        channels: of what is judged, supplied by the data.
        input_channels: of what it was made of, supplied by the data.
        width: channels of the first block; 64 in the paper.
        layers: blocks that halve the picture; 3 judge patches of 70 pixels, as in the paper, 1 of 16 and 5 of 286.
        norm: instance, batch or none.
    """

    sizes: ClassVar[dict[str, int]] = {"least": 8}
    batch_norm: ClassVar[dict[str, str]] = {"norm": "batch"}

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        input_channels: int,
        width: int = 64,
        layers: int = 3,
        norm: Norm = "instance",
    ) -> None:
        super().__init__()
        short = min(sides(size))
        if layers < 1 or short // 2**layers < 4:
            left = short // 2 ** max(layers, 0)
            raise ValueError(f"layers: {layers} leave {left} of {short} pixels; 1 up to 4 pixels")
        widths = [width * min(2**step, WIDEST) for step in range(layers + 1)]
        blocks = [_block(nn.Conv2d, channels + input_channels, width, "none")]
        blocks += [_block(nn.Conv2d, before, after, norm) for before, after in pairwise(widths[:-1])]
        blocks.append(_block(nn.Conv2d, widths[-2], widths[-1], norm, stride=1))
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.Conv2d(widths[-1], 1, 4, 1, 1)
        self.apply(_initialise)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        assert cond is not None, "a picture is judged beside what it was made of"
        x = torch.cat([x, cond], 1)
        for block in self.blocks:
            x = F.leaky_relu(block(x), SLOPE)
        logits: Tensor = self.last(x).squeeze(1)
        return logits


def _block(
    convolution: type[nn.Conv2d] | type[nn.ConvTranspose2d], inputs: int, outputs: int, norm: Norm, stride: int = 2
) -> nn.Sequential:
    """A convolution of kernel 4 and its normalisation, which has a bias of its own where it learns one."""
    made: list[nn.Module] = [convolution(inputs, outputs, 4, stride, 1, bias=norm != "batch")]
    if norm == "batch":
        made.append(nn.BatchNorm2d(outputs))
    elif norm == "instance":
        made.append(nn.InstanceNorm2d(outputs))
    return nn.Sequential(*made)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, STD)
