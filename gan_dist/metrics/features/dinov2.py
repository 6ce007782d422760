"""Features of DINOv2 (Oquab et al. 2023, arXiv 2304.07193), which learnt without labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.metrics.features.imagenet_input import normalize_imagenet
from gan_dist.metrics.features.weight_files import PublishedWeights, find_weights, store_weights
from gan_dist.networks.layers.weight_files import load_tensors

KNOWN = PublishedWeights("dinov2", "dinov2_vitl14_pretrain.pth", "dl.fbaipublicfiles.com/dinov2/dinov2_vitl14", "")
NETWORK = "vit_large_patch14_dinov2"
SIZE = 224


class Dinov2(nn.Module):
    """The 1024 features of the class token of ViT-L/14, as Stein et al. 2023 (arXiv 2306.04675) compare, by timm.
    Images are resized to 224 pixels (bicubic, antialiased); grey ones are repeated to three channels.

    Args:
        weights: the weights' file; by default it is looked for where torch keeps downloads.
        checksum: first digits of the file's SHA-256, which are in the number's name; no checksum of it is published.
    """

    def __init__(self, *, weights: str | None = None, checksum: str | None = None) -> None:
        super().__init__()
        path = find_weights(KNOWN, weights, checksum)
        try:
            from timm import create_model
            from timm.models.vision_transformer import checkpoint_filter_fn
        except ImportError as error:
            raise ValueError("features 'dinov2' needs timm: pip install 'gan-dist[timm]'") from error
        with torch.device("meta"):
            network: Any = create_model(NETWORK, img_size=SIZE, num_classes=0)
        try:
            tensors = checkpoint_filter_fn(load_tensors(path), network)
        except (KeyError, RuntimeError, AttributeError) as error:
            raise ValueError(f"{str(path)!r} holds no weights of DINOv2: {error}") from error
        store_weights(tensors, network, path)
        self.network = network.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] to features [B, 1024]."""
        return torch.as_tensor(self.network(normalize_imagenet(pixels, SIZE)))
