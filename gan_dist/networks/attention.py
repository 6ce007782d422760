"""Self-attention over the places of a map (Zhang et al. 2019, arXiv 1805.08318, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_dist.networks.spectral import SpectralConv

NARROWER = 8


class SelfAttention(nn.Module):
    """x + gamma v(sum_i b_ji h(x_i)), b_ji a softmax over i of f(x_i).g(x_j); gamma begins at 0 (equations 1 to 3).

    Maps [B, C, H, W] stay of that shape; f, g and h have an eighth of the channels. All four have spectral
    normalisation.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(1, width // NARROWER)
        self.f, self.g, self.h = (SpectralConv(width, inner, 1, gain=1.0, bias=False) for _ in range(3))
        self.v = SpectralConv(inner, width, 1, gain=1.0, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        keys, queries, values = self.f(x).flatten(2), self.g(x).flatten(2), self.h(x).flatten(2)
        shares = torch.softmax(queries.mT @ keys, 2)
        mixed = (values @ shares.mT).view(len(x), -1, *x.shape[2:])
        return x + self.gamma * self.v(mixed)  # type: ignore[no-any-return]
