"""Layers that neither learn nor lose magnitude (Huang et al. 2026, R3GAN2; after Karras et al. 2024, arXiv 2312.02696).

Every row of weights has a root mean square of 1 in the forward pass, whatever is stored, and is stored so after each
step. So a learning rate means an angle, and the variance of features stays where it is without normalising features.
Biases and the strengths of noise are further inputs in the same rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.networks.layers.checks import one_hot_classes

EPSILON = 1e-4
SLOPE = 0.2
# Keeps the variance of a standard normal input, whose mean the next layer's centred rows take away.
ACTIVATION_GAIN = 1 / math.sqrt(((1 + SLOPE**2) - (1 - SLOPE) ** 2 / math.pi) / 2)


def normalize_rows(rows: Tensor, centered: bool) -> Tensor:
    """Rows [N, ...] with a root mean square of 1 each and, if `centered`, a mean of 0, in at least float32."""
    dims = tuple(range(1, rows.ndim))
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    if centered:
        wide = wide - wide.mean(dims, keepdim=True)
    return wide / (EPSILON + wide.square().mean(dims, keepdim=True).sqrt())


def activate(x: Tensor) -> Tensor:
    """LeakyReLU(0.2), times what keeps the variance of normal numbers."""
    return F.leaky_relu(x, SLOPE) * ACTIVATION_GAIN


class NormalizedWeight(nn.Module):
    """A weight [N, ...] whose rows are normalised. Called, it gives them divided by the root of their length.

    Args:
        shape: of the weight; each row is one output's.
        centered: whether each row has mean 0 too.
    """

    def __init__(self, *shape: int, centered: bool = True) -> None:
        super().__init__()
        self.centered = centered
        # In float64, so that every processor rounds to the same first weights.
        first = normalize_rows(torch.randn(shape).double(), centered)
        self.weight = nn.Parameter(first.to(torch.get_default_dtype()))

    def forward(self) -> Tensor:
        return normalize_rows(self.weight, self.centered) / math.sqrt(self.weight[0].numel())

    @torch.no_grad()
    def after_step(self) -> None:
        """Store the normalised weight in place of what the optimiser made of it."""
        self.weight.copy_(normalize_rows(self.weight, self.centered))


class BiasedWeight(NormalizedWeight):
    """A weight [outputs, columns + inputs] whose first columns are of a constant 1 and, if `noisy`, of a noise map.

    They come first so that inputs can be added at the end.
    """

    def __init__(self, inputs: int, outputs: int, noisy: bool = False) -> None:
        super().__init__(outputs, 1 + noisy + inputs)
        self.noisy = noisy

    def linear(self, x: Tensor) -> Tensor:
        """[B, inputs] to [B, outputs]."""
        rows = self()
        return F.linear(x, rows[:, 1:], rows[:, 0])

    def convolve(self, x: Tensor, scale: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """Pictures [B, inputs, H, W] to [B, outputs, H, W], place by place.

        Args:
            scale: factor of each input [inputs]; bias and noise have none.
            noise: one map for each sample, [B, 1, H, W]; needed where there is a column of it.
        """
        rows = self()
        data = rows[:, 1 + self.noisy :]
        data = data if scale is None else data * scale
        made = F.conv2d(x, data[:, :, None, None], rows[:, 0])
        if noise is not None:
            made = made + (rows[:, 1, None, None] * noise).to(made.dtype)
        return made


class GroupedWeight(NormalizedWeight):
    """A convolution within groups of channels: [outputs, group, height, width]."""

    def __init__(self, channels: int, group: int, kernel: tuple[int, int], centered: bool = True) -> None:
        super().__init__(channels, group, *kernel, centered=centered)
        self.groups = channels // group

    def convolve(self, x: Tensor, padding: int) -> Tensor:
        return F.conv2d(x, self(), padding=padding, groups=self.groups)

    def spread(self, x: Tensor) -> Tensor:
        """Numbers [B, channels] to maps [B, channels, height, width]: each output is a mix of its group's numbers at
        every place. Divided by the root of the group, as every place sees one number of each."""
        rows = normalize_rows(self.weight, self.centered) / math.sqrt(self.weight.shape[1])
        grouped = rows.view(self.groups, -1, *rows.shape[1:])
        made = torch.einsum("bgi,goihw->bgohw", x.view(len(x), self.groups, -1), grouped)
        return made.flatten(1, 2)


class ClassVectors(NormalizedWeight):
    """A vector [size] of each class, of root mean square 1 and mean 0; all are equal at first."""

    def __init__(self, classes: int, size: int) -> None:
        super().__init__(classes, size)
        with torch.no_grad():
            self.weight.copy_(self.weight[:1].expand_as(self.weight))

    def of(self, cond: Tensor | None, like: Tensor) -> Tensor:
        """Vectors [B, size] of classes [B], or of shares of classes [B, classes]."""
        rows = normalize_rows(self.weight, self.centered)
        return one_hot_classes(cond, len(rows), like) @ rows.to(like.dtype)


class LogitScale(nn.Module):
    """A learned factor of D's logits, by which D may be surer of itself, and which gradient penalties do not see.

    A gradient by D's input has the factor as a constant. So D cannot please R1 and R2 by a smaller one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, logits: Tensor) -> Tensor:
        fixed = self.factor.detach()
        # The second summand is 0. It carries the factor's own gradient, and none by the input.
        return logits * fixed + logits.detach() * (self.factor - fixed)
