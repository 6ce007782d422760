"""Doubling and halving pictures with the smooth filter [1, 3, 3, 1] (Karras et al. 2020, arXiv 1912.04958), and filters
alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Upsample(nn.Module):
    """[B, C, H, W] to [B, C, 2H, 2W]: bilinear, with zeros around the picture."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", 4 * _kernel(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        return F.conv_transpose2d(x, _for_each(self.kernel, x), stride=2, padding=1, groups=channels)


class Downsample(nn.Module):
    """[B, C, H, W] to [B, C, H/2, W/2]: a bilinear picture of half the size, with zeros around the big one."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", _kernel(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, _for_each(self.kernel, x), stride=2, padding=1, groups=x.shape[1])


def blur(x: Tensor, padding: int, gain: float = 1.0) -> Tensor:
    """The filter alone, [B, C, H, W] to [B, C, H + 2 padding - 3, W + 2 padding - 3], with zeros around the picture."""
    kernel = (gain * _kernel()).to(x.device, x.dtype)
    return F.conv2d(x, _for_each(kernel, x), padding=padding, groups=x.shape[1])


def smooth(x: Tensor) -> Tensor:
    """The filter [1, 2, 1] alone, [B, C, H, W] to the same, with zeros around the picture."""
    row = torch.tensor([1.0, 2.0, 1.0], device=x.device, dtype=x.dtype) / 4
    return F.conv2d(x, (row[:, None] * row).expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])


def _kernel() -> Tensor:
    """[4, 4], of sum 1."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return row[:, None] * row


def _for_each(kernel: Tensor, x: Tensor) -> Tensor:
    """One filter for each channel of `x`: [C, 1, 4, 4]."""
    return kernel.expand(x.shape[1], 1, 4, 4)
