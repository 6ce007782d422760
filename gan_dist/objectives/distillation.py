"""D learns beside its loss to predict what a pretrained network sees in real pictures: the distillation of GAT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over
from gan_dist.distributed.first_weights import first_weights
from gan_dist.networks.layers.dinov2 import SIDE
from gan_dist.networks.layers.teachers import TeacherName, build_teacher, teacher_width
from gan_dist.objectives.multi_level import judged_reals
from gan_dist.objectives.reconstruction import precise

LEAST = 32  # pixels of a side
CHANNELS = (1, 3)


class Distillation:
    """Features of a frozen, pretrained network, predicted by D (Hyun et al. 2025, arXiv 2509.24935).

    D: 1 - cosine of its prediction for the whole picture and the teacher's features of it, and the mean over places of
    the same, of real pictures alone. As in the authors' code the predictions are of the very pass of `multi_level` over
    the noised and augmented reals, so that they cost no other, and the teacher is shown the reals without noise. It
    sees all of the augmentation, in the authors' code its shifts and flips alone. Its map is resized to D's places
    (bicubic).

    Sum it with `multi_level`. D must have `forward_tokens(x, cond)` and `predictions(tokens)`, as `gat` has it with
    `taught`. The teacher is no part of the checkpoint; it is read from its file again.

    Args:
        teacher: dinov2, the class token and the patches, or efficientnet_lite0 of `gan-dist[pretrained]`, the last map
            and its mean.
        weights: the file of its weights; null takes that of `gan-dist download`, "random" is for trying out. That of
            DINOv2 is ViT-L/14 with 1024 dimensions; the paper's, B with 768, and S with 384 are taken too.
        resolution: pixels of a side to which the teacher's pictures are resized, from 32; for dinov2 a multiple of 14.

    Raises:
        ValueError: the weights or a package are not there, or the resolution is out of its range.
    """

    phases = (Phase("D", ("discriminator",)),)
    modality: ClassVar = "image"
    needs_methods: ClassVar = {"discriminator": ("forward_tokens", "predictions")}
    tried_on: ClassVar = {"discriminator": {"use": "gat", "hidden": 16, "depth": 4, "heads": 2, "taught": 320}}

    def __init__(self, teacher: TeacherName = "dinov2", weights: str | None = None, resolution: int = 224) -> None:
        multiple = SIDE if teacher == "dinov2" else 1
        if resolution < LEAST or resolution % multiple:
            raise ValueError(
                f"resolution must be at least {LEAST}, and for dinov2 a multiple of {SIDE}, not {resolution}"
            )
        self.teacher, self.weights, self.resolution = teacher, weights, resolution
        self.width = teacher_width(teacher, weights)
        self.network: nn.Module | None = None

    def problems(self, networks: Mapping[str, nn.Module]) -> Iterator[str]:
        """What keeps it from training these networks."""
        judge: Any = networks.get("discriminator")
        if missing := [name for name in ("taught", "places") if not hasattr(judge, name)]:
            if hasattr(judge, "predictions"):  # else that is said already
                yield f"the discriminator has no attribute {' and no attribute '.join(missing)}, as that of gat has"
            return
        if (taught := judge.taught) == 0:
            yield f"the discriminator predicts no features; give it `taught: {self.width}`"
        elif taught != self.width:
            found = f"the discriminator predicts features of {taught} dimensions, and those of {self.teacher} have"
            yield f"{found} {self.width}; give it `taught: {self.width}`"
        if (channels := getattr(judge, "channels", 3)) not in CHANNELS:
            yield f"{self.teacher} looks at pictures of 1 or 3 channels, not {channels}; set data.channels: 3"

    def begin(self, nets: Nets) -> None:
        """Load the teacher beside D."""
        like = next(nets.D.module.parameters())
        if self.network is None:
            with first_weights(0):
                self.network = build_teacher(self.teacher, self.weights, self.resolution)
        self.network.to(like.device, like.dtype)

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        if phase != "D":
            return {}
        if self.network is None:
            self.begin(nets)
        assert self.network is not None and batch.real is not None
        judged = judged_reals(nets, batch)
        whole, places = nets.D.raw.call("predictions", judged.tokens)
        with torch.no_grad():
            shown = judged.augmented(nets, judged.levels.flatten(1, 2))
            known, seen = self.network(shown[:, -batch.real.shape[1] :])
            grid: Any = nets.D.module.places
            if seen.shape[2:] != grid:
                seen = F.interpolate(seen, grid, mode="bicubic", align_corners=False)
        return {
            "whole": mean_over(_apart(whole, known)),
            "places": mean_over(_apart(places, seen.flatten(2).transpose(1, 2))),
        }


def _apart(made: Tensor, wanted: Tensor) -> Tensor:
    """1 - cosine of vectors [..., D]."""
    return 1 - F.cosine_similarity(precise(made), wanted, dim=-1)
