"""Projected GAN's discriminator (Sauer et al. 2021, arXiv 2111.01007): small ones that look at the maps of a frozen,
pretrained network, mixed at random.

Wants `hinge` without R1, `diffaugment`, and is most often used with `fastgan`. Networks trained on ImageNet flatter
distances whose features were too: judge such a run with other features beside (Kynkaanniemi et al. 2023,
arXiv 2203.06026).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.networks.layers.checks import one_hot_classes
from gan_dist.networks.layers.pretrained_backbone import RANDOM, FeatureTaps, weights_file
from gan_dist.networks.layers.spectral_norm import SpectralConv
from gan_dist.spec.image_size import Size, sides

SMALLEST = 64
PROJECTED, EMBEDDED = 64, 128  # numbers that a class is compared by, and is learnt in, as the authors' code has them
COARSEST = 32  # pixels of the image for one of the smallest map
# Channels that a map of that many pixels has inside a head; the paper's, for 256 pixels.
WIDTHS = {4: 512, 8: 512, 16: 256, 32: 128, 64: 64, 128: 64}


class Discriminator(nn.Module):
    """Images [B, C, H, W] to logits [B, N], those of all places of four maps.

    The pretrained network is no part of the checkpoint; it is read from its file again.

    Args:
        size: N or (height, width) in pixels, any, supplied by the data; brought to multiples of 32 that are no smaller.
        channels: image channels, 1 or 3, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        backbone: the pretrained network; efficientnet_lite0 is the paper's.
        weights: the file of its weights; null takes that of `gan-dist[pretrained]`, or that of `gan-dist download`;
            "random" is for trying out.
        resolution: pixels to which the shorter side of smaller images is enlarged, from 64; 224 is what the networks
            were trained on.
        width: channels of the largest mixed map; the others have twice, 4 and 8 times as many.

    Raises:
        ValueError: the weights are not there or of another network; the images have transparency.
    """

    channels_last = True
    couples_batch = True
    sizes: ClassVar[dict[str, int]] = {}
    image_channels: ClassVar[tuple[int, ...]] = (1, 3)
    batch_norm: ClassVar[bool] = True

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        classes: int = 0,
        backbone: Literal["vgg16", "resnet50", "efficientnet_lite0"] = "efficientnet_lite0",
        weights: str | None = None,
        resolution: int = 224,
        width: int = 64,
    ) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise ValueError(f"projected judges images of 1 or 3 channels, not {channels}; set data.channels: 3")
        if resolution < SMALLEST or width < 1:
            raise ValueError(f"resolution must be at least {SMALLEST} and width at least 1, not {resolution}, {width}")
        # The maps are a 4th to a 32nd of the image, each half of the one before.
        enlarged = max(1.0, resolution / min(sides(size)))
        self.shape = tuple(COARSEST * math.ceil(round(side * enlarged, 6) / COARSEST) for side in sides(size))
        self.classes = classes
        # In a list, where torch does not see it: neither saved, nor trained, nor ever in training mode.
        self._taps = [FeatureTaps(backbone, weights)]
        self.mix = CrossScaleMixing(self._taps[0].channels, width)
        short = min(self.shape)
        heads = [Head(inputs, short // 2 ** (scale + 1), classes) for scale, inputs in enumerate(self.mix.channels)]
        self.heads = nn.ModuleList(heads)

    @staticmethod
    def stand_in(args: Mapping[str, Any]) -> tuple[dict[str, Any], str] | None:
        """For a rehearsal: random weights, and a word on it, where those asked for are not at hand."""
        named, name = args.get("weights"), args.get("backbone", "efficientnet_lite0")
        try:
            if named != RANDOM:
                weights_file(name, named)
        except ValueError as error:
            return {"weights": RANDOM}, f"{error}; a rehearsal takes random ones"
        return None

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x = x.expand(-1, 3, -1, -1)
        if x.shape[2:] != self.shape:
            x = F.interpolate(x, self.shape, mode="bilinear", align_corners=False)
        classes = one_hot_classes(cond, self.classes, x) if self.classes else None
        maps = self.mix(self._taps[0](x))
        return torch.cat([head(one, classes) for head, one in zip(self.heads, maps, strict=True)], 1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        # Moved and converted with the rest.
        self._taps[0]._apply(fn)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class CrossScaleMixing(nn.Module):
    """Four maps to four of twice the size by random 1x1 convolutions that are never trained: across channels, then from
    the smallest map on, each added to the next larger one (section 3.2)."""

    def __init__(self, inputs: tuple[int, ...], width: int) -> None:
        super().__init__()
        mixed = [width * 2**scale for scale in range(len(inputs))]
        self.channels = [max(one // 2, width) for one in mixed]
        across = [nn.Conv2d(before, after, 1) for before, after in zip(inputs, mixed, strict=True)]
        self.across = nn.ModuleList(across)
        self.down = nn.ModuleList([nn.Conv2d(*pair, 1) for pair in zip(mixed, self.channels, strict=True)])
        self.apply(_kaiming).requires_grad_(False)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        found: list[Tensor] = []
        for scale in reversed(range(len(maps))):
            x = self.across[scale](maps[scale])
            if found:
                x = x + found[0]
            doubled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            found.insert(0, self.down[scale](doubled))
        return found


class Head(nn.Module):
    """A map [B, C, H, W] with a shorter side of `side` pixels to logits [B, places]: halved until that is about 8, then
    a 4x4 convolution."""

    def __init__(self, inputs: int, side: int, classes: int) -> None:
        super().__init__()
        halvings = max(0, math.floor(math.log2(side / 7)))
        widths = [inputs] + [WIDTHS.get(8 * 2 ** (halvings - 1 - step), 64) for step in range(halvings)]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [SpectralConv(before, after, 4, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        outputs = PROJECTED if classes else 1
        self.body = nn.Sequential(*layers, SpectralConv(widths[-1], outputs, 4, padding=0, bias=False))
        self.embed = _class_vectors(classes, outputs) if classes else None

    def forward(self, x: Tensor, classes: Tensor | None) -> Tensor:
        """`classes` is one-hot, [B, classes]."""
        made: Tensor = self.body(x).flatten(2)
        if self.embed is None:
            return made.squeeze(1)
        return (made * self.embed(classes)[:, :, None]).sum(1) / math.sqrt(PROJECTED)  # type: ignore[no-any-return]


def _class_vectors(classes: int, outputs: int) -> nn.Sequential:
    """One-hot classes [B, classes] to [B, outputs], by a normal vector of each class and a layer."""
    vectors = nn.Linear(classes, EMBEDDED, bias=False)
    nn.init.normal_(vectors.weight)
    return nn.Sequential(vectors, nn.Linear(EMBEDDED, outputs), nn.LeakyReLU(0.2))


def _kaiming(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
