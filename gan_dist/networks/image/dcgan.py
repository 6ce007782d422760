"""DCGAN (Radford, Metz and Chintala 2016, arXiv 1511.06434), for 16 to 256 pixels, of any shape.

Strided convolutions of kernel 4, batch normalisation in both networks except G's output and D's input, ReLU in G
and LeakyReLU(0.2) in D, weights from N(0, 0.02). The width doubles with each halving of the picture, up to eight
times `width`. Classes enter G beside the noise and D by projection (Miyato and Koyama 2018, arXiv 1802.05637).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from gan_dist.distributed.randomness import Rng
from gan_dist.networks.layers.auxiliary import auxiliary_head
from gan_dist.networks.layers.checks import class_logits, one_hot_classes, plan_doublings
from gan_dist.spec.image_size import Size


class Generator(nn.Module):
    """Noise [B, z] to images [B, C, H, W] in (-1, 1).

    Args:
        size: N or (height, width) in pixels, 16 to 256, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        z: dimensions of the normal noise.
        width: channels of the last hidden layer; 64 in the paper's 64-pixel model.
    """

    channels_last = True
    sizes: ClassVar[dict[str, int]] = {"least": 16, "most": 256, "base": 4}
    batch_norm: ClassVar[bool] = True

    def __init__(self, *, size: Size, channels: int, classes: int = 0, z: int = 100, width: int = 64) -> None:
        super().__init__()
        self.z, self.classes = z, classes
        plan = plan_doublings(size, self.sizes, "dcgan")
        widths = _widths(plan.count, width)[::-1]
        parts: list[nn.Module] = [nn.ConvTranspose2d(z + classes, widths[0], plan.base, 1, 0, bias=False)]
        for narrow, wide in zip(widths[1:], widths[:-1], strict=True):
            parts += [
                nn.BatchNorm2d(wide),
                nn.ReLU(inplace=True),
                nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False),
            ]
        parts += [
            nn.BatchNorm2d(widths[-1]),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1),
        ]
        self.body = nn.Sequential(*parts)
        self.apply(_initialise)

    def latent_weights(self) -> list[Tensor]:
        """By what the first layer takes z, [channels and places, z]."""
        first: Any = self.body[0]
        return [first.weight[: self.z].flatten(1).T]

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Standard normal noise [n, z]."""
        return rng.normal(self.z)

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        if self.classes:
            noise = torch.cat([noise, one_hot_classes(cond, self.classes, noise)], dim=1)
        return torch.tanh(self.body(noise[:, :, None, None]))


class Discriminator(nn.Module):
    """Images [B, C, H, W] to logits [B].

    Args:
        size: N or (height, width) in pixels, 16 to 256, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        width: channels of the first layer; 64 in the paper's 64-pixel model.
        norm: "batch" as in the paper, or "none", which gradient penalties need.
        auxiliary: what it says of classes beside, in place of being told them: classes for `auxiliary_classifier`,
            real_fake for `discriminative_classifier`, proxies for `data_to_data`.
    """

    channels_last = True
    sizes: ClassVar[dict[str, int]] = {"least": 16, "most": 256, "base": 4}
    batch_norm: ClassVar[dict[str, str]] = {"norm": "batch"}

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        classes: int = 0,
        width: int = 64,
        norm: Literal["batch", "none"] = "batch",
        auxiliary: Literal["none", "classes", "real_fake", "proxies"] = "none",
    ) -> None:
        super().__init__()
        plan = plan_doublings(size, self.sizes, "dcgan", "judges")
        widths = _widths(plan.count, width)
        parts: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for narrow, wide in pairwise(widths):
            parts.append(nn.Conv2d(narrow, wide, 4, 2, 1, bias=norm == "none"))
            if norm == "batch":
                parts.append(nn.BatchNorm2d(wide))
            parts.append(nn.LeakyReLU(0.2, inplace=True))
        self.body = nn.Sequential(*parts, nn.Flatten())
        features = widths[-1] * math.prod(plan.base)
        self.head = nn.Linear(features, 1)
        self.classifier = auxiliary_head(auxiliary, features, classes)
        self.embed = nn.Linear(classes, features, bias=False) if classes and self.classifier is None else None
        self.classes, self.auxiliary = classes, auxiliary
        self.apply(_initialise)

    def image_blocks(self) -> list[list[nn.Module]]:
        """Each convolution with what normalises it."""
        blocks: list[list[nn.Module]] = []
        for part in self.body:
            if isinstance(part, nn.Conv2d):
                blocks.append([])
            blocks[-1].append(part)
        return blocks

    def classify(self, x: Tensor) -> Tensor:
        """Logits of classes, [B, classes] or [B, 2 classes]."""
        assert self.classifier is not None, "built with `auxiliary` and classes"
        return self.classifier.classify(self.features(x))

    def compare(self, x: Tensor, cond: Tensor | None) -> Tensor:
        """Of each sample its place and its class's on a sphere, [B, 2, d]."""
        assert self.classifier is not None, "built with `auxiliary` and classes"
        return self.classifier.compare(self.features(x), cond)

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.body(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return class_logits(self.features(x, cond), cond, self.head, self.embed)


def _widths(halvings: int, width: int) -> list[int]:
    """Channels after each halving."""
    if width < 1:
        raise ValueError(f"dcgan needs width >= 1, not {width}")
    return [width * min(2**step, 8) for step in range(halvings)]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
