"""StyleGAN2 (Karras et al. 2020, arXiv 1912.04958; classes as in arXiv 2006.06676), for 8 to 1024 pixels.

G maps noise z to a style w, which scales the channels of every convolution; each of these adds noise for each pixel,
and every size adds to the picture (configuration F: skip G, residual D). All is native torch and differentiates twice.
Wants `non_saturating` with `r1` and, for pictures that change smoothly with w, `path_length`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gan_dist.distributed.randomness import Rng, single_lane_rng
from gan_dist.networks.layers.checks import full_precision, one_hot_classes, plan_doublings
from gan_dist.networks.layers.equalized import EqualConv, EqualLinear, StyledConv, ToRGB, normalize_2nd_moment
from gan_dist.networks.layers.resample import Upsample
from gan_dist.spec.image_size import Size

CENTRE_OF = 4096


class Generator(nn.Module):
    """Noise to images [B, C, H, W], not bounded. The noise is z, a second z for mixed styles, and one for each pixel.

    Args:
        size: N or (height, width) in pixels, 8 to 1024, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        z: dimensions of the normal noise.
        w: dimensions of a style.
        mapping: layers from z to w; 2 in the paper's CIFAR-10 model.
        capacity: channels times pixels of a square's side; 16384 in the paper's smaller 256-pixel model.
        most: channels at most.
        mixing: share of the samples in training that change from one style to another at some layer.
        truncation: in samples, styles are drawn towards their mean, which is 0; 1 for not, 0.7 is usual.

    Raises:
        ValueError: a number is out of its range, or there is no such size.
    """

    channels_last = True
    sizes: ClassVar[dict[str, int]] = {"least": 8, "most": 1024, "base": 4}
    part_names: ClassVar[dict[str, str]] = {"mapping": "map"}
    begins_at_zero: ClassVar[tuple[str, ...]] = ("pictures.",)  # at sizes that a source of weights did not have

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        classes: int = 0,
        z: int = 512,
        w: int = 512,
        mapping: int = 8,
        capacity: int = 32768,
        most: int = 512,
        mixing: float = 0.9,
        truncation: float = 1.0,
    ) -> None:
        super().__init__()
        plan = plan_doublings(size, self.sizes, "stylegan2")
        widths = _widths(plan.count, capacity, most)
        if not 0 <= mixing <= 1 or not 0 <= truncation <= 1:
            raise ValueError(f"mixing and truncation must be in [0, 1], not {mixing} and {truncation}")
        self.z, self.classes, self.mixing, self.truncation = z, classes, mixing, truncation
        self.truncation_layers: Sequence[int] | None = None  # which are drawn to the mean; None for all
        self.map = Mapping(z, classes, w, mapping)
        self.basis = nn.Parameter(torch.randn(widths[0], *plan.base))
        self.layers = nn.ModuleList([StyledConv(widths[0], widths[0], w)])
        self.pictures = nn.ModuleList([ToRGB(widths[0], channels, w)])
        for before, after in pairwise(widths):
            self.layers.append(StyledConv(before, after, w, doubled=True))
            self.layers.append(StyledConv(after, after, w))
            self.pictures.append(ToRGB(after, channels, w))
        self.upsample = Upsample()
        squares = [4] + [4 * 2**step for step in range(1, len(widths)) for _ in range(2)]
        self.maps = [plan.at(square) for square in squares]

    def draw(self, n: int, rng: Rng) -> dict[str, Any]:
        """z and other [n, z], `change` [n], the layer from which on the other's style counts, and the pixels' noise."""
        z, other, chance = rng.normal(self.z), rng.normal(self.z), rng.uniform(2)
        change = 1 + (chance[:, 0] * (len(self.layers) - 1)).long()
        change = torch.where(chance[:, 1] < self.mixing, change, len(self.layers) + 1)
        areas = [height * width for height, width in self.maps]
        flat = torch.split(rng.normal(sum(areas)), areas, 1)
        pixels = [one.view(n, 1, *shape) for one, shape in zip(flat, self.maps, strict=True)]
        return {"z": z, "other": other, "change": change, "pixels": pixels}

    def forward(self, noise: dict[str, Any], cond: Tensor | None = None) -> Tensor:
        return self.synthesis(self.styles(noise, cond), noise)

    def styles(self, noise: dict[str, Any], cond: Tensor | None = None) -> Tensor:
        """A style for each layer, [B, layers + 1, w]: mixed in training, drawn to their mean otherwise."""
        one: Tensor = self.map(noise["z"], cond)[:, None]
        layer = torch.arange(len(self.layers) + 1, device=one.device)[None, :, None]
        if self.training and self.mixing:
            return torch.where(layer < noise["change"][:, None, None], one, self.map(noise["other"], cond)[:, None])
        if not self.training and self.truncation < 1:
            near = torch.lerp(self._centre(one), one, self.truncation)
            if self.truncation_layers is None:
                one = near
            else:
                one = torch.where(torch.isin(layer, layer.new_tensor(list(self.truncation_layers))), near, one)
        return one.expand(-1, len(self.layers) + 1, -1)

    def synthesis(self, styles: Tensor, noise: dict[str, Any]) -> Tensor:
        """Images [B, C, H, W] of styles [B, layers + 1, w] and the noise of each pixel."""
        x: Tensor = self.basis.expand(len(styles), -1, -1, -1)
        x = self.layers[0](x, styles[:, 0], noise["pixels"][0])
        picture: Tensor = self.pictures[0](x, styles[:, 1])
        for stage in range(1, len(self.pictures)):
            first = 2 * stage - 1
            for layer in (first, first + 1):
                x = self.layers[layer](x, styles[:, layer], noise["pixels"][layer])
            picture = self.upsample(picture) + self.pictures[stage](x, styles[:, first + 2])
        return picture

    def latent_weights(self) -> list[Tensor]:
        """By what each layer takes its style, [channels, w]; the last is that of the picture."""
        last: Any = self.pictures[-1]
        taking: list[Any] = [*self.layers, last]
        return [one.style.weight for one in taking]

    def _centre(self, like: Tensor) -> Tensor:
        """The mean style: that of 4096 fixed draws, of all classes in turn, so that it needs no state of its own."""
        z = single_lane_rng(("centre",), CENTRE_OF, like.device, like.dtype).normal(self.z)
        cond = torch.arange(CENTRE_OF, device=like.device) % self.classes if self.classes else None
        centre: Tensor = self.map(z, cond).mean(0)
        return centre


class Discriminator(nn.Module):
    """Images [B, C, H, W] to logits [B].

    The deviation over groups of consecutive samples is one more feature of each, so samples of a group depend on each
    other. A group never leaves its lane where the batch is at most 256 or a multiple of it, and the result does then
    not depend on the number of workers (with other groups than 4 it may).

    Args:
        size: N or (height, width) in pixels, 8 to 1024, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        capacity: channels times pixels of a square's side; 16384 in the paper's smaller 256-pixel model.
        most: channels at most.
        mapping: layers that a class passes through before it is compared.
        group: samples whose deviation is taken; 1 for none.
    """

    channels_last = True
    couples_batch = True
    sizes: ClassVar[dict[str, int]] = {"least": 8, "most": 1024, "base": 4}

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        classes: int = 0,
        capacity: int = 32768,
        most: int = 512,
        mapping: int = 8,
        group: int = 4,
    ) -> None:
        super().__init__()
        plan = plan_doublings(size, self.sizes, "stylegan2", "judges")
        widths = _widths(plan.count, capacity, most)[::-1]
        if group < 1:
            raise ValueError(f"group must be at least 1, not {group}")
        self.group, self.classes = group, classes
        self.first = EqualConv(channels, widths[0], 1, active=True)
        self.blocks = nn.Sequential(*[DownBlock(before, after) for before, after in pairwise(widths)])
        top = widths[-1]
        self.last = EqualConv(top + 1, top, 3, active=True)
        self.dense = EqualLinear(top * math.prod(plan.base), top, active=True)
        self.head = EqualLinear(top, top if classes else 1)
        self.map = Mapping(0, classes, top, mapping) if classes else None

    def stage_names(self) -> dict[str, str]:
        """Names of the blocks by how often they still halve the image."""
        return {f"blocks.{number}": f"halves {len(self.blocks) - number}" for number in range(len(self.blocks))}

    def image_blocks(self) -> list[list[nn.Module]]:
        """What halves the image, in turn, the first block with what takes the image in; then the last convolution."""
        blocks: list[list[nn.Module]] = [[block] for block in self.blocks]
        return [[self.first, *blocks[0]], *blocks[1:], [self.last]]

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x = self.blocks(self.first(x))
        with full_precision(x):
            x = x.to(self.head.weight.dtype)
            deviation = minibatch_stddev(x, self.group)[:, None, None, None].expand(-1, 1, *x.shape[2:])
            return self.dense(self.last(torch.cat([x, deviation], 1)).flatten(1))  # type: ignore[no-any-return]

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        inner = self.features(x, cond)
        with full_precision(x):
            features = self.head(inner)
            if self.map is None:
                return features.squeeze(1)  # type: ignore[no-any-return]
            empty = features[:, :0]
            return (features * self.map(empty, cond)).sum(1) / math.sqrt(features.shape[1])  # type: ignore[no-any-return]


class Mapping(nn.Module):
    """z [B, z] and classes [B] to styles [B, w]: each scaled to length, then layers at 1/100 of the rate."""

    def __init__(self, z: int, classes: int, w: int, layers: int) -> None:
        super().__init__()
        if layers < 1 or w < 1:
            raise ValueError(f"stylegan2 needs at least one layer of one unit, not mapping={layers}, w={w}")
        self.z, self.classes = z, classes
        self.embed = EqualLinear(classes, w) if classes else None
        inputs = [z + (w if classes else 0)] + [w] * (layers - 1)
        self.layers = nn.Sequential(*[EqualLinear(one, w, rate=0.01, active=True) for one in inputs])

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        with full_precision(z):
            parts = [normalize_2nd_moment(z)] if self.z else []
            if self.embed is not None:
                parts.append(normalize_2nd_moment(self.embed(one_hot_classes(cond, self.classes, z))))
            return self.layers(torch.cat(parts, 1))  # type: ignore[no-any-return]


class DownBlock(nn.Module):
    """[B, before, H, W] to [B, after, H/2, W/2]: two 3x3 convolutions, beside them a 1x1 one, their sum over sqrt 2."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        convs = [EqualConv(before, before, 3, active=True), EqualConv(before, after, 3, halve=True, active=True)]
        self.body = nn.Sequential(*convs)
        self.aside = EqualConv(before, after, 1, halve=True, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.aside(x)) / math.sqrt(2)  # type: ignore[no-any-return]


def minibatch_stddev(x: Tensor, group: int) -> Tensor:
    """The mean standard deviation of features over groups of consecutive samples, [B]; the last group may be short
    (Karras et al. 2018, arXiv 1710.10196, section 3)."""
    whole = len(x) - len(x) % group
    parts = [x[:whole].reshape(-1, group, *x.shape[1:])] if whole else []
    parts += [x[None, whole:]] if whole < len(x) else []
    found = []
    for part in parts:
        deviation = (part.var(1, unbiased=False) + 1e-8).sqrt().flatten(1).mean(1)
        found.append(deviation.repeat_interleave(part.shape[1]))
    return torch.cat(found)


def _widths(doublings: int, capacity: int, most: int) -> list[int]:
    """Channels of the smallest map and after each doubling."""
    widths = [min(capacity // 2 ** (step + 2), most) for step in range(doublings + 1)]
    if min(widths) < 1:
        size = 4 * 2**doublings
        raise ValueError(
            f"stylegan2 at {size} pixels needs capacity >= {size} and most >= 1, not {capacity} and {most}"
        )
    return widths
