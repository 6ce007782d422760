"""Layers of StyleGAN2: an equalised learning rate, and convolutions whose weights each sample scales by its style."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.networks.layers.checks import full_precision
from gan_dist.networks.layers.resample import blur

SLOPE = 0.2


class EqualLinear(nn.Module):
    """[B, inputs] to [B, outputs].

    Args:
        inputs, outputs: features.
        bias: where biases begin.
        rate: factor of the learning rate; 0.01 in StyleGAN's mapping network.
        active: whether LeakyReLU follows.
    """

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0, active: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.gain, self.rate, self.active = rate / math.sqrt(inputs), rate, active

    def forward(self, x: Tensor) -> Tensor:
        made = F.linear(x, self.weight * self.gain, self.bias * self.rate)
        return scaled_leaky_relu(made) if self.active else made


class EqualConv(nn.Module):
    """[B, inputs, H, W] to [B, outputs, H, W], or to half the height and width with `halve`.

    Args:
        inputs, outputs: channels.
        kernel: 1 or 3.
        halve: whether pictures are smoothed and halved first.
        bias: whether there is one.
        active: whether LeakyReLU follows.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, halve: bool = False, bias: bool = True, active: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.gain, self.halve, self.active = 1 / math.sqrt(inputs * kernel**2), halve, active

    def forward(self, x: Tensor) -> Tensor:
        weight, edge = self.weight * self.gain, self.weight.shape[-1] // 2
        if self.halve:
            made = F.conv2d(blur(x, padding=1 + edge), weight, self.bias, stride=2)
        else:
            made = F.conv2d(x, weight, self.bias, padding=edge)
        return scaled_leaky_relu(made) if self.active else made


def scaled_leaky_relu(x: Tensor) -> Tensor:
    """LeakyReLU(0.2), times sqrt(2)."""
    return F.leaky_relu(x, SLOPE) * math.sqrt(2)


def normalize_2nd_moment(x: Tensor) -> Tensor:
    """Each row of [B, n] scaled to a mean square of 1."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class StyledConv(nn.Module):
    """Convolutions whose weights each sample scales by its style (Karras et al. 2020, arXiv 1912.04958, section 2.2).

    [B, inputs, H, W] to [B, outputs, H, W], or twice as high and wide with `doubled`: a modulated 3x3 convolution,
    noise, LeakyReLU.
    """

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
