"""D rebuilds real images from its own small maps, so that it keeps looking at all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over
from gan_dist.networks.layers.pretrained_backbone import Backbone
from gan_dist.objectives.perceptual import Distance

DISTANCES = ("l1", "perceptual")
LEAST = 32  # pixels that the pretrained networks take


class Reconstruction:
    """D: the distance of what its decoders make of a real image, as it was augmented, to that image (Liu et al. 2021,
    arXiv 2101.04775, section 3.2), summed over decoders.

    It goes beside an adversarial objective. D must have `reconstructed(x, part)`, pairs of images to be alike, as
    `fastgan` has it with `decoders: true`; `part` is a random quarter of each image.

    Args:
        distance: perceptual, as in the paper, or l1, which needs no pretrained network: the mean over pixels.
        backbone: the pretrained network of the perceptual one; efficientnet_lite0 needs timm.
        weights: the file of its weights; null looks where torch keeps downloads, "random" is for trying out.

    Raises:
        ValueError: the distance is another one, or the weights are not there.
    """

    phases = (Phase("D", ("discriminator",)),)
    modality: ClassVar = "image"
    needs_methods: ClassVar = {"discriminator": ("reconstructed",)}

    def __init__(
        self,
        distance: Literal["l1", "perceptual"] = "l1",
        backbone: Backbone = "vgg16",
        weights: str | None = None,
    ) -> None:
        if distance not in DISTANCES:
            raise ValueError(f"distance must be one of {', '.join(DISTANCES)}, not {distance!r}")
        self.distance = _mean_apart if distance == "l1" else Distance(backbone, weights)

    def problems(self, networks: Mapping[str, nn.Module]) -> Iterator[str]:
        """What keeps it from training these networks."""
        if not len(getattr(networks.get("discriminator"), "decoders", [None])):
            yield "the discriminator has no decoders; give it `decoders: true`"
        copy = getattr(networks.get("discriminator"), "copied", LEAST)
        if isinstance(self.distance, Distance) and copy < LEAST:
            yield f"perceptual distances want images of {LEAST} pixels, and D rebuilds {copy}; use `distance: l1`"

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        if phase != "D":
            return {}
        pairs: list[tuple[Tensor, Tensor]] = nets.D.call("reconstructed", batch.real, batch.rng("part").integers(4))
        apart = [self.distance(_precise(made), _precise(shown)) for made, shown in pairs]
        return {"reconstruction": mean_over(sum(apart[1:], apart[0]))}


def _precise(x: Tensor) -> Tensor:
    """With at least float32's digits, which a distance wants."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _mean_apart(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs().flatten(1).mean(1)
