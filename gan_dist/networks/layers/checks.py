"""Checks of sizes and classes, and the precision of a part, that networks share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.spec.image_size import Size, SizeRule, sides


@dataclass(frozen=True)
class Doublings:
    """How a small map becomes an image, or an image a small map.

    Attributes:
        base: height and width of the smallest map; 4 and 4 of an image that is a power of two high and wide.
        count: how often it is doubled.
    """

    base: tuple[int, int]
    count: int

    @property
    def square(self) -> int:
        """The pixels of the square that is doubled as often from 4 pixels: what widths and depths go by."""
        return 4 << self.count

    def at(self, square: int) -> tuple[int, int]:
        """Height and width of the map that has `square` pixels where the image is that square."""
        return self.base[0] * square // 4, self.base[1] * square // 4


def plan_doublings(size: Size, sizes: Mapping[str, int], who: str, does: str = "makes") -> Doublings:
    """How the network `who`, whose class says `sizes`, comes to images of a size.

    Raises:
        ValueError: it cannot; the text names the nearest size that works.
    """
    rule = SizeRule.of(sizes)
    rule.check(size, who, does)
    count = rule.doublings(size)
    height, width = (side >> count for side in sides(size))
    return Doublings((height, width), count)


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
