"""DINOv2 (Oquab et al. 2023, arXiv 2304.07193) by timm, with weights as transformers, its authors or timm name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_dist.networks.layers.weight_files import load_tensors, store_weights

SIDE = 14  # pixels of a patch
# By the dimensions of its features.
NETWORKS = {384: "vit_small_patch14_dinov2", 768: "vit_base_patch14_dinov2", 1024: "vit_large_patch14_dinov2"}
EXTRA = "pip install 'gan-dist[timm]'"


def require_timm() -> None:
    """Raise ValueError unless timm is installed, without importing it."""
    if find_spec("timm") is None:
        raise ValueError(f"'dinov2' needs timm: {EXTRA}")


def build_dinov2(name: str, size: int) -> Any:
    """A network with random weights, for pictures of `size` pixels.

    Raises:
        ValueError: timm is not installed.
    """
    require_timm()
    from timm import create_model

    return create_model(name, img_size=size, num_classes=0)


def load_dinov2(path: Path, name: str, size: int) -> Any:
    """A network with the weights of a file, whose table of places is resized to pictures of `size` pixels.

    Raises:
        ValueError: timm is not installed, or the file holds other weights.
    """
    with torch.device("meta"):
        network = build_dinov2(name, size)
    from timm.models.vision_transformer import checkpoint_filter_fn

    try:
        tensors = checkpoint_filter_fn(_authors_names(load_tensors(path)), network)
    except (KeyError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{str(path)!r} holds no weights of DINOv2: {error}") from error
    store_weights(tensors, network, path)
    return network


def dinov2_width(path: Path) -> int:
    """How many dimensions the features have by the weights of a file.

    Raises:
        ValueError: they are no weights of DINOv2, or of one that is not known here.
    """
    tensors = load_tensors(path)
    token = tensors.get("cls_token", tensors.get("embeddings.cls_token"))
    if token is None:
        raise ValueError(f"{str(path)!r} holds no weights of DINOv2: there is no cls_token")
    if any(name.endswith("register_tokens") for name in tensors):
        raise ValueError(f"{str(path)!r} holds a DINOv2 with registers, which is another network; take one without")
    width = int(token.shape[-1])
    if width not in NETWORKS:
        known = ", ".join(map(str, NETWORKS))
        raise ValueError(f"{str(path)!r} holds features of {width} dimensions; known are {known} (S, B and L)")
    return width


# Names of DINOv2's tensors in transformers, and its authors' own.
NAMES = (
    (r"embeddings\.(cls_token|mask_token)", r"\1"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(\w+)", r"patch_embed.proj.\1"),
    (r"encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (r"encoder\.layer\.(\d+)\.((?:norm|mlp).*)", r"blocks.\1.\2"),
    (r"layernorm\.(\w+)", r"norm.\1"),
)
PROJECTION = re.compile(r"encoder\.layer\.(\d+)\.attention\.attention\.query\.(\w+)")


def _authors_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of DINOv2 as its authors name them; those of transformers are renamed, and the three projections of each
    layer become one.

    Raises:
        KeyError: one of the three is not there.
    """
    if "embeddings.cls_token" not in tensors:
        return dict(tensors)
    found = {}
    for name, tensor in tensors.items():
        if match := PROJECTION.fullmatch(name):
            three = [tensors[name.replace("query", part)] for part in ("query", "key", "value")]
            found[f"blocks.{match[1]}.attn.qkv.{match[2]}"] = torch.cat(three)
            continue
        for theirs, ours in NAMES:
            if match := re.fullmatch(theirs, name):
                found[match.expand(ours)] = tensor
                break
    return found
