"""Features of CLIP (Radford et al. 2021, arXiv 2103.00020), which learnt from pictures with captions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.metrics.features.weight_files import PublishedWeights, find_weights

SHA256 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
KNOWN = PublishedWeights("clip", "ViT-B-32.pt", f"openaipublic.azureedge.net/clip/models/{SHA256}/ViT-B-32.pt", SHA256)


class Clip(nn.Module):
    """The 512 features of an image by ViT-B/32, computed by torch-fidelity, which resizes images to 224 pixels. Grey
    images are repeated to three channels.

    Args:
        weights: the weights' file; by default it is looked for where torch keeps downloads.
        checksum: of another file than the published one, first digits of its SHA-256; they are in the number's name.
    """

    def __init__(self, *, weights: str | None = None, checksum: str | None = None) -> None:
        super().__init__()
        path = find_weights(KNOWN, weights, checksum)
        try:
            from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP
        except ImportError as error:
            raise ValueError("features 'clip' needs torch-fidelity: pip install 'gan-dist[metrics]'") from error
        try:
            self.network: Any = FeatureExtractorCLIP(
                "clip-vit-b-32", ["clip"], feature_extractor_weights_path=str(path)
            )
        except (RuntimeError, KeyError) as error:
            raise ValueError(f"{str(path)!r} holds no weights of CLIP: {error}") from error

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] to features [B, 512]."""
        (features,) = self.network(pixels.expand(-1, 3, -1, -1))
        return torch.as_tensor(features)
