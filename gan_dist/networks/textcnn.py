"""The convolutional discriminator of SeqGAN: filters of many widths, their largest answers, a highway layer (Zhang and
LeCun 2015; Yu et al. 2017, arXiv 1609.05473, appendix B)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.networks.autoregressive import embedded

WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)
FILTERS = (100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160)


class Highway(nn.Module):
    """g relu(W x) + (1 - g) x with g = sigmoid(W' x) (Srivastava et al. 2015, arXiv 1505.00387)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.new, self.gate = nn.Linear(size, size), nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        g = torch.sigmoid(self.gate(x))
        return g * F.relu(self.new(x)) + (1 - g) * x


class Discriminator(nn.Module):
    """Judges token ids [B, T], or rows of the vocabulary [B, T, V]: logits [B].

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        classes: classes of sentences; 0 for none.
        embedding: size of token embeddings.
        widths: tokens that each kind of filter spans; wider ones than the sentences are left out.
        filters: how many there are of each width.
        dropout: share of features dropped in training, in [0, 1).
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        length: int,
        classes: int = 0,
        embedding: int = 64,
        widths: tuple[int, ...] = WIDTHS,
        filters: tuple[int, ...] = FILTERS,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        if len(widths) != len(filters):
            raise ValueError(f"widths and filters belong together, but there are {len(widths)} and {len(filters)}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {dropout}")
        fitting = [(width, count) for width, count in zip(widths, filters, strict=True) if width <= length]
        if not fitting:
            raise ValueError(f"widths: none of {widths} fits into sentences of {length} tokens")
        self.tokens = nn.Embedding(vocabulary, embedding)
        nn.init.uniform_(self.tokens.weight, -1.0, 1.0)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, count, width) for width, count in fitting)
        features = sum(count for _, count in fitting)
        self.highway, self.dropout, self.out = Highway(features), nn.Dropout(dropout), nn.Linear(features, 1)
        self.cls = nn.Embedding(classes, features) if classes else None

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        found = embedded(x, self.tokens).transpose(1, 2).contiguous()  # which each convolution would do for itself
        largest = torch.cat([one(found).amax(2) for one in self.convolutions], 1)
        features = self.dropout(self.highway(F.relu(largest)))
        logits: Tensor = self.out(features).squeeze(1)
        return logits if self.cls is None else logits + (self.cls(cond) * features).sum(1)
