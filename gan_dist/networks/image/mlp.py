"""Fully connected generator and discriminator, as in the first GAN (Goodfellow et al. 2014, arXiv 1406.2661)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gan_dist.distributed.randomness import Rng
from gan_dist.networks.layers.checks import one_hot_classes
from gan_dist.spec.image_size import Size, sides


class Generator(nn.Module):
    """Noise [B, z] to images [B, C, H, W] in (-1, 1).

    Args:
        size: N or (height, width) in pixels, any, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data; given to the first layer as one-hot.
        z: dimensions of the normal noise.
        hidden: units of each hidden layer.
        layers: hidden layers.
    """

    sizes: ClassVar[dict[str, int]] = {}

    def __init__(
        self, *, size: Size, channels: int, classes: int = 0, z: int = 64, hidden: int = 256, layers: int = 3
    ) -> None:
        super().__init__()
        self.shape = (channels, *sides(size))
        self.z, self.classes = z, classes
        self.body = _layers(z + classes, hidden, layers, math.prod(self.shape), nn.ReLU())

    def latent_weights(self) -> list[Tensor]:
        """By what the first layer takes z, [hidden, z]."""
        first: Any = self.body[0]
        return [first.weight[:, : self.z]]

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Standard normal noise [n, z]."""
        return rng.normal(self.z)

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        if self.classes:
            noise = torch.cat([noise, one_hot_classes(cond, self.classes, noise)], dim=1)
        return torch.tanh(self.body(noise)).view(-1, *self.shape)


class Discriminator(nn.Module):
    """Images [B, C, H, W] to logits [B].

    Args:
        size: N or (height, width) in pixels, any, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data; given to the first layer as one-hot.
        hidden: units of each hidden layer.
        layers: hidden layers.
    """

    sizes: ClassVar[dict[str, int]] = {}

    def __init__(self, *, size: Size, channels: int, classes: int = 0, hidden: int = 256, layers: int = 3) -> None:
        super().__init__()
        self.classes = classes
        self.body = _layers(channels * math.prod(sides(size)) + classes, hidden, layers, 1, nn.LeakyReLU(0.2))

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        flat = x.flatten(1)
        if self.classes:
            flat = torch.cat([flat, one_hot_classes(cond, self.classes, flat)], dim=1)
        return self.body[:-1](flat)  # type: ignore[no-any-return]

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.body[-1](self.features(x, cond)).squeeze(1)  # type: ignore[no-any-return]


def _layers(inputs: int, hidden: int, layers: int, outputs: int, activation: nn.Module) -> nn.Sequential:
    if layers < 1 or hidden < 1:
        raise ValueError(f"mlp needs at least one layer of one unit, not layers={layers}, hidden={hidden}")
    parts: list[nn.Module] = []
    for width in [hidden] * layers:
        parts += [nn.Linear(inputs, width), activation]
        inputs = width
    return nn.Sequential(*parts, nn.Linear(inputs, outputs))
