"""GAT: transformers as generator and discriminator (Hyun et al. 2025, arXiv 2509.24935), for 8 to 256 pixels.

Experimental. G makes pictures of fixed waves of the place alone, scaled and gated by a style in every block, and after
each quarter of the blocks one: each adds to those before. D judges all four at once, each noised in its own degree.
Wants the objective `multi_level`, AdamW with betas [0, 0.99], a gradient clipped at 1, and a rate of 2e-4 * 768 /
hidden. With `taught` D also learns to predict what a pretrained network sees: the objective `distillation`.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.distributed.randomness import Rng
from gan_dist.networks.layers.checks import one_hot_classes
from gan_dist.spec.image_size import Size, SizeRule, show_size, sides

LEVELS = 4
JOINT = 2048  # dimensions in which D compares a picture with its class
PREDICTING = 2048  # dimensions of the layers that predict a teacher's features
RATE = 0.01  # of the mapping's learning rate
LAYER_SCALE = 0.1
PICTURE_GAIN = 0.25  # that the first pictures are about as bright as real ones
WAVES = 10_000.0


class Generator(nn.Module):
    """Noise [B, z] to images [B, C, H, W], not bounded.

    Args:
        size: N or (height, width) in pixels, 8 to 256, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        z: dimensions of the normal noise, and of a class's vector.
        hidden: dimensions of a place; 384, 768, 1024 and 1152 in the paper's S, B, L and XL.
        depth: blocks, a multiple of 4; 12, 12, 24 and 28 in the paper.
        heads: of the attention; 6, 12, 16 and 16 in the paper.
        patch: pixels of a place's side.

    Raises:
        ValueError: the numbers do not fit together.
    """

    sizes: ClassVar[dict[str, int]] = {"least": 8, "most": 256, "multiple": 4}

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        classes: int = 0,
        z: int = 64,
        hidden: int = 384,
        depth: int = 12,
        heads: int = 6,
        patch: int = 2,
    ) -> None:
        super().__init__()
        places = _places(size, hidden, depth, heads, patch, "makes")
        self.z, self.classes, self.patch, self.places = z, classes, patch, places
        self.embed = nn.Embedding(classes, z) if classes else None
        self.map = nn.ModuleList([SlowLinear(2 * z if classes else z, hidden), SlowLinear(hidden, hidden)])
        self.blocks = nn.ModuleList([StyledBlock(hidden, heads) for _ in range(depth)])
        self.pictures = nn.ModuleList([Picture(hidden, channels * patch**2) for _ in range(LEVELS)])
        self.register_buffer("waves", position_waves(places, hidden), persistent=False)
        self.register_buffer("turns", rotary_angles(places, hidden // heads), persistent=False)

    waves: Tensor
    turns: Tensor

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Standard normal noise [n, z]."""
        return rng.normal(self.z)

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.synthesis(self.styles(noise, cond), noise)

    def styles(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        """A style for each block, [B, depth, hidden], all of them equal."""
        told = [F.rms_norm(noise, noise.shape[1:])]
        if self.embed is not None:
            vectors = one_hot_classes(cond, self.classes, noise) @ self.embed.weight
            told.insert(0, F.rms_norm(vectors, vectors.shape[1:]))
        style = self.map[1](F.silu(self.map[0](torch.cat(told, 1))))
        return style[:, None].expand(-1, len(self.blocks), -1)  # type: ignore[no-any-return]

    def synthesis(self, styles: Tensor, noise: Tensor) -> Tensor:
        """Images [B, C, H, W] of styles [B, depth, hidden]."""
        return self._levels(styles)[:, -1]

    def levels(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        """The four pictures of each sample, [B, 4, C, H, W], the finished one last."""
        return self._levels(self.styles(noise, cond))

    def latent_weights(self) -> list[Tensor]:
        """By what each block takes its style, [4 hidden, hidden]."""
        return [block.told.weight for block in self.blocks]  # type: ignore[union-attr,misc]

    def _levels(self, styles: Tensor) -> Tensor:
        x = self.waves.to(styles.dtype).expand(len(styles), -1, -1)
        each, made = len(self.blocks) // LEVELS, []
        for number, block in enumerate(self.blocks):
            x = block(x, styles[:, number], self.turns)
            if (number + 1) % each == 0:
                patches = self.pictures[number // each](x, styles[:, number])
                made.append(self._joined(patches))
        return torch.stack(made, 1).cumsum(1)

    def _joined(self, patches: Tensor) -> Tensor:
        """Places [B, T, C * patch * patch] as one picture."""
        folded = patches.transpose(1, 2).reshape(len(patches), -1, *self.places)
        return F.pixel_shuffle(folded, self.patch)


class Discriminator(nn.Module):
    """Four pictures [B, 4 C, H, W] of one sample to logits [B]; of one picture [B, C, H, W] all four are the same.

    Args:
        size: N or (height, width) in pixels, 8 to 256, supplied by the data.
        channels: image channels, supplied by the data.
        classes: number of classes, 0 for none, supplied by the data.
        hidden: dimensions of a place; 384, 768, 1024 and 1152 in the paper's S, B, L and XL.
        depth: blocks; 12, 12, 24 and 28 in the paper.
        heads: of the attention; 6, 12, 16 and 16 in the paper.
        patch: pixels of a place's side.
        taught: dimensions of the features that `distillation` teaches, 0 for none; 768 in the paper.

    Raises:
        ValueError: the numbers do not fit together.
    """

    sizes: ClassVar[dict[str, int]] = {"least": 8, "most": 256, "multiple": 4}

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        classes: int = 0,
        hidden: int = 384,
        depth: int = 12,
        heads: int = 6,
        patch: int = 2,
        taught: int = 0,
    ) -> None:
        super().__init__()
        places = _places(size, hidden, depth, heads, patch, "judges")
        if taught < 0:
            raise ValueError(f"taught must be at least 0, not {taught}")
        self.classes, self.channels, self.patch, self.places, self.taught = classes, channels, patch, places, taught
        self.first = nn.Linear(LEVELS * channels * patch**2, hidden)
        self.summary = nn.Parameter(torch.randn(hidden) * 0.02)
        self.blocks = nn.ModuleList([PlainBlock(hidden, heads) for _ in range(depth)])
        self.norm = nn.RMSNorm(hidden)
        self.head = nn.Linear(hidden, JOINT if classes else 1)
        self.embed = nn.Embedding(classes, JOINT) if classes else None
        self.compared = nn.Sequential(
            *([nn.Linear(JOINT, JOINT), nn.SiLU(), nn.Linear(JOINT, JOINT)] if classes else [])
        )
        self.register_buffer("waves", position_waves(places, hidden), persistent=False)
        turns = rotary_angles(places, hidden // heads)
        # The summary stands at no place: it is not turned.
        self.register_buffer("turns", torch.cat([torch.zeros_like(turns[:1]), turns]), persistent=False)
        nn.init.xavier_uniform_(self.first.weight)
        if self.embed is not None:
            nn.init.normal_(self.embed.weight, 0.0, 0.02)
        self.predict = _predicting(hidden, taught) if taught else None  # last, that the others begin the same

    waves: Tensor
    turns: Tensor

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.forward_tokens(x, cond)[0]

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """What the logits are made of, [B, hidden]."""
        return self._summary(self._tokens(x))

    def forward_tokens(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits [B], and the summary and the places that they were found with, [B, 1 + T, hidden]."""
        tokens = self._tokens(x)
        found: Tensor = self.head(self._summary(tokens))
        if self.embed is None:
            return found.squeeze(1), tokens
        vectors = one_hot_classes(cond, self.classes, found) @ self.embed.weight
        return (found * self.compared(vectors)).sum(1), tokens

    def predictions(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """A teacher's features of the whole picture [B, taught] and of each place [B, T, taught], as D predicts them
        from `forward_tokens`."""
        assert self.predict is not None, "asked for in preflight"
        found: Tensor = self.predict(tokens)
        return found[:, 0], found[:, 1:]

    def _summary(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.norm(tokens[:, 0])
        return found

    def _tokens(self, x: Tensor) -> Tensor:
        if x.shape[1] == self.channels:
            x = x.repeat(1, LEVELS, 1, 1)
        patches = F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)
        places = self.first(patches) + self.waves.to(x.dtype)
        found = torch.cat([self.summary.to(places.dtype).expand(len(x), 1, -1), places], 1)
        for block in self.blocks:
            found = block(found, self.turns)
        return found


class StyledBlock(nn.Module):
    """Attention, then a gated layer, each of what a style scales and each gated by it, beside x [B, T, hidden]."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(hidden, heads)
        self.gated = GatedLayer(hidden)
        self.told = nn.Linear(hidden, 4 * hidden)
        nn.init.xavier_uniform_(self.told.weight, 0.1)
        nn.init.zeros_(self.told.bias)

    def forward(self, x: Tensor, style: Tensor, turns: Tensor) -> Tensor:
        scale, gate, second_scale, second_gate = self.told(F.silu(style))[:, None].chunk(4, 2)
        x = x + gate * self.attention(_normalized(x) * (1 + scale), turns)
        made: Tensor = x + second_gate * self.gated(_normalized(x) * (1 + second_scale))
        return made


class PlainBlock(nn.Module):
    """The same without a style: learned scales before each, and small ones after it."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.RMSNorm(hidden), nn.RMSNorm(hidden)])
        self.attention = Attention(hidden, heads)
        self.gated = GatedLayer(hidden)
        self.scales = nn.Parameter(torch.full((2, hidden), LAYER_SCALE))

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        x = x + self.scales[0] * self.attention(self.norms[0](x), turns)
        made: Tensor = x + self.scales[1] * self.gated(self.norms[1](x))
        return made


class Attention(nn.Module):
    """Self-attention of [B, T, hidden], queries and keys of length 1 in each head and turned by their places."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.asked = nn.Linear(hidden, 3 * hidden)
        self.query, self.key = nn.RMSNorm(hidden // heads), nn.RMSNorm(hidden // heads)
        self.last = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        query, key, value = self.asked(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key = turned(self.query(query), turns), turned(self.key(key), turns)
        # Written out, as torch's fused attention cannot be differentiated twice, which R1 needs.
        shares = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(query.shape[3]), 3)
        made: Tensor = self.last((shares @ value).transpose(1, 2).flatten(2))
        return made


class GatedLayer(nn.Module):
    """SwiGLU: one half of a hidden layer gates the other, [B, T, hidden] to the same."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        inner = int(2 / 3 * 4 * hidden)
        self.wide, self.last = nn.Linear(hidden, 2 * inner), nn.Linear(inner, hidden)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.wide(x).chunk(2, 2)
        made: Tensor = self.last(F.silu(gate) * value)
        return made


class Picture(nn.Module):
    """Places [B, T, hidden] to their pixels [B, T, pixels], scaled by a style."""

    def __init__(self, hidden: int, pixels: int) -> None:
        super().__init__()
        self.told, self.last = nn.Linear(hidden, hidden), nn.Linear(hidden, pixels)
        nn.init.xavier_uniform_(self.told.weight, 0.1)
        nn.init.xavier_uniform_(self.last.weight, PICTURE_GAIN)
        for one in (self.told, self.last):
            nn.init.zeros_(one.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        made: Tensor = self.last(_normalized(x) * (1 + self.told(F.silu(style))[:, None]))
        return made


class SlowLinear(nn.Module):
    """A linear layer that learns at a hundredth of the rate."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.weight, 1 / RATE)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * RATE, self.bias * RATE)


def position_waves(places: tuple[int, int], hidden: int) -> Tensor:
    """Sines and cosines of row and column in many wavelengths, [T, hidden]."""
    lengths = WAVES ** (-torch.arange(hidden // 4, dtype=torch.float64) / (hidden // 4))
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in places), indexing="ij")
    angles = [one.reshape(-1, 1) * lengths for one in (columns, rows)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1).float()


def rotary_angles(places: tuple[int, int], size: int) -> Tensor:
    """Angles by which a head of `size` dimensions turns its pairs, the first half by row and the others by column,
    [T, size / 2]."""
    lengths = WAVES ** (-torch.arange(size // 4, dtype=torch.float64) / (size // 4))
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in places), indexing="ij")
    return torch.cat([one.reshape(-1, 1) * lengths for one in (rows, columns)], 1).float()


def turned(x: Tensor, angles: Tensor) -> Tensor:
    """Pairs of [B, heads, T, size] turned by [T, size / 2]."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)  # type: ignore[no-untyped-call]
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.stack([first * cosine - second * sine, first * sine + second * cosine], -1).flatten(-2)


def _predicting(hidden: int, taught: int) -> nn.Sequential:
    """One network for the summary and all places, as the paper's counts of parameters say."""
    first, second, last = (nn.Linear(*pair) for pair in pairwise((hidden, PREDICTING, PREDICTING, taught)))
    for layer in (first, second, last):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), last)


def _normalized(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:])


def _places(size: Size, hidden: int, depth: int, heads: int, patch: int, does: str) -> tuple[int, int]:
    """How many rows and columns of patches there are.

    Raises:
        ValueError: the numbers do not fit together.
    """
    SizeRule.of(Generator.sizes).check(size, "gat", does)
    if min(hidden, depth, heads, patch) < 1:
        raise ValueError(
            f"gat needs positive numbers, not hidden={hidden}, depth={depth}, heads={heads}, patch={patch}"
        )
    if hidden % (4 * heads) or depth % LEVELS:
        raise ValueError(
            f"gat needs a hidden that 4 * heads = {4 * heads} divides and a depth that {LEVELS} divides, not {hidden} "
            f"and {depth}"
        )
    height, width = sides(size)
    if height % patch or width % patch:
        raise ValueError(f"gat cannot cut {show_size(size)} pixels into patches of {patch}")
    return height // patch, width // patch
