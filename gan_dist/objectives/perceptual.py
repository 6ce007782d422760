"""Distances of each generated sample to the real one of the same number in the features of a pretrained network."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over
from gan_dist.networks.layers.pretrained_backbone import RANDOM, Backbone, FeatureTaps, weights_file


class Distance:
    """The mean of (f(x) - f(y))^2 over the entries of each of four maps of a frozen network, summed over maps.

    Args:
        backbone, weights: as in `Perceptual`.

    Raises:
        ValueError: the weights are not there.
    """

    def __init__(self, backbone: Backbone, weights: str | None) -> None:
        if weights != RANDOM:
            weights_file(backbone, weights)
        self.backbone, self.weights = backbone, weights
        self.taps: FeatureTaps | None = None

    def begin(self, like: Tensor) -> None:
        """Load the network beside a tensor."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.taps = FeatureTaps(self.backbone, self.weights).to(like.device, like.dtype)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Of images [B, C, H, W] each, [B]."""
        if self.taps is None:
            self.begin(x)
        assert self.taps is not None
        maps = zip(self.taps(_coloured(x)), self.taps(_coloured(y)), strict=True)
        return torch.stack([(one - other).square().flatten(1).mean(1) for one, other in maps]).sum(0)


class Perceptual:
    """G: the mean of (f(fake) - f(real))^2 over the entries of each of four maps of a frozen network, summed over maps
    (Johnson et al. 2016, arXiv 1603.08155, equation 2).

    For a G whose sample is meant to be that real one, as of pairs: sum it with an objective that trains D. The network
    is no part of the checkpoint; it is read from its file again.

    Args:
        backbone: the pretrained network; efficientnet_lite0 needs timm.
        weights: the file of its weights; null looks where torch keeps downloads, "random" is for trying out.

    Raises:
        ValueError: the weights are not there.
    """

    phases = (Phase("G", ("generator",)),)
    modality: ClassVar = "image"

    def __init__(self, backbone: Backbone = "vgg16", weights: str | None = None) -> None:
        self.distance = Distance(backbone, weights)

    def begin(self, nets: Nets) -> None:
        """Load the network beside G."""
        self.distance.begin(next(nets.G.module.parameters()))

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        assert batch.real is not None
        return {"perceptual": mean_over(self.distance(batch.fakes, batch.real))}


def _coloured(images: Tensor) -> Tensor:
    """Grey images [B, 1, H, W] as three equal channels."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]
