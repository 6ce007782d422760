"""Serving batches from decoded blocks in memory: exact position, equal batches, a true global shuffle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gan_dist.data.facts import DataFacts
from gan_dist.data.order import global_batch
from gan_dist.data.prepare import Prepared
from gan_dist.data.shards import pixels_of, read_shard


class Memory:
    """Decoded blocks viewed in place (in Ray's object store, or this process), gathered by position.

    Args:
        blocks: pixels of each block in canonical order, uint8 [N, C, S, S].
        labels: class of each sample in canonical order, [count].
        facts: what was read.
        seed, batch: of the run; they fix the order.
    """

    def __init__(
        self,
        blocks: Sequence[NDArray[np.uint8]],
        labels: NDArray[np.int64],
        facts: DataFacts,
        seed: int,
        batch: int,
    ) -> None:
        self.blocks, self.labels, self.facts = list(blocks), labels, facts
        self.seed, self.batch = seed, batch
        self._ends = np.cumsum([len(block) for block in self.blocks])

    def positions(self, reals_drawn: int) -> NDArray[np.int64]:
        """Positions of the whole global batch that comes after `reals_drawn` samples."""
        return global_batch(self.seed, self.facts.count, self.batch, reals_drawn)

    def rows(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Pixels uint8 [n, C, S, S] and labels [n] at canonical positions."""
        block = np.searchsorted(self._ends, positions, side="right")
        out = np.empty((len(positions), *self.blocks[0].shape[1:]), np.uint8)
        for number in np.unique(block):
            here = block == number
            first = self._ends[number] - len(self.blocks[number])
            out[here] = self.blocks[number][positions[here] - first]
        return torch.from_numpy(out), torch.from_numpy(self.labels[positions])


def in_memory(found: Prepared, seed: int, batch: int) -> Memory:
    """Prepared data read into this process."""
    blocks = [pixels_of(read_shard(found.folder, file, ["image"])) for file in found.shards]
    return Memory(blocks, found.column("label"), found.facts, seed, batch)
