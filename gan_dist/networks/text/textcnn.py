"""The convolutional discriminator of SeqGAN: filters of many widths, their largest answers, a highway layer (Zhang and
LeCun 2015; Yu et al. 2017, arXiv 1609.05473, appendix B)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.networks.text.autoregressive import embed_after_prompt, ended_prompt

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
        prompt_length: most tokens of a prompt that a sentence follows; 0 where there are none.
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
        prompt_length: int = 0,
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
        self.prompted = prompt_length > 0

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        found = embed_after_prompt(x, cond if self.prompted else None, self.tokens)
        found = found.transpose(1, 2).contiguous()  # which each convolution would do for itself
        return self._classify([one(found).max(2).values for one in self.convolutions], cond)

    def endings(self, x: Tensor, written: Tensor, cond: Tensor | None = None) -> Tensor:
        """Logits [B, T - 1, R] of `written` [B, T - 1, R, T], whose place g - 1 holds the first g tokens of x [B, T] as
        they were written on R times. What filters answer to shared tokens is found once; in many small steps, for CPUs.
        """
        batch, begun, copies, length = written.shape
        prompt = ended_prompt(cond) if self.prompted and cond is not None else x[:, :0]
        given = self.tokens(torch.cat([prompt, x], 1)).transpose(1, 2)
        so_far = [one(given).cummax(2).values for one in self.convolutions]
        classes = None if cond is None else cond.repeat_interleave(copies, 0)
        logits, shared = [], prompt.repeat_interleave(copies, 0)
        for g in range(1, length):
            rows = self.tokens(torch.cat([shared, written[:, g - 1].reshape(-1, length)], 1)).flatten(1)
            known_to = g + prompt.shape[1]
            largest = [
                _largest(one, rows, known, known_to) for one, known in zip(self.convolutions, so_far, strict=True)
            ]
            logits.append(self._classify(largest, classes))
        return torch.stack(logits, 1).view(batch, copies, begun).transpose(1, 2)

    def _classify(self, largest: list[Tensor], cond: Tensor | None) -> Tensor:
        """Logits [B] by the largest answers of the filters of each width, [B, F]."""
        features = self.dropout(self.highway(F.relu(torch.cat(largest, 1))))
        logits: Tensor = self.out(features).squeeze(1)
        return logits if self.cls is None else logits + (self.cls(cond) * features).sum(1)


def _largest(filters: nn.Module, rows: Tensor, known: Tensor, g: int) -> Tensor:
    """The largest answers [B R, F] to sentences whose tokens' embeddings lie side by side in `rows` [B R, T E].

    Args:
        filters: a Conv1d of E channels.
        known: the largest answers up to each place of the sentences they share g tokens with, [B, F, places].
    """
    assert isinstance(filters, nn.Conv1d)
    size, width = filters.in_channels, filters.kernel_size[0]
    weight = filters.weight.transpose(1, 2).flatten(1)
    inside = max(0, g - width + 1)
    found = [known[:, :, inside - 1].repeat_interleave(len(rows) // len(known), 0)] if inside else []
    for place in range(inside, known.shape[2]):
        here = F.linear(rows[:, place * size : (place + width) * size], weight, filters.bias)
        found = [torch.maximum(found[0], here) if found else here]
    return found[0]
