"""A small network that was trained to tell the classes of real sentences apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gan_dist.metrics.features.fit import fit_classifier, split_held_out

EMBEDDING, FILTERS, WIDTHS, CHUNK = 64, 64, (1, 2, 3), 256
Rows = Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]


class TextClassifier(nn.Module):
    """Convolutions over one, two and three words, and their largest answers (Kim 2014, arXiv 1408.5882). The features
    of token ids [B, T] are [B, classes]: 1 for the class that it takes a sentence to be of, and 0.

    Args:
        vocabulary: tokens there are.
        classes: how many there are; at least 2.
        steps: most batches of 64 sentences that it is trained on.
    """

    def __init__(self, *, vocabulary: int, classes: int, steps: int = 1000) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError("features 'text_classifier' learns from labels, and the data have none; set data.labels")
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        self.classes, self.steps = classes, steps
        self.tokens = nn.Embedding(vocabulary, EMBEDDING)
        self.convolutions = nn.ModuleList(nn.Conv1d(EMBEDDING, FILTERS, width, padding=width - 1) for width in WIDTHS)
        self.last = nn.Linear(FILTERS * len(WIDTHS), classes)

    def forward(self, rows: Tensor) -> Tensor:
        return F.one_hot(self.logits(rows).argmax(1), self.classes).to(self.last.weight.dtype)

    def logits(self, rows: Tensor) -> Tensor:
        """Token ids [B, T] to scores of the classes, [B, classes]."""
        found = self.tokens(rows.to(self.last.weight.device).long()).transpose(1, 2)
        pooled = torch.cat([F.relu(one(found)).amax(2) for one in self.convolutions], 1)
        return torch.as_tensor(self.last(pooled))

    def fit(self, rows: Rows, count: int) -> dict[str, float]:
        """Train on nine tenths of the data; `accuracy` on the tenth that was held out."""

        def loss(chosen: NDArray[np.int64]) -> Tensor:
            sentences, labels = rows(chosen)
            return F.cross_entropy(self.logits(sentences), labels.to(self.last.weight.device))

        held = np.sort(split_held_out(count))
        steps = fit_classifier(self.parameters(), loss, np.setdiff1d(np.arange(count), held), self.steps)
        return {"accuracy": self._accuracy(rows, held), "steps": steps}

    @torch.no_grad()
    def _accuracy(self, rows: Rows, positions: NDArray[np.int64]) -> float:
        right = 0
        for part in np.array_split(positions, -(-len(positions) // CHUNK)):
            sentences, labels = rows(part)
            right += int((self.logits(sentences).argmax(1).cpu() == labels.cpu()).sum())
        return right / len(positions)
