"""BigGAN (Brock, Donahue and Simonyan 2019, arXiv 1809.11096, appendix B), for 32, 64, 128 and 256 pixels.

Noise enters G in chunks, the first at 4 pixels and one in each block, where with an embedding of the class that all
blocks share it sets the scale and shift of batch normalisation. Both networks have spectral normalisation, orthogonal
initial weights and self-attention; classes enter D by projection. Wants `hinge`, `d_steps: 2`, betas [0, 0.999],
learning rates of 5e-5 for G and 2e-4 for D, and large batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.distributed.randomness import Rng
from gan_dist.networks.image.sagan import DownBlock, SelfAttention
from gan_dist.networks.layers.auxiliary import auxiliary_head
from gan_dist.networks.layers.checks import class_logits, one_hot_classes, plan_doublings
from gan_dist.networks.layers.global_batch_norm import GlobalBatchNorm
from gan_dist.networks.layers.spectral_norm import SpectralConv, SpectralLinear, initialize_vectors
from gan_dist.spec.image_size import Size, show_size

# For square images of so many pixels, and others that are doubled as often: channels at 4 pixels and after each block
# of G, in widths; and the map that attends to itself.
_UP = {32: (4, 4, 4, 4), 64: (16, 16, 8, 4, 2), 128: (16, 16, 8, 4, 2, 1), 256: (16, 16, 8, 8, 4, 2, 1)}
_DOWN = {32: (4, 4, 4, 4), 64: (1, 2, 4, 8, 16), 128: (1, 2, 4, 8, 16, 16), 256: (1, 2, 4, 8, 8, 16, 16)}
_HALVINGS = {32: 2, 64: 4, 128: 5, 256: 6}
_ATTENDED = {32: 0, 64: 32, 128: 64, 256: 64}
FURTHEST = 2.0  # the paper's weakest truncation, in standard deviations


class Generator(nn.Module):
    """Noise [B, z] to images [B, C, H, W] in (-1, 1).

    Args:
        size: N or (height, width) in pixels, 32 to 256, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        z: dimensions of the normal noise; cut in one chunk more than there are blocks.
        width: channels at full size; 96 in the paper, 64 for 32 pixels.
        shared: dimensions of the classes' embedding.
        sync_batch_norm: whether batch normalisation takes its moments over the samples of all workers, as the paper
            does; otherwise over each worker's share.
        truncation: in samples, the part of 2 standard deviations beyond which no noise lies; 1 for no bound.

    Raises:
        ValueError: there is no such size, or z cannot be cut.
    """

    channels_last = True
    sizes: ClassVar[dict[str, int]] = {"least": 32, "most": 256, "base": 4}
    batch_norm: ClassVar[bool] = True

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        classes: int = 0,
        z: int = 120,
        width: int = 96,
        shared: int = 128,
        sync_batch_norm: bool = True,
        truncation: float = 1.0,
    ) -> None:
        super().__init__()
        plan = plan_doublings(size, self.sizes, "biggan")
        widths = _widths(_UP[plan.square], width)
        chunks = len(widths)
        if z < chunks or z % chunks:
            where = f"{chunks} chunks at {show_size(size)} pixels"
            raise ValueError(f"biggan cuts z in {where}, which {z} is no multiple of")
        if not 0 <= truncation <= 1:
            raise ValueError(f"truncation must be in [0, 1], not {truncation}")
        self.z, self.classes, self.chunk, self.truncation = z, classes, z // chunks, truncation
        self.base = plan.base
        self.embed = nn.Embedding(classes, shared) if classes else None
        given = self.chunk + (shared if classes else 0)
        self.first = SpectralLinear(self.chunk, widths[0] * math.prod(plan.base))
        norm = GlobalBatchNorm if sync_batch_norm else nn.BatchNorm2d
        self.blocks = nn.ModuleList([UpBlock(before, after, given, norm) for before, after in pairwise(widths)])
        attended = _ATTENDED[plan.square]
        self.attended = plan.at(attended)
        if attended:
            self.attention = SelfAttention(widths[attended.bit_length() - 3], values=2, pooled=True)
        self.norm = norm(widths[-1])
        self.last = SpectralConv(widths[-1], channels, 3)
        self.apply(_orthogonal)

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Standard normal noise [n, z]."""
        return rng.normal(self.z)

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        if not self.training and self.truncation < 1:
            noise = truncated_normal(noise, FURTHEST * self.truncation)
        first, *chunks = torch.split(noise, self.chunk, 1)
        x: Tensor = self.first(first).view(len(noise), -1, *self.base)
        shared = [] if self.embed is None else [one_hot_classes(cond, self.classes, noise) @ self.embed.weight]
        for chunk, block in zip(chunks, self.blocks, strict=True):
            x = block(x, torch.cat([*shared, chunk], 1))
            if x.shape[2:] == self.attended:
                x = self.attention(x)
        return torch.tanh(self.last(F.relu(self.norm(x))))


