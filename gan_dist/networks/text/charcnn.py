"""The character model of WGAN-GP: a sentence at once, by residual convolutions (Gulrajani et al. 2017, arXiv
1704.00028, section 5.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.distributed.randomness import Rng
from gan_dist.networks.text.autoregressive import NEVER_WRITTEN, embed_tokens, sentence_mask

SHARE = 0.3
BLOCKS = 5


class Block(nn.Module):
    """x + 0.3 conv(relu(conv(relu(x)))) over five places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(width, width, 5, padding=2), nn.Conv1d(width, width, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + SHARE * self.second(F.relu(self.first(F.relu(x))))
        return found


class Generator(nn.Module):
    """From noise [B, z] to rows of the vocabulary [B, T, V] by softmax in training, to token ids [B, T] else.

    What comes after the end of a sentence is `<pad>` in what it makes outside training; in training D sees it all, and
    sees padding in real sentences.

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        eos: id that ends a sentence; null where all are of full length.
        classes: classes of sentences; 0 for none.
        z: numbers of noise.
        width: channels of the convolutions.
    """

    def __init__(
        self, *, vocabulary: int, length: int, eos: int | None, classes: int = 0, z: int = 128, width: int = 512
    ) -> None:
        super().__init__()
        self.length, self.eos, self.z, self.width = length, eos, z, width
        self.cls = nn.Embedding(classes, z) if classes else None
        self.begin = nn.Linear(z, width * length)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(BLOCKS)))
        self.out = nn.Conv1d(width, vocabulary, 1)

    def draw(self, n: int, rng: Rng) -> Tensor:
        return rng.normal(self.z)

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        z = noise if self.cls is None else noise + self.cls(cond)
        logits: Tensor = self.out(self.blocks(self.begin(z).view(-1, self.width, self.length))).transpose(1, 2)
        if self.training:
            return torch.softmax(logits, 2)
        first = 0 if self.eos is None else NEVER_WRITTEN
        tokens: Tensor = first + logits[:, :, first:].argmax(2)
        return tokens.masked_fill(sentence_mask(tokens, self.eos) == 0, 0)


class Discriminator(nn.Module):
    """Judges rows of the vocabulary [B, T, V], or token ids [B, T]: logits [B].

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        classes: classes of sentences; 0 for none.
        width: channels of the convolutions.
    """

    def __init__(self, *, vocabulary: int, length: int, classes: int = 0, width: int = 512) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(BLOCKS)))
        self.out = nn.Linear(width * length, 1)
        self.cls = nn.Embedding(classes, width * length) if classes else None

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        features = self.blocks(embed_tokens(x, self.tokens).transpose(1, 2)).flatten(1)
        logits: Tensor = self.out(features).squeeze(1)
        return logits if self.cls is None else logits + (self.cls(cond) * features).sum(1)
