"""Differentiable changes of pictures [B, C, H, W], one choice for each picture.

`resample_affine` applies any affine map with little aliasing (Karras et al. 2020, arXiv 2006.06676, appendix B.2): the
picture is doubled with the wavelet filter sym6, looked up between its pixels, and halved with the same filter
backwards. As the filter is orthonormal to its own shifts by two, a map that moves nothing gives the picture back.
Colours are changed by affine maps as matrices [B, 4, 4] on (red, green, blue, 1) in [-1, 1]. The others move or remove
whole pixels, exactly. Everything is linear in the picture, so it differentiates any number of times.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """[B, C, H, W] at the places where `source` says that each pixel comes from; beyond its edges it is mirrored.

    Args:
        x: pictures of any size.
        source: affine maps [B, 2, 3] from places in the result to places in `x`, as (right, down) from the middle: a
            matrix, which turns and scales pixels, and a shift in halves of width and height; not differentiated.
    """
    lengths = x.shape[3], x.shape[2]
    doubled = _doubled(_mirrored(x))
    # In pixels of the doubled picture, from the middle: `place` of what is filtered, `come` of where it comes from.
    steps = [
        torch.arange(2 * length + TAPS - 2, device=x.device, dtype=x.dtype) - DELAY - (length - 1) for length in lengths
    ]
    place = torch.stack(torch.meshgrid(*steps, indexing="xy"), -1)
    turned = place @ source[:, None, :, :2].mT
    grid = []
    for axis, length in enumerate(lengths):
        come = turned[..., axis] + length * source[:, None, None, axis, 2]
        # A little beyond the edges the margin is looked up as it is: to a filter without symmetry a mirror is not that.
        come = torch.where(come.abs() <= length + REACH, come, _folded(come, length))
        grid.append((2 * (come + DELAY + (length - 1) + 2 * MARGIN) + 1) / doubled.shape[3 - axis] - 1)
    return _halved(torch.as_tensor(_LookedUp.apply(doubled, torch.stack(grid, -1))))


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
    for axis in (2, 3):
        size = x.shape[axis]
        along = torch.arange(-MARGIN, size + MARGIN, device=x.device).remainder(2 * size)
        x = x.index_select(axis, torch.minimum(along, 2 * size - 1 - along))
    return x


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


# The direction of grey among the colours.
LUMA = 3**-0.5


def brightness(by: Tensor) -> Tensor:
    """Adds `by` [B] to each channel."""
    made = _identity(by)
    made[:, :3, 3] = by[:, None]
    return made


def contrast(by: Tensor) -> Tensor:
    """Multiplies each channel by `by` [B]."""
    made = _identity(by)
    made[:, :3, :3] *= by[:, None, None]
    return made


def luma_flip(which: Tensor) -> Tensor:
    """Mirrors brightness and keeps the colour where `which` [B] is 1, not where it is 0."""
    return _identity(which) - 2 * which[:, None, None] * _grey(which)


def hue(angle: Tensor) -> Tensor:
    """Turns colours about grey by `angle` [B] in radians (Rodrigues' formula)."""
    grey = _grey(angle)
    cross = torch.zeros_like(grey)
    cross[:, [0, 1, 2], [1, 2, 0]] = -LUMA
    cross[:, [1, 2, 0], [0, 1, 2]] = LUMA
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return grey + cosine * (_identity(angle) - grey) + sine * cross + (1 - cosine) * _corner(angle)


def saturation(by: Tensor) -> Tensor:
    """Multiplies the distance from grey by `by` [B]."""
    grey = _grey(by)
    return grey + by[:, None, None] * (_identity(by) - grey) + (1 - by[:, None, None]) * _corner(by)


def apply_color_matrix(x: Tensor, matrix: Tensor) -> Tensor:
    """Pictures [B, C, H, W] under maps [B, 4, 4]. A grey one is taken for three equal channels and stays grey; the
    fourth channel, transparency, stays as it is."""
    colours = x[:, :3].expand(-1, 3, -1, -1)
    made = torch.einsum("bij,bjhw->bihw", matrix[:, :3, :3], colours) + matrix[:, :3, 3, None, None]
    if x.shape[1] == 1:
        return made.mean(1, keepdim=True)
    return torch.cat([made, x[:, 3:]], 1)


def _identity(like: Tensor) -> Tensor:
    return torch.eye(4, dtype=like.dtype, device=like.device).repeat(len(like), 1, 1)


def _grey(like: Tensor) -> Tensor:
    """The projection of colours on grey."""
    grey = torch.zeros(len(like), 4, 4, dtype=like.dtype, device=like.device)
    grey[:, :3, :3] = 1 / 3
    return grey


def _corner(like: Tensor) -> Tensor:
    """The one that keeps the constant."""
    corner = torch.zeros(len(like), 4, 4, dtype=like.dtype, device=like.device)
    corner[:, 3, 3] = 1
    return corner


def flip(x: Tensor, which: Tensor) -> Tensor:
    """Mirrored left to right where `which` [B] is true."""
    return torch.where(which[:, None, None, None], x.flip(3), x)


def rotate_quarters(x: Tensor, quarters: Tensor) -> Tensor:
    """Turned anticlockwise by 0 to 3 `quarters` [B] of a circle; pictures that are no squares only by 0 or 2."""
    for quarter in (1, 2, 3) if x.shape[2] == x.shape[3] else (2,):
        x = torch.where((quarters == quarter)[:, None, None, None], x.rot90(quarter, (2, 3)), x)
    return x


def whole_shifts(uniform: Tensor, most: Sequence[int]) -> Tensor:
    """Uniform numbers [B, 2] in [0, 1) as whole ones from -most to most, of right and down."""
    return torch.stack([(uniform[:, axis] * (2 * by + 1)).floor().long() - by for axis, by in enumerate(most)], 1)


def shift_pixels(x: Tensor, shift: Tensor, mirrored: bool) -> Tensor:
    """Moved by whole pixels, `shift` [B, 2] right and down; the picture continues mirrored, or else with zeros."""
    for axis, by in ((3, shift[:, 0]), (2, shift[:, 1])):
        size = x.shape[axis]
        source = torch.arange(size, device=x.device) - by[:, None]
        inside = (source >= 0) & (source < size)
        view = [len(x), 1, 1, 1]
        view[axis] = size
        x = x.gather(axis, _reflected(source, size).view(view).expand_as(x))
        if not mirrored:
            x = x * inside.view(view)
    return x


SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
BANDS = 4


def scale_bands(x: Tensor, gains: Tensor) -> Tensor:
    """Pictures whose four bands of frequency, each an octave but the lowest, are multiplied by `gains` [B, 4], the
    lowest first; the picture continues mirrored. The bands of the wavelet sym2 add up to the picture (Karras et al.
    2020, arXiv 2006.06676, appendix B.2)."""
    taps = gains.to(x.dtype) @ band_filters().to(x.device, x.dtype)
    reach = taps.shape[1] // 2
    for axis in (2, 3):
        along = torch.arange(-reach, x.shape[axis] + reach, device=x.device)
        padded = x.index_select(axis, _reflected(along, x.shape[axis]))
        shape = [len(x), 1, 1, 1]
        shape[axis] = taps.shape[1]
        # One group for each picture: of channels as the batch, the filters differ by group.
        flat = padded.transpose(0, 1)
        x = F.conv2d(flat, taps.view(shape), groups=len(x)).transpose(0, 1)
    return x


def band_filters() -> Tensor:
    """Symmetric filters of the four bands, [4, 43], in float64. Each is the halfband filter of one octave, and low-pass
    filters of the octaves above it."""
    low = torch.tensor(SYM2, dtype=torch.float64)
    high = low * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    halfband, upper = (_convolved(one, one.flip(0)) / 2 for one in (low, high))
    filters = [torch.ones(1, dtype=torch.float64)]
    for _ in range(BANDS - 1):
        filters = [_convolved(_spread(one), halfband) for one in filters] + [upper]
    length = max(map(len, filters))
    return torch.stack([F.pad(one, ((length - len(one)) // 2,) * 2) for one in filters])


def _spread(taps: Tensor) -> Tensor:
    """A filter of twice the length and half the frequency: zeros between its taps."""
    spread = taps.new_zeros(2 * len(taps) - 1)
    spread[::2] = taps
    return spread


def _convolved(one: Tensor, other: Tensor) -> Tensor:
    padded = F.pad(one, (len(other) - 1,) * 2)
    return F.conv1d(padded[None, None], other.flip(0)[None, None])[0, 0]


def cutout(x: Tensor, centre: Tensor, share: float) -> Tensor:
    """Zero in a hole of `share` of height and width; `centre` [B, 2] in [0, 1) says which pixel, down and right, it is
    around."""
    within = []
    for axis, size in enumerate(x.shape[2:]):
        hole = round(share * size)
        first = (centre[:, axis] * (size + (1 - hole % 2))).floor() - hole // 2
        distance = torch.arange(size, device=x.device) - first[:, None]
        within.append((distance >= 0) & (distance < hole))
    return x * ~(within[0][:, None, :, None] & within[1][:, None, None, :])


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices of a picture that is continued by its mirror images, without its border twice."""
    period = max(2 * size - 2, 1)
    folded = index.remainder(period)
    return torch.minimum(folded, period - folded)