class Discriminator(nn.Module):
    """Images [B, C, H, W] to logits [B].

    Args:
        size: N or (height, width) in pixels, 32 to 256, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        width: channels at half the size; 96 in the paper, 64 for 32 pixels.
        auxiliary: what it says of classes beside, in place of being told them: classes for `auxiliary_classifier`,
            real_fake for `discriminative_classifier`, proxies for `data_to_data`.

    Raises:
        ValueError: there is no such size.
    """

    channels_last = True
    sizes: ClassVar[dict[str, int]] = {"least": 32, "most": 256, "base": 4}

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        classes: int = 0,
        width: int = 96,
        auxiliary: Literal["none", "classes", "real_fake", "proxies"] = "none",
    ) -> None:
        super().__init__()
        plan = plan_doublings(size, self.sizes, "biggan", "judges")
        widths = _widths(_DOWN[plan.square], width)
        self.blocks = nn.ModuleList([DownBlock(channels, widths[0], active=False)])
        for number, (before, after) in enumerate(pairwise(widths), 1):
            self.blocks.append(DownBlock(before, after, halved=number < _HALVINGS[plan.square]))
        attended = _ATTENDED[plan.square]
        self.attended = plan.at(attended)
        if attended:
            number = (plan.square // attended).bit_length() - 2
            self.attention = SelfAttention(widths[number], values=2, pooled=True)
        self.head = SpectralLinear(widths[-1], 1)
        self.classifier = auxiliary_head(auxiliary, widths[-1], classes, SpectralLinear)
        projects = classes and self.classifier is None
        self.embed = SpectralLinear(classes, widths[-1], bias=False) if projects else None
        self.classes, self.auxiliary = classes, auxiliary
        self.apply(_orthogonal)

    def classify(self, x: Tensor) -> Tensor:
        """Logits of classes, [B, classes] or [B, 2 classes]."""
        assert self.classifier is not None, "built with `auxiliary` and classes"
        return self.classifier.classify(self.features(x))

    def compare(self, x: Tensor, cond: Tensor | None) -> Tensor:
        """Of each sample its place and its class's on a sphere, [B, 2, d]."""
        assert self.classifier is not None, "built with `auxiliary` and classes"
        return self.classifier.compare(self.features(x), cond)

    def image_blocks(self) -> list[list[nn.Module]]:
        """The residual blocks."""
        return [[block] for block in self.blocks]

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x)
            if x.shape[2:] == self.attended:
                x = self.attention(x)
        return F.relu(x).sum((2, 3))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return class_logits(self.features(x, cond), cond, self.head, self.embed)


class UpBlock(nn.Module):
    """[B, before, H, W] to [B, after, 2H, 2W]: norm, ReLU, double, 3x3, norm, ReLU, 3x3; beside it double, 1x1."""

    def __init__(self, before: int, after: int, given: int, norm: type[nn.BatchNorm2d]) -> None:
        super().__init__()
        self.norms = nn.ModuleList([EmbeddingBatchNorm(width, given, norm) for width in (before, after)])
        self.convs = nn.ModuleList([SpectralConv(before, after, 3), SpectralConv(after, after, 3)])
        self.aside = SpectralConv(before, after, 1)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        inner = F.interpolate(F.relu(self.norms[0](x, given)), scale_factor=2, mode="nearest")
        inner = F.relu(self.norms[1](self.convs[0](inner), given))
        # A 1x1 convolution before doubling is the same, and a quarter of the work.
        aside = F.interpolate(self.aside(x), scale_factor=2, mode="nearest")
        return self.convs[1](inner) + aside  # type: ignore[no-any-return]


class EmbeddingBatchNorm(nn.Module):
    """Batch normalisation whose scale, about 1, and shift are linear in what is given, [B, given]."""

    def __init__(self, width: int, given: int, norm: type[nn.BatchNorm2d] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm = norm(width, affine=False)
        self.scale = SpectralLinear(given, width, bias=False)
        self.shift = SpectralLinear(given, width, bias=False)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        scale, shift = 1 + self.scale(given), self.shift(given)
        return self.norm(x) * scale[:, :, None, None] + shift[:, :, None, None]  # type: ignore[no-any-return]


def truncated_normal(noise: Tensor, bound: float) -> Tensor:
    """Standard normal noise as noise of the normal distribution within +-bound: the same quantiles of that one."""
    # In double precision: float32 has no numbers between 1 - 6e-8 and 1, where quantiles beyond 5.3 lie.
    inside = torch.special.ndtr(torch.tensor(bound, dtype=torch.float64)) * 2 - 1
    quantiles = (torch.special.ndtr(noise.double()) - 0.5) * inside.to(noise.device)
    return torch.special.ndtri(quantiles + 0.5).to(noise.dtype) if bound > 0 else torch.zeros_like(noise)


def _widths(times: Sequence[int], width: int) -> list[int]:
    """Channels, of which a table says how many times `width` they are."""
    if width < 1:
        raise ValueError(f"biggan needs width >= 1, not {width}")
    return [width * one for one in times]


def _orthogonal(module: nn.Module) -> None:
    """Orthogonal weights; spectral normalisation begins anew with them."""
    if isinstance(module, (SpectralConv, SpectralLinear, nn.Embedding)):
        nn.init.orthogonal_(module.weight)
    if isinstance(module, (SpectralConv, SpectralLinear)):
        initialize_vectors(module)
