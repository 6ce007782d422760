"""The discriminator of RelGAN: many one-dimensional representations of a sentence, each judged alone (Nie et al. 2019,
section 2.3)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.networks.text.autoregressive import embed_after_prompt
from gan_dist.networks.text.textcnn import Highway

HEIGHTS = (2, 3, 4, 5)


class Discriminator(nn.Module):
    """Judges token ids [B, T], or rows of the vocabulary [B, T, V]: logits [B, representations].

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        classes: classes of sentences; 0 for none.
        prompt_length: most tokens of a prompt that a sentence follows; 0 where there are none.
        representations: embeddings of one number each.
        filters: of each height from 2 to 5 tokens; higher ones than the sentences are left out.
        features: size of the layer before the logits.
        dropout: share of features dropped in training, in [0, 1).
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        length: int,
        classes: int = 0,
        prompt_length: int = 0,
        representations: int = 64,
        filters: int = 300,
        features: int = 100,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {dropout}")
        heights = [height for height in HEIGHTS if height <= length]
        self.tokens = nn.Embedding(vocabulary, representations)
        self.convolutions = nn.ModuleList(nn.Conv1d(1, filters, height) for height in heights)
        self.highway = Highway(filters * len(heights))
        self.dropout = nn.Dropout(dropout)
        self.hidden, self.out = nn.Linear(filters * len(heights), features), nn.Linear(features, 1)
        self.cls = nn.Embedding(classes, features) if classes else None
        self.prompted = prompt_length > 0
        self._begin()

    def _begin(self) -> None:
        """As in the authors' code. It is the embeddings that matter, which begin far smaller than torch's: with torch's
        beginning D tells real sentences from generated ones after ten steps."""
        _scatter(self.tokens.weight, self.tokens.num_embeddings**-0.5)
        for part in self.modules():
            if isinstance(part, (nn.Conv1d, nn.Linear)):
                gain = 2 if isinstance(part, nn.Conv1d) else 1
                _scatter(part.weight, (gain / part.weight[0].numel()) ** 0.5)
                assert part.bias is not None
                nn.init.zeros_(part.bias)
        if self.cls is not None:
            _scatter(self.cls.weight, self.out.in_features**-0.5)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        found = embed_after_prompt(x, cond if self.prompted else None, self.tokens).transpose(1, 2)
        batch, representations, length = found.shape
        alone = found.reshape(-1, length)
        pooled = F.relu(torch.cat([_largest(alone, one) for one in self.convolutions], 1))
        hidden = self.hidden(self.dropout(self.highway(pooled))).view(batch, representations, -1)
        logits: Tensor = self.out(hidden).squeeze(2)
        return logits if self.cls is None else logits + (self.cls(cond)[:, None] * hidden).sum(2)


def _scatter(weight: Tensor, std: float) -> None:
    """A normal distribution, of which none lie beyond two standard deviations."""
    # By inversion, in float64: torch's own numbers are others in other versions, and near a rejection on other CPUs.
    within = (2 * torch.rand(weight.shape).double() - 1) * math.erf(2 / math.sqrt(2))
    with torch.no_grad():
        weight.copy_(torch.erfinv(within) * math.sqrt(2) * std)


def _largest(x: Tensor, convolution: Any) -> Tensor:
    """The largest answers over all places, [n, filters], of a convolution of one channel to signals [n, length]: as a
    product of matrices, for so few numbers at a time a convolution is slower."""
    answers = x.unfold(1, convolution.kernel_size[0], 1) @ convolution.weight.flatten(1).T
    # `max` knows where the largest were; `amax` would look for them again in the backward pass.
    return torch.as_tensor(answers.max(1).values + convolution.bias)
