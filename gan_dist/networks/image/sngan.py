"""SNGAN's residual networks of CIFAR-10 (Miyato et al. 2018, arXiv 1802.05957, table 4), for 16 to 64 pixels.

G has batch normalisation, by class where there are any (de Vries et al. 2017, arXiv 1707.00683). All layers of D have
spectral normalisation and no other; classes enter it by projection (Miyato and Koyama 2018, arXiv 1802.05637).
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.distributed.randomness import Rng
from gan_dist.networks.layers.auxiliary import auxiliary_head
from gan_dist.networks.layers.checks import class_logits, one_hot_classes, plan_doublings
from gan_dist.networks.layers.spectral_norm import SpectralConv, SpectralLinear
from gan_dist.spec.image_size import Size


class Generator(nn.Module):
    """Noise [B, z] to images [B, C, H, W] in (-1, 1).

    Args:
        size: N or (height, width) in pixels, 16 to 64, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        z: dimensions of the normal noise.
        width: channels of every layer.
    """

    channels_last = True
    sizes: ClassVar[dict[str, int]] = {"least": 16, "most": 64, "base": 4}
    batch_norm: ClassVar[bool] = True

    def __init__(self, *, size: Size, channels: int, classes: int = 0, z: int = 128, width: int = 256) -> None:
        super().__init__()
        plan = plan_doublings(size, self.sizes, "sngan")
        _check_width(width)
        self.z, self.classes, self.shape = z, classes, (width, *plan.base)
        self.first = nn.Linear(z, math.prod(self.shape))
        self.blocks = nn.ModuleList([UpBlock(width, classes) for _ in range(plan.count)])
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.xavier_uniform_(self.first.weight)
        nn.init.zeros_(self.first.bias)
        _xavier(self.last, gain=1.0)

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Standard normal noise [n, z]."""
        return rng.normal(self.z)

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        classes = one_hot_classes(cond, self.classes, noise) if self.classes else None
        x = self.first(noise).view(-1, *self.shape)
        for block in self.blocks:
            x = block(x, classes)
        return torch.tanh(self.last(F.relu(self.norm(x))))


class Discriminator(nn.Module):
    """Images [B, C, H, W] to logits [B].

    Args:
        size: N or (height, width) in pixels, 16 to 64, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        width: channels of every layer.
        auxiliary: what it says of classes beside, in place of being told them: classes for `auxiliary_classifier`,
            real_fake for `discriminative_classifier`, proxies for `data_to_data`.
    """

    channels_last = True
    sizes: ClassVar[dict[str, int]] = {"least": 16, "most": 64, "base": 4}

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        classes: int = 0,
        width: int = 128,
        auxiliary: Literal["none", "classes", "real_fake", "proxies"] = "none",
    ) -> None:
        super().__init__()
        halvings = plan_doublings(size, self.sizes, "sngan", "judges").count - 1
        _check_width(width)
        self.first = FirstBlock(channels, width)
        downs = [DownBlock(width, halved=True) for _ in range(halvings - 1)]
        self.blocks = nn.Sequential(*downs, DownBlock(width, halved=False), DownBlock(width, halved=False))
        self.head = SpectralLinear(width, 1)
        self.classifier = auxiliary_head(auxiliary, width, classes, SpectralLinear)
        projects = classes and self.classifier is None
        self.embed = SpectralLinear(classes, width, bias=False) if projects else None
        self.classes, self.auxiliary = classes, auxiliary

    def classify(self, x: Tensor) -> Tensor:
        """Logits of classes, [B, classes] or [B, 2 classes]."""
        assert self.classifier is not None, "built with `auxiliary` and classes"
        return self.classifier.classify(self.features(x))

    def compare(self, x: Tensor, cond: Tensor | None) -> Tensor:
        """Of each sample its place and its class's on a sphere, [B, 2, d]."""
        assert self.classifier is not None, "built with `auxiliary` and classes"
        return self.classifier.compare(self.features(x), cond)

    def image_blocks(self) -> list[list[nn.Module]]:
        """The residual blocks."""
        return [[block] for block in (self.first, *self.blocks)]

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return F.relu(self.blocks(self.first(x))).sum((2, 3))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return class_logits(self.features(x, cond), cond, self.head, self.embed)


class UpBlock(nn.Module):
    """[B, C, H, W] to [B, C, 2H, 2W]: norm, ReLU, double, 3x3, norm, ReLU, 3x3; beside it double, 1x1."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([ClassBatchNorm(width, classes), ClassBatchNorm(width, classes)])
        self.convs = nn.ModuleList([_xavier(nn.Conv2d(width, width, 3, padding=1)) for _ in range(2)])
        self.aside = _xavier(nn.Conv2d(width, width, 1), gain=1.0)

    def forward(self, x: Tensor, classes: Tensor | None) -> Tensor:
        inner = _doubled(F.relu(self.norms[0](x, classes)))
        inner = F.relu(self.norms[1](self.convs[0](inner), classes))
        # A 1x1 convolution before doubling is the same, and a quarter of the work.
        return self.convs[1](inner) + _doubled(self.aside(x))  # type: ignore[no-any-return]


class ClassBatchNorm(nn.Module):
    """Batch normalisation with a scale and shift for each class, or one for all without classes."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.scale = nn.Parameter(torch.ones(max(classes, 1), width))
        self.shift = nn.Parameter(torch.zeros(max(classes, 1), width))

    def forward(self, x: Tensor, classes: Tensor | None) -> Tensor:
        """`classes` is one-hot, [B, classes]."""
        scale: Tensor = self.scale
        shift: Tensor = self.shift
        if classes is not None:
            scale, shift = classes @ scale, classes @ shift
        return self.norm(x) * scale[:, :, None, None] + shift[:, :, None, None]  # type: ignore[no-any-return]


class FirstBlock(nn.Module):
    """D's first block, [B, inputs, H, W] to [B, width, H/2, W/2]: 3x3, ReLU, 3x3, halve; beside it halve, 1x1."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(SpectralConv(inputs, width, 3), nn.ReLU(), SpectralConv(width, width, 3))
        self.aside = SpectralConv(inputs, width, 1, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.body(x), 2) + self.aside(F.avg_pool2d(x, 2))  # type: ignore[no-any-return]


class DownBlock(nn.Module):
    """ReLU, 3x3, ReLU, 3x3 and, if halved, the mean of each 2x2; beside it the picture itself, or 1x1 and halve."""

    def __init__(self, width: int, halved: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.ReLU(), SpectralConv(width, width, 3), nn.ReLU(), SpectralConv(width, width, 3))
        self.aside = SpectralConv(width, width, 1, gain=1.0) if halved else None

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.body(x)
        if self.aside is None:
            return made + x
        # The mean may be taken before a 1x1 convolution, which then has a quarter of the work.
        return F.avg_pool2d(made, 2) + self.aside(F.avg_pool2d(x, 2))  # type: ignore[no-any-return]


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _xavier(conv: nn.Conv2d, gain: float = math.sqrt(2)) -> nn.Conv2d:
    nn.init.xavier_uniform_(conv.weight, gain)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def _check_width(width: int) -> None:
    if width < 1:
        raise ValueError(f"sngan needs width >= 1, not {width}")
