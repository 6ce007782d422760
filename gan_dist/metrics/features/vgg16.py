"""Features of VGG16, by which the paper of improved precision and recall compares (arXiv 1904.06991)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.metrics.features.weight_files import PublishedWeights, find_weights
from gan_dist.networks.layers.weight_files import load_tensors

KNOWN = PublishedWeights("vgg16", "vgg16-397923af.pth", "download.pytorch.org/models", "397923af")


class Vgg16(nn.Module):
    """The 4096 units of the second hidden layer (Simonyan and Zisserman 2015, arXiv 1409.1556), computed by
    torch-fidelity, which resizes images to 224 pixels. Grey images are repeated to three channels.

    Args:
        weights: the weights' file; by default it is looked for where torch keeps downloads.
        checksum: of another file than the published one, first digits of its SHA-256; they are in the number's name.
    """

    def __init__(self, *, weights: str | None = None, checksum: str | None = None) -> None:
        super().__init__()
        path = find_weights(KNOWN, weights, checksum)
        try:
            from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16
        except ImportError as error:
            raise ValueError("features 'vgg16' needs torch-fidelity: pip install 'gan-dist[metrics]'") from error
        load_tensors(path)  # theirs unpickles anything; this raises for what is more than tensors
        try:
            self.network: Any = FeatureExtractorVGG16("vgg16", ["fc2_relu"], feature_extractor_weights_path=str(path))
        except RuntimeError as error:
            raise ValueError(f"{str(path)!r} holds no weights of VGG16: {error}") from error

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] to features [B, 4096]."""
        (features,) = self.network(pixels.expand(-1, 3, -1, -1))
        return torch.as_tensor(features)
