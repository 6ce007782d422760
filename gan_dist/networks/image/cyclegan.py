"""The networks of CycleGAN (Zhu, Park, Isola and Efros 2017, arXiv 1703.10593) and CUT (Park, Efros, Zhang and Zhu
2020, arXiv 2007.15651): pictures of one domain made into those of another.

G is the residual network of Johnson et al. (2016) between two halvings and two doublings, without noise. D judges
patches of a picture alone. Instance normalisation has no weights, convolutions have biases. `antialias` gives CUT's
variant, which halves and doubles by filters and begins with Xavier's weights.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.distributed.randomness import Rng
from gan_dist.spec.image_size import Size, SizeRule, sides

SLOPE, STD, WIDEST = 0.2, 0.02, 8
BLOCKS, FEWER_BLOCKS, LARGE = 9, 6, 256


class Generator(nn.Module):
    """Pictures [B, input_channels, H, W] in [-1, 1] to pictures [B, C, H, W] in (-1, 1).

    Args:
        size: N or (height, width) in pixels, multiples of 4 from 16 to 1024, supplied by the data.
        channels: of what is made, supplied by the data.
        input_channels: of what it is made of, supplied by the data.
        width: channels at full size; 64 in the papers.
        blocks: residual blocks; null for 9 from 256 pixels on and 6 below, as in the paper.
        antialias: whether pictures are halved and doubled by filters, as in CUT.
    """

    sizes: ClassVar[dict[str, int]] = {"least": 16, "most": 1024, "multiple": 4}

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        input_channels: int,
        width: int = 64,
        blocks: int | None = None,
        antialias: bool = False,
    ) -> None:
        super().__init__()
        SizeRule.of(self.sizes).check(size, "cyclegan")
        blocks = (BLOCKS if min(sides(size)) >= LARGE else FEWER_BLOCKS) if blocks is None else blocks
        if blocks < 1:
            raise ValueError(f"blocks: {blocks}; at least 1")
        self.antialias, self.feature_widths = antialias, feature_widths(input_channels, width)
        stride = 1 if antialias else 2
        self.first = nn.Conv2d(input_channels, width, 7)
        self.down = nn.ModuleList(nn.Conv2d(width * 2**step, width * 2 ** (step + 1), 3, stride, 1) for step in (0, 1))
        self.blocks = nn.ModuleList(_Block(4 * width) for _ in range(blocks))
        self.up = nn.ModuleList(_doubling(width * 2 ** (step + 1), width * 2**step, antialias) for step in (1, 0))
        self.last = nn.Conv2d(width, channels, 7)
        self.apply(_initialise_xavier if antialias else _initialise)

    def draw(self, n: int, rng: Rng) -> Tensor:
        """No noise: [n, 0]."""
        return torch.empty(n, 0, device=rng.device, dtype=rng.dtype)

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        assert cond is not None, "a picture is made of another one"
        x, _ = self._down(cond)
        for block in self.blocks:
            x = block(x)
        for up in self.up:
            x = F.relu(F.instance_norm(up(_doubled(x) if self.antialias else x)))
        return torch.tanh(self.last(_padded(x, 3)))

    def encode(self, x: Tensor) -> list[Tensor]:
        """Maps of the first half for a picture [B, input_channels, H, W], each [B, c, h, w]: the padded picture, both
        halving convolutions, the first residual block and the middle one (CUT, appendix C.2)."""
        found, maps = self._down(x)
        middle = (len(self.blocks) + 1) // 2
        after = []
        for block in self.blocks[:middle]:
            found = block(found)
            after.append(found)
        return [*maps, after[0], after[-1]]

    def _down(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """A quarter of the size, and the maps on the way that `encode` gives."""
        x = _padded(x, 3)
        maps = [x]
        x = F.relu(F.instance_norm(self.first(x)))
        for down in self.down:
            x = down(x)
            maps.append(x)
            x = F.relu(F.instance_norm(x))
            x = _halved(x) if self.antialias else x
        return x, maps


class Discriminator(nn.Module):
    """Pictures [B, C, H, W] to logits [B, h, w], one for each patch.

    Args:
        size: N or (height, width) in pixels, supplied by the data.
        channels: image channels, supplied by the data.
        width: channels of the first block; 64 in the papers.
        layers: blocks that halve the picture; 3 judge patches of 70 pixels, as in the papers.
        antialias: whether pictures are halved by filters, as in CUT.
    """

    sizes: ClassVar[dict[str, int]] = {"least": 8}
    # Also of pairs it judges what is made alone, as an autoencoder wants.
    modalities: ClassVar = ("image", "unpaired", "pair")

    def __init__(self, *, size: Size, channels: int, width: int = 64, layers: int = 3, antialias: bool = False) -> None:
        super().__init__()
        short = min(sides(size))
        if layers < 1 or short // 2**layers < 4:
            left = short // 2 ** max(layers, 0)
            raise ValueError(f"layers: {layers} leave {left} of {short} pixels; 1 up to 4 pixels")
        widths = [channels, *(width * min(2**step, WIDEST) for step in range(layers + 1))]
        strides = [1 if antialias else 2] * layers + [1]
        self.antialias, self.layers = antialias, layers
        self.blocks = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride, 1)
            for (before, after), stride in zip(pairwise(widths), strides, strict=True)
        )
        self.last = nn.Conv2d(widths[-1], 1, 4, 1, 1)
        self.apply(_initialise_xavier if antialias else _initialise)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        for number, block in enumerate(self.blocks):
            x = block(x)
            x = F.leaky_relu(F.instance_norm(x) if number else x, SLOPE)
            x = _halved(x) if self.antialias and number < self.layers else x
        logits: Tensor = self.last(x).squeeze(1)
        return logits


class PatchProjection(nn.Module):
    """Maps of `Generator.encode` at some places to unit vectors, by two linear layers for each map (CUT, section 3).

    Args:
        channels: image channels, supplied by the data.
        width: that of the generator; 64 in the paper.
        features: numbers of each vector; 256 in the paper.
    """

    def __init__(self, *, channels: int, width: int = 64, features: int = 256) -> None:
        super().__init__()
        self.feature_widths = feature_widths(channels, width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, features), nn.ReLU(), nn.Linear(features, features))
            for inputs in self.feature_widths
        )
        self.apply(_initialise_xavier)

    def forward(self, maps: list[Tensor], places: list[Tensor]) -> list[Tensor]:
        """Vectors [B, P, features] of each map [B, c, h, w] at its places [B, P], numbered row by row."""
        found = []
        for layer, values, chosen in zip(self.layers, maps, places, strict=True):
            rows = values.flatten(2).transpose(1, 2)
            rows = rows.gather(1, chosen[:, :, None].expand(-1, -1, rows.shape[2]))
            found.append(F.normalize(layer(rows).float() if rows.dtype == torch.bfloat16 else layer(rows), dim=2))
        return found


def feature_widths(input_channels: int, width: int) -> list[int]:
    """Channels of the maps that `Generator.encode` gives."""
    return [input_channels, 2 * width, 4 * width, 4 * width, 4 * width]


class _Block(nn.Module):
    """x + f(x), f two convolutions of the picture with its mirrored border."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3), nn.Conv2d(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        found = F.relu(F.instance_norm(self.first(_padded(x, 1))))
        return x + F.instance_norm(self.second(_padded(found, 1)))


def _doubling(inputs: int, outputs: int, antialias: bool) -> nn.Module:
    if antialias:
        return nn.Conv2d(inputs, outputs, 3, 1, 1)
    return nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1)


def _padded(x: Tensor, by: int) -> Tensor:
    return F.pad(x, (by, by, by, by), mode="reflect")


def _halved(x: Tensor) -> Tensor:
    """Every other pixel after the filter [1, 2, 1], with a mirrored border; of an odd side the larger half."""
    row = torch.tensor([0.25, 0.5, 0.25], device=x.device, dtype=x.dtype)
    kernel = (row[:, None] * row).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(_padded(x, 1), kernel, stride=2, groups=x.shape[1])


def _doubled(x: Tensor) -> Tensor:
    """The filter [1, 3, 3, 1] between pixels, with a repeated border."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, STD)
        _without_bias(module)


def _initialise_xavier(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.xavier_normal_(module.weight, STD)
        _without_bias(module)


def _without_bias(module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)
