"""Images as networks that were trained on ImageNet want them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalize_imagenet(pixels: Tensor, size: int) -> Tensor:
    """uint8 [B, C, H, W], grey or RGB, to [B, 3, size, size] (bicubic, antialiased), of mean 0 and deviation 1."""
    x = pixels.expand(-1, 3, -1, -1).float() / 255
    x = F.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
    mean, deviation = (torch.tensor(one, device=x.device)[:, None, None] for one in (MEAN, DEVIATION))
    return (x - mean) / deviation
