"""Pairs of images: stored one above the other by channels, what is to be made first."""

from __future__ import annotations

import torch
from torch import Tensor


def split_pair(pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs [B, 2C, H, W] as what is to be made and what it is made of, both [B, C, H, W]."""
    made, given = pairs.chunk(2, 1)
    return made, given


def in_rows(given: Tensor, made: Tensor, real: Tensor) -> Tensor:
    """Three for each pair, [3B, C, H, W]: the input, what was made of it, and what it should be."""
    return torch.stack([given, made, real], 1).flatten(0, 1)
