"""Self-attention over the places of a map (Zhang et al. 2019, arXiv 1805.08318, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.networks.layers.spectral_norm import SpectralConv

NARROWER = 8


class SelfAttention(nn.Module):
    """x + gamma v(sum_i b_ji h(x_i)), b_ji a softmax over i of f(x_i).g(x_j); gamma begins at 0 (equations 1 to 3).

    Maps [B, C, H, W] stay of that shape. All four have spectral normalisation.

    Args:
        width: channels; f and g have an eighth of them.
        values: what part of them h has: an eighth, or half in BigGAN.
        pooled: whether only the largest key and value of each 2x2 places are looked at, as in BigGAN.
    """

    def __init__(self, width: int, values: int = NARROWER, pooled: bool = False) -> None:
        super().__init__()
        inner, outer = max(1, width // NARROWER), max(1, width // values)
        self.pooled = pooled
        self.f, self.g, self.h = (
            SpectralConv(width, narrow, 1, gain=1.0, bias=False) for narrow in (inner, inner, outer)
        )
        self.v = SpectralConv(outer, width, 1, gain=1.0, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        found = self.f(x), self.h(x)
        keys, values = (F.max_pool2d(one, 2).flatten(2) if self.pooled else one.flatten(2) for one in found)
        queries = self.g(x).flatten(2)
        shares = torch.softmax(queries.mT @ keys, 2)
        mixed = (values @ shares.mT).view(len(x), -1, *x.shape[2:])
        return x + self.gamma * self.v(mixed)  # type: ignore[no-any-return]
