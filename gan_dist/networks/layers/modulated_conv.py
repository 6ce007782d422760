"""Convolutions whose weights each sample scales by its style (Karras et al. 2020, arXiv 1912.04958, section 2.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.networks.layers.checks import full_precision
from gan_dist.networks.layers.equalized import EqualLinear, scaled_leaky_relu
from gan_dist.networks.layers.resample import blur


class StyledConv(nn.Module):
    """[B, inputs, H, W] to [B, outputs, H, W], or twice as high and wide with `doubled`: a modulated 3x3 convolution,
    noise, LeakyReLU."""

    def __init__(self, inputs: int, outputs: int, w: int, doubled: bool = False) -> None:
        super().__init__()
        self.style = EqualLinear(w, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.strength = nn.Parameter(torch.zeros(()))
        self.doubled = doubled

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        x = modulated_conv2d(x, self.weight, self.style(style), self.doubled)
        return scaled_leaky_relu(x + self.strength * noise + self.bias[:, None, None])


class ToRGB(nn.Module):
    """[B, inputs, H, W] to a picture [B, C, H, W]: modulated, not demodulated."""

    def __init__(self, inputs: int, channels: int, w: int) -> None:
        super().__init__()
        self.style = EqualLinear(w, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale = self.style(style)[:, :, None, None] / math.sqrt(x.shape[1])
        return F.conv2d(x * scale, self.weight, self.bias)


def modulated_conv2d(x: Tensor, weight: Tensor, style: Tensor, doubled: bool = False) -> Tensor:
    """Convolution of each sample with its own weights: scaled by its style, then to unit length for each output.

    Written as scaling what goes in and what comes out of one convolution for all (equations 1 and 3).

    Args:
        x: [B, inputs, H, W].
        weight: [outputs, inputs, 3, 3].
        style: [B, inputs].
        doubled: whether the picture becomes twice as high and wide, and smoothed.
    """
    with full_precision(x):
        lengths = style.square().to(weight.dtype) @ weight.square().sum((2, 3)).T
        scale = (lengths + 1e-8).rsqrt()[:, :, None, None]
    x = x * style[:, :, None, None]
    if doubled:
        # A transposed convolution and then the filter: as the other way round, for a quarter of the work.
        x = blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), padding=1, gain=4.0)
    else:
        x = F.conv2d(x, weight, padding=1)
    return x * scale
