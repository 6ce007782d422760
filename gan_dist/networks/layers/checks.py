"""Checks of sizes and classes, and the precision of a part, that networks share."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def powers_between(size: int, least: int, most: int, name: str, does: str = "makes") -> int:
    """log2 of `size`, which must be a power of two in [least, most] pixels.

    Raises:
        ValueError: it is not; the text names the nearest sizes that work.
    """
    allowed = [2**p for p in range(least.bit_length() - 1, most.bit_length())]
    if size not in allowed:
        near = min(allowed, key=lambda value: abs(value - size))
        raise ValueError(f"{name} {does} images of {allowed} pixels, not {size}; data.size: {near} is nearest")
    return size.bit_length() - 1


def one_hot_classes(cond: Tensor | None, classes: int, like: Tensor) -> Tensor:
    """Classes [B] as rows [B, classes] in the type of `like`; such rows, also of classes mixed, stay as they are.

    Raises:
        ValueError: a conditional network was given no classes.
    """
    if cond is None:
        raise ValueError("this network is class-conditional; it was called without classes")
    if cond.is_floating_point():
        return cond.to(like.dtype)
    return F.one_hot(cond.to(torch.int64), classes).to(like.dtype)


def class_logits(features: Tensor, cond: Tensor | None, head: nn.Module, embed: nn.Linear | None) -> Tensor:
    """Logits [B] of features [B, F], to which those of each sample's class are added where there are classes: the
    projection discriminator (Miyato and Koyama 2018, arXiv 1802.05637, equation 3)."""
    logits: Tensor = head(features).squeeze(1)
    if embed is not None:
        logits = logits + (embed(one_hot_classes(cond, embed.in_features, features)) * features).sum(1)
    return logits


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Inside, autocast is off on the device of `x`; the meta device has none."""
    return nullcontext() if x.device.type == "meta" else torch.autocast(x.device.type, enabled=False)
