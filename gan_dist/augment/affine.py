"""Pictures under any affine map, with little aliasing (Karras et al. 2020, arXiv 2006.06676, appendix B.2).

The picture is doubled with the wavelet filter sym6, looked up between its pixels, and halved with the same filter
backwards. As the filter is orthonormal to its own shifts by two, a map that moves nothing gives the picture back.
Everything is linear in the picture, so it differentiates any number of times.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
TAPS = len(SYM6)
# Where the filter's weight lies: it delays what it filters by so many pixels of the doubled picture.
DELAY = sum(k * tap for k, tap in enumerate(SYM6)) / sum(SYM6)
# How far beyond the edges the halving filter looks, in pixels of the doubled picture, and the pixels which that takes.
REACH = TAPS // 2
MARGIN = TAPS // 2 + REACH // 2
BILINEAR, BORDER = 0, 1  # as `torch.ops` numbers them


def resample_affine(x: Tensor, source: Tensor) -> Tensor:
    """[B, C, N, N] at the places where `source` says that each pixel comes from; beyond its edges it is mirrored.

    Args:
        x: pictures of any size.
        source: affine maps [B, 2, 3] from places in the result to places in `x`, as (right, down) in [-1, 1] between
            the outer edges; not differentiated.
    """
    size = x.shape[-1]
    doubled = _doubled(_mirrored(x))
    # In pixels of the doubled picture, from the middle: `place` of what is filtered, `come` of where it comes from.
    steps = torch.arange(2 * size + TAPS - 2, device=x.device, dtype=x.dtype) - DELAY - (size - 1)
    place = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    come = place @ source[:, None, :, :2].mT + size * source[:, None, None, :, 2]
    # A little beyond the edges the margin is looked up as it is: to the filter, not symmetric, a mirror is not that.
    come = torch.where(come.abs() <= size + REACH, come, _folded(come, size)) + DELAY + (size - 1) + 2 * MARGIN
    grid = (2 * come + 1) / doubled.shape[-1] - 1
    return _halved(torch.as_tensor(_LookedUp.apply(doubled, grid)))


class _LookedUp(torch.autograd.Function):
    """Pictures [B, C, H, W] at places [B, h, w, 2], linearly between their pixels. Torch differentiates this by the
    picture twice since some release after 2.11 only; the gradient of the gradient is again a looking up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(x, grid)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Any, None]:
        x, grid = ctx.saved_tensors
        return _GivenBack.apply(slope, x.detach(), grid), None


class _GivenBack(torch.autograd.Function):
    """The gradient by the pictures, which is linear in that by what was looked up."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, x: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        found = torch.ops.aten.grid_sampler_2d_backward(slope, x, grid, BILINEAR, BORDER, False, [True, False])
        return torch.as_tensor(found[0])

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Any, None, None]:
        (grid,) = ctx.saved_tensors
        return _LookedUp.apply(slope, grid), None, None


def _folded(place: Tensor, size: int) -> Tensor:
    """Places in a picture that reaches from -size to size and is mirrored beyond."""
    return (torch.remainder(place - size, 4 * size) - 2 * size).abs() - size


def _mirrored(x: Tensor) -> Tensor:
    """With a margin of mirrored pixels."""
    size = x.shape[-1]
    along = torch.arange(-MARGIN, size + MARGIN, device=x.device).remainder(2 * size)
    along = torch.minimum(along, 2 * size - 1 - along)
    return x.index_select(2, along).index_select(3, along)


def _doubled(x: Tensor) -> Tensor:
    row, column = _filters(x)
    flat = x.flatten(0, 1)[:, None]
    flat = F.conv_transpose2d(F.conv_transpose2d(flat, row, stride=(1, 2)), column, stride=(2, 1))
    return flat.view(*x.shape[:2], *flat.shape[2:])


def _halved(x: Tensor) -> Tensor:
    row, column = _filters(x)
    flat = F.conv2d(F.conv2d(x.flatten(0, 1)[:, None], row, stride=(1, 2)), column, stride=(2, 1))
    return flat.view(*x.shape[:2], *flat.shape[2:])


def _filters(like: Tensor) -> tuple[Tensor, Tensor]:
    taps = torch.tensor(SYM6, dtype=like.dtype, device=like.device)
    return taps.view(1, 1, 1, TAPS), taps.view(1, 1, TAPS, 1)
