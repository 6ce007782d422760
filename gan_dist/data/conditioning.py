"""What samples are conditioned on: the class or the vector of each, drawn as often as the data have them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gan_dist.data.facts import DataFacts
from gan_dist.data.ingest import Ingest
from gan_dist.distributed.randomness import Rng


class Conditioning:
    """Classes [B], or vectors [B, K].

    Args:
        frequencies: how often each class or vector is to come, in any unit, [M].
        vectors: float32 [M, K]; None where samples are of classes.
        device: where conditions are wanted.
    """

    def __init__(self, frequencies: Tensor, vectors: Tensor | None, device: torch.device) -> None:
        shares = frequencies.to(torch.float64)
        self.shares = (shares.cumsum(0) / shares.sum()).to(device)
        self.vectors = None if vectors is None else vectors.to(device)

    @classmethod
    def of(
        cls, facts: DataFacts, rows: Ingest | None, device: torch.device, weights: Sequence[float] = ()
    ) -> Conditioning | None:
        """What the data's samples are conditioned on; None where on nothing.

        Args:
            rows: the data; without them, vectors are the few that are known of them.
            weights: of the classes, in place of how often the data have them.
        """
        if facts.vectors:
            if rows is None:
                return cls(torch.ones(len(facts.vectors)), torch.tensor(facts.vectors), device)
            assert rows.vectors is not None, "whoever serves these data serves their vectors"
            counts = np.bincount(rows.labels, minlength=len(rows.vectors))
            return cls(torch.from_numpy(counts), torch.from_numpy(rows.vectors), device)
        return cls(torch.tensor(weights or facts.class_counts), None, device) if facts.classes else None

    def draw_numbers(self, rng: Rng) -> Tensor:
        """The number of a class or vector for each sample, [B]."""
        return torch.searchsorted(self.shares, rng.uniform().double(), right=True).clamp_max(len(self.shares) - 1)

    def draw(self, rng: Rng) -> Tensor:
        """A condition for each sample."""
        return self.at(self.draw_numbers(rng))

    def at(self, labels: Tensor) -> Tensor:
        """The conditions of samples with these labels [B]."""
        labels = labels.to(self.shares.device, non_blocking=True)
        return labels if self.vectors is None else self.vectors[labels]
