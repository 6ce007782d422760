"""Frozen pretrained networks that say what is in a picture as a whole and at each of its places."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.networks.layers.dinov2 import NETWORKS, SIDE, build_dinov2, dinov2_width, load_dinov2, require_timm
from gan_dist.networks.layers.pretrained_backbone import (
    IMAGENET,
    KNOWN,
    RANDOM,
    FeatureTaps,
    coloured,
    published_file,
    weights_file,
)
from gan_dist.networks.layers.weight_files import downloadable

TeacherName = Literal["dinov2", "efficientnet_lite0"]
PUBLISHED = 1024  # dimensions of the DINOv2 that `gan-dist download` fetches


def teacher_width(name: TeacherName, weights: str | None) -> int:
    """How many dimensions a teacher's features have.

    Raises:
        ValueError: its weights are not there, are others, or a package is missing; the text says how it is got.
    """
    if name == "efficientnet_lite0":
        if weights != RANDOM:
            weights_file(name, weights)
        return KNOWN[name].channels[-1]
    width = PUBLISHED if weights == RANDOM else dinov2_width(_dinov2_file(weights))
    require_timm()
    return width


def build_teacher(name: TeacherName, weights: str | None, size: int) -> nn.Module:
    """Pictures [B, C, H, W] in [-1, 1], grey or RGB, to features of the whole [B, D] and of places [B, D, h, w].

    Args:
        weights: the file of the weights, "random" for none, or null for what `gan-dist download` or a package brings.
        size: pixels of a side to which pictures are resized (bicubic, antialiased).

    Raises:
        ValueError: as `teacher_width`.
    """
    made = EfficientNetTeacher(weights, size) if name == "efficientnet_lite0" else Dinov2Teacher(weights, size)
    return made.eval().requires_grad_(False)


class EfficientNetTeacher(nn.Module):
    """The last map of EfficientNet-lite0 with 320 channels, and its mean."""

    def __init__(self, weights: str | None, size: int) -> None:
        super().__init__()
        self.size = size
        self.taps = FeatureTaps("efficientnet_lite0", weights)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        last = self.taps(_resized(x, self.size))[-1]
        return last.mean((2, 3)), last


class Dinov2Teacher(nn.Module):
    """The class token and the patches of DINOv2, normalised; of which size, the file says."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: str | None, size: int) -> None:
        super().__init__()
        self.size = size
        if weights == RANDOM:
            self.network: Any = build_dinov2(NETWORKS[PUBLISHED], size)
        else:
            path = _dinov2_file(weights)
            self.network = load_dinov2(path, NETWORKS[dinov2_width(path)], size)
        for key, values in zip(("mean", "deviation"), IMAGENET, strict=True):
            self.register_buffer(key, self.network.cls_token.new_tensor(values)[:, None, None])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.network.forward_features(((_resized(x, self.size) + 1) / 2 - self.mean) / self.deviation)
        places = self.size // SIDE
        return tokens[:, 0], tokens[:, 1:].transpose(1, 2).unflatten(2, (places, places))


def _dinov2_file(weights: str | None) -> Path:
    return published_file("dinov2", downloadable("dinov2").file, weights)


def _resized(x: Tensor, size: int) -> Tensor:
    x = coloured(x)
    if x.shape[2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bicubic", align_corners=False, antialias=True).clamp(-1, 1)
