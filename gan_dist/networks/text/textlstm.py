"""A discriminator after ScratchGAN's, on torch's LSTM, which is fast (`scratchgan` has theirs): it says of each token
how real the sentence is up to it (d'Autume et al. 2019, arXiv 1905.09922, section 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gan_dist.networks.text.autoregressive import embed_after_prompt

POSITIONS = 8


class Discriminator(nn.Module):
    """Judges token ids [B, T], or rows of the vocabulary [B, T, V]: logits [B, T].

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        classes: classes of sentences; 0 for none.
        prompt_length: most tokens of a prompt that a sentence follows; 0 where there are none.
        embedding: size of token embeddings; 8 features of the position join them.
        hidden: size of the LSTM.
        dropout: share of embeddings dropped in training, in [0, 1).
    """

    positions: Tensor

    def __init__(
        self,
        *,
        vocabulary: int,
        length: int,
        classes: int = 0,
        prompt_length: int = 0,
        embedding: int = 64,
        hidden: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {dropout}")
        self.tokens, self.dropout = nn.Embedding(vocabulary, embedding), nn.Dropout(dropout)
        self.lstm = nn.LSTM(embedding + POSITIONS, hidden, batch_first=True)
        self.norm, self.out = nn.LayerNorm(hidden), nn.Linear(hidden, 1)
        self.cls = nn.Embedding(classes, hidden) if classes else None
        self.before = prompt_length + 1 if prompt_length else 0  # places of what is given, and is not judged
        self.register_buffer("positions", _waves(self.before + length), persistent=False)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        found = self.dropout(embed_after_prompt(x, cond if self.before else None, self.tokens))
        places = self.positions.to(found).expand(len(found), -1, -1)
        features = self.norm(self.lstm(torch.cat([found, places], 2))[0])[:, self.before :]
        logits: Tensor = self.out(features).squeeze(2)
        return logits if self.cls is None else logits + (self.cls(cond)[:, None] * features).sum(2)


def _waves(length: int) -> Tensor:
    """Cosines of the position with periods from 2 to `length`, evenly spaced in their logarithm, [T, 8]."""
    periods = torch.logspace(math.log10(2), math.log10(max(3, length)), POSITIONS)
    return torch.cos(2 * math.pi * torch.arange(length)[:, None] / periods)
