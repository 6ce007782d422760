"""Features of a ResNet-50 that learnt the classes of ImageNet (He et al. 2016, arXiv 1512.03385)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_dist.metrics.features.imagenet_input import normalize_imagenet
from gan_dist.metrics.features.weight_files import PublishedWeights, find_weights, store_weights
from gan_dist.networks.layers.weight_files import load_tensors

KNOWN = PublishedWeights("resnet50", "resnet50-0676ba61.pth", "download.pytorch.org/models", "0676ba61")
SIZE = 224


class Resnet50(nn.Module):
    """The 2048 pooled features, by torchvision. Images are resized to 224 pixels (bicubic, antialiased); grey ones are
    repeated to three channels.

    Args:
        weights: the weights' file; by default it is looked for where torch keeps downloads.
        checksum: of another file than the published one, first digits of its SHA-256; they are in the number's name.
    """

    def __init__(self, *, weights: str | None = None, checksum: str | None = None) -> None:
        super().__init__()
        path = find_weights(KNOWN, weights, checksum)
        from torchvision.models import resnet50

        with torch.device("meta"):
            self.network = resnet50()
        store_weights(load_tensors(path), self.network, path)
        self.head, self.network.fc = self.network.fc, nn.Identity()
        self.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] to features [B, 2048]."""
        return torch.as_tensor(self.network(normalize_imagenet(pixels, SIZE)))

    def logits(self, features: Tensor) -> Tensor:
        """Features [B, 2048] to scores of the 1000 classes."""
        return torch.as_tensor(self.head(features.to(self.head.weight.dtype)))
