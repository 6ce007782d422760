"""Features of a fixed random network: nothing to download, equal on every machine, meant for comparing runs."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.spec.image_size import Size, show_size, sides

WIDTH = 32
SEED = 2015


class RandomNetwork(nn.Module):
    """Convolutions of 3x3 with fixed normal weights, halving the picture down to 2 or 3 pixels of its shorter side.

    Each stage's activations, averaged over the four quarters of the picture, are features: 128 a stage, 512 at 16
    pixels. Colour statistics, edges and coarse layout move them; meaning does not.

    Args:
        size: N or (height, width) of the images, at least 8.
    """

    sizes: ClassVar[dict[str, int]] = {"least": 8}

    def __init__(self, *, size: Size) -> None:
        super().__init__()
        if min(sides(size)) < 8:
            raise ValueError(f"images of {show_size(size)} pixels are too small for features 'random'; at least 8")
        # numpy promises that this generator gives the same numbers for ever; torch does not.
        numbers = np.random.RandomState(SEED)
        for stage in range(int(math.log2(min(sides(size))))):
            inputs = WIDTH if stage else 3
            scale = math.sqrt(2 / (9 * inputs))
            weight = torch.from_numpy(numbers.standard_normal((WIDTH, inputs, 3, 3)) * scale)
            self.register_buffer(f"weight_{stage}", weight.float())

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W], grey or RGB, to features [B, d]."""
        x = (pixels.float() / 127.5 - 1).expand(-1, 3, -1, -1)
        found = []
        for weight in self.buffers():
            x = F.leaky_relu(F.conv2d(x, weight, padding=1), 0.2)
            found.append(F.adaptive_avg_pool2d(x, 2).flatten(1))
            x = F.avg_pool2d(x, 2)
        return torch.cat(found, 1)
