"""What is wrong with an augmentation, before anything starts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gan_dist.data.facts import DataFacts, ImageFacts, PairFacts
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.training.stages import Stage

BATCH = 2


def augment_problems(stages: list[Stage], facts: DataFacts) -> list[str]:
    """Whether the augmentation gives pictures back; tried on noise, as it is cheap."""
    augment = stages[0].augment
    if augment is None:
        return []
    if not isinstance(facts, ImageFacts):
        return [f"augment: changes pictures, but the data are {facts.described}; remove it"]
    if isinstance(facts, PairFacts):
        return ["augment: would change a picture and not the one it is made of; remove it, or use data.xflip"]
    rng = single_lane_rng(("preflight",), BATCH, torch.device("cpu"))
    pictures = rng.uniform(facts.channels, facts.size, facts.size)
    try:
        changed: Any = augment(pictures, rng)
    except Exception as error:
        return [f"augment: cannot change images of {tuple(pictures.shape)}: {type(error).__name__}: {error}"]
    if not isinstance(changed, Tensor) or changed.shape != pictures.shape:
        shape = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        return [f"augment: makes {shape} of images {tuple(pictures.shape)} [B, C, H, W]; it must keep the shape"]
    return []
