"""What LPIPS compares (Zhang et al. 2018, arXiv 1801.03924), as features whose squared distance is LPIPS."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.metrics.features.weight_files import PublishedWeights, find_weights, store_weights
from gan_dist.networks.layers.weight_files import load_tensors

KNOWN = PublishedWeights("lpips", "alexnet-owt-7be5be79.pth", "download.pytorch.org/models", "7be5be79")
LEAST = 32


class Lpips(nn.Module):
    """LPIPS 0.1 with AlexNet, by its authors' package `lpips`, which carries its own small weights.

    LPIPS is the mean over places of the weighted squared difference of unit vectors of channels, summed over layers. So
    features are those vectors times the roots of a channel's weight and a place's share: |f(a) - f(b)|^2 = LPIPS(a, b).

    Args:
        size: height and width of the images, at least 32.
        weights: the file of AlexNet's weights; by default it is looked for where torch keeps downloads.
        checksum: of another file than the published one, first digits of its SHA-256; they are in the number's name.
    """

    def __init__(self, *, size: int = LEAST, weights: str | None = None, checksum: str | None = None) -> None:
        super().__init__()
        if size < LEAST:
            raise ValueError(f"images of {size} pixels are too small for features 'lpips'; at least {LEAST}")
        path = find_weights(KNOWN, weights, checksum)
        try:
            from lpips import LPIPS
        except ImportError as error:
            raise ValueError("features 'lpips' needs lpips: pip install 'gan-dist[metrics]'") from error
        tensors = load_tensors(path)
        self.network: Any = LPIPS(net="alex", pnet_rand=True, verbose=False)
        trunk = self.network.net
        # Their slices number AlexNet's layers on, under names of their own.
        names = {name: f"features.{name.partition('.')[2]}" for name in trunk.state_dict()}
        store_weights({name: tensors.get(theirs, torch.empty(0)) for name, theirs in names.items()}, trunk, path)
        self.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W], grey or RGB, to features [B, d]."""
        x = self.network.scaling_layer(pixels.float().expand(-1, 3, -1, -1) / 127.5 - 1)
        found = []
        for maps, weighting in zip(self.network.net(x), self.network.lins, strict=True):
            weight = weighting.model[-1].weight[0].clamp_min(0).sqrt()
            unit = maps / (maps.square().sum(1, keepdim=True).sqrt() + 1e-10)
            found.append((unit * weight / math.sqrt(maps[0, 0].numel())).flatten(1))
        return torch.cat(found, 1)
