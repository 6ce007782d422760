"""Serving batches from decoded blocks in memory: exact position, equal batches, a true global shuffle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gan_dist.data.order import global_batch
from gan_dist.data.read import DataFacts, Located


class Memory:
    """Decoded blocks viewed in place (in Ray's object store, or this process), gathered by position.

    Args:
        blocks: pixels of each block, uint8 [N, C, S, S].
        located: where each usable row lies.
        facts: what was read.
        seed, batch: of the run; they fix the order.
    """

    def __init__(
        self, blocks: Sequence[NDArray[np.uint8]], located: Located, facts: DataFacts, seed: int, batch: int
    ) -> None:
        self.blocks, self.located, self.facts = list(blocks), located, facts
        self.labels = located.label
        self.seed, self.batch = seed, batch

    def positions(self, reals_drawn: int) -> NDArray[np.int64]:
        """Positions of the whole global batch that comes after `reals_drawn` samples."""
        return global_batch(self.seed, self.facts.count, self.batch, reals_drawn)

    def rows(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Pixels uint8 [n, C, S, S] and labels [n] at canonical positions."""
        block, row = self.located.block[positions], self.located.row[positions]
        out = np.empty((len(positions), *self.blocks[0].shape[1:]), np.uint8)
        for number in np.unique(block):
            here = block == number
            out[here] = self.blocks[number][row[here]]
        return torch.from_numpy(out), torch.from_numpy(self.labels[positions])


def pixels_of(table: Any) -> NDArray[np.uint8]:
    """The image column of an Arrow block, without copying where Arrow allows."""
    column = table["image"]
    chunks = [chunk.to_numpy(zero_copy_only=False) for chunk in column.chunks]
    pixels = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
    assert pixels.dtype == np.uint8 and pixels.ndim == 4
    return pixels
