"""Affine maps of colour, one for each picture, as matrices [B, 4, 4] on (red, green, blue, 1) in [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

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
