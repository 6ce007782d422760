"""Changes that move or remove whole pixels: exact, and linear in the picture, so any derivative of them is right.

Pictures are [B, C, H, W] and square; choices are one for each picture, [B].
"""

from __future__ import annotations

import torch
from torch import Tensor


def flip(x: Tensor, which: Tensor) -> Tensor:
    """Mirrored left to right where `which` [B] is true."""
    return torch.where(which[:, None, None, None], x.flip(3), x)


def rotate_quarters(x: Tensor, quarters: Tensor) -> Tensor:
    """Turned anticlockwise by 0 to 3 `quarters` [B] of a circle."""
    for quarter in (1, 2, 3):
        x = torch.where((quarters == quarter)[:, None, None, None], x.rot90(quarter, (2, 3)), x)
    return x


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


def cutout(x: Tensor, centre: Tensor, share: float) -> Tensor:
    """Zero in a square of `share` of the side; `centre` [B, 2] in [0, 1) says which pixel it is around."""
    size = x.shape[-1]
    hole = round(share * size)
    first = (centre * (size + (1 - hole % 2))).floor() - hole // 2
    distance = torch.arange(size, device=x.device) - first[:, :, None]
    within = (distance >= 0) & (distance < hole)
    return x * ~(within[:, 0, None, :, None] & within[:, 1, None, None, :])


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices of a picture that is continued by its mirror images, without its border twice."""
    period = max(2 * size - 2, 1)
    folded = index.remainder(period)
    return torch.minimum(folded, period - folded)
