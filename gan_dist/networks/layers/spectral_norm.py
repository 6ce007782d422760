"""Convolution and linear layer with spectral normalisation (Miyato et al. 2018, arXiv 1802.05957, algorithm 1).

The weight is divided by an estimate u W v of its largest singular value. The vectors u and v are buffers and make one
step of power iteration in `before_step`, which the loop calls once before each step of the network; a forward pass
never moves them. So every pass of a step sees the same weights, and workers and resumed runs have the same vectors.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ITERATIONS_AT_FIRST = 15


class SpectralConv(nn.Conv2d):
    """[B, inputs, H, W] to [B, outputs, H, W]; Xavier-uniform weights, biases 0.

    Args:
        inputs, outputs: channels.
        kernel: its height and width.
        gain: factor of the initial weights.
        stride: of how many places one is kept.
        padding: zeros around the picture; by default those that keep its size with an odd kernel.
        bias: whether there is one.
    """

    u: Tensor
    v: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        gain: float = math.sqrt(2),
        stride: int = 1,
        padding: int | None = None,
        bias: bool = True,
    ) -> None:
        padding = kernel // 2 if padding is None else padding
        super().__init__(inputs, outputs, kernel, stride=stride, padding=padding, bias=bias)
        nn.init.xavier_uniform_(self.weight, gain)
        initialize_vectors(self)

    def before_step(self) -> None:
        power_iteration(self.weight, self.u, self.v)

    def forward(self, x: Tensor) -> Tensor:
        weight = normalize_spectral(self.weight, self.u, self.v)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class SpectralLinear(nn.Linear):
    """[B, inputs] to [B, outputs]; Xavier-uniform weights, biases 0."""

    u: Tensor
    v: Tensor

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        nn.init.xavier_uniform_(self.weight)
        initialize_vectors(self)

    def before_step(self) -> None:
        power_iteration(self.weight, self.u, self.v)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, normalize_spectral(self.weight, self.u, self.v), self.bias)


def initialize_vectors(layer: SpectralConv | SpectralLinear) -> None:
    """Zero the bias, and give the layer vectors that are near those of its largest singular value."""
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    outputs, inputs = layer.weight.flatten(1).shape
    u, v = torch.randn(outputs), torch.randn(inputs)
    # In float64, and rounded: the last digits of a float32 product depend on the processor.
    weight, exact_u, exact_v = layer.weight.detach().double(), u.double(), v.double()
    # Of preflight's networks on the meta device, which have no numbers, only the shapes count.
    for _ in range(0 if weight.is_meta else ITERATIONS_AT_FIRST):
        power_iteration(weight, exact_u, exact_v)
    layer.register_buffer("u", u.copy_(exact_u))
    layer.register_buffer("v", v.copy_(exact_v))


@torch.no_grad()
def power_iteration(weight: Tensor, u: Tensor, v: Tensor) -> None:
    """One step of power iteration, in place. `weight` is [outputs, ...], u [outputs], v the rest of it."""
    matrix = weight.flatten(1)
    v.copy_(F.normalize(matrix.T @ u, dim=0))
    u.copy_(F.normalize(matrix @ v, dim=0))


def normalize_spectral(weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """weight / (u W v). The gradient flows through the estimate too, with u and v constant (equation 12)."""
    # Written without a matrix product, which autocast would round to bfloat16.
    sigma = (weight.flatten(1) * (u[:, None] * v)).sum()
    return weight / sigma
