"""Features of the Inception network of 2015, whose weights make the number that papers call FID."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.metrics.features.weight_files import PublishedWeights, find_weights
from gan_dist.networks.layers.weight_files import load_tensors

FILE = "weights-inception-2015-12-05-6726825d.pth"
KNOWN = PublishedWeights("inception", FILE, "the releases of github.com/toshas/torch-fidelity (v0.2.0)", "6726825d")


class Inception(nn.Module):
    """The 2048 pooled features (Szegedy et al. 2015, arXiv 1512.00567), computed by torch-fidelity, which resizes
    images to 299 pixels inside the network as the original did. Grey images are repeated to three channels.

    Args:
        weights: the weights' file; by default it is looked for where torch keeps downloads.
        checksum: of another file than the published one, first digits of its SHA-256; they are in the number's name.
    """

    def __init__(self, *, weights: str | None = None, checksum: str | None = None) -> None:
        super().__init__()
        self.network: Any = _network(find_weights(KNOWN, weights, checksum))

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] to features [B, 2048]."""
        (features,) = self.network(pixels.expand(-1, 3, -1, -1))
        return torch.as_tensor(features)

    def logits(self, features: Tensor) -> Tensor:
        """Features [B, 2048] to scores of the 1008 classes, without their bias, as the original inception score has."""
        weight: Tensor = self.network.fc.weight
        return features @ weight.T.to(features.dtype)


def _network(path: Path) -> Any:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ValueError("features 'inception' needs torch-fidelity: pip install 'gan-dist[metrics]'") from error
    load_tensors(path)  # theirs unpickles anything; this raises for what is more than tensors
    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
