"""DiffAugment: the same few changes on every picture that D sees (Zhao et al. 2020, arXiv 2006.10738)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from gan_dist.augment.transforms import cutout, shift_pixels, whole_shifts
from gan_dist.distributed.randomness import Rng

POLICIES = ("color", "translation", "cutout")
SHIFT = 1 / 8
HOLE = 1 / 2


class DiffAugment:
    """Pictures [B, C, H, W] in [-1, 1] to pictures of the same shape, each changed by all of `policy`.

    Color adds a brightness in [-0.5, 0.5), scales the distance from grey by [0, 2) and that from the picture's mean by
    [0.5, 1.5); translation moves by up to an eighth of the height and width, with zeros behind; cutout sets a hole of
    half of both to zero.

    Args:
        policy: any of color, translation and cutout; the paper has all three for few pictures.

    Raises:
        ValueError: the policy is empty or names something else.
    """

    def __init__(
        self, *, policy: Sequence[Literal["color", "translation", "cutout"]] = ("color", "translation", "cutout")
    ) -> None:
        unknown = [name for name in policy if name not in POLICIES]
        if unknown or not policy:
            raise ValueError(f"policy must be some of {', '.join(POLICIES)}, not {list(policy)}")
        self.policy = tuple(policy)

    def __call__(self, x: Tensor, rng: Rng) -> Tensor:
        # All are drawn whatever the policy, so that leaving one out does not change the others.
        brightness, saturation, contrast = rng.uniform(3).unbind(1)
        shift = rng.uniform(2)
        hole = rng.uniform(2)
        if "color" in self.policy:
            x = x + _each(brightness - 0.5)
            x = torch.lerp(x.mean(1, keepdim=True), x, _each(2 * saturation))
            x = torch.lerp(x.mean((1, 2, 3), keepdim=True), x, _each(contrast + 0.5))
        if "translation" in self.policy:
            most = [round(SHIFT * side) for side in (x.shape[3], x.shape[2])]
            x = shift_pixels(x, whole_shifts(shift, most), mirrored=False)
        if "cutout" in self.policy:
            x = cutout(x, hole, HOLE)
        return x


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]
