"""The one plan of what is served when: a pure function of (seed, samples, batch, position)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from gan_dist.distributed.randomness import seed_of
from gan_dist.errors import UsageError

Positions = NDArray[np.int64]


def epoch_samples(count: int, batch: int) -> int:
    """Samples served in one epoch: whole global batches; the rest of that epoch's order is left out."""
    return count // batch * batch


@dataclass(frozen=True)
class ServingOrder:
    """The order of a run's samples, by their canonical positions: shards end to end.

    Attributes:
        shards: samples of each shard.
        window: how many shards are mixed at a time; 0 mixes them all.
    """

    seed: int
    batch: int
    shards: tuple[int, ...]
    window: int = 0

    @cached_property
    def count(self) -> int:
        return sum(self.shards)

    def positions(self, reals_drawn: int) -> Positions:
        """Positions of the global batch that comes after `reals_drawn` samples, [batch].

        Raises:
            ValueError: there are fewer samples than one batch.
        """
        epoch, offset = self._place(reals_drawn)
        if self.window == 0:
            return shuffle(self.count, self.seed, "order", epoch)[offset : offset + self.batch]
        ends = self._ends(epoch)
        first = int(np.searchsorted(ends, offset, side="right"))
        last = int(np.searchsorted(ends, offset + self.batch - 1, side="right"))
        held = np.concatenate([self._mixed(epoch, number) for number in range(first, last + 1)])
        start = offset - (int(ends[first - 1]) if first else 0)
        return held[start : start + self.batch]

    def shards_from(self, reals_drawn: int, windows: int) -> list[int]:
        """The shards of the window that `reals_drawn` lies in and of the next ones, `windows` in all."""
        epoch, offset = self._place(reals_drawn)
        number = int(np.searchsorted(self._ends(epoch), offset, side="right"))
        wanted: list[int] = []
        for _ in range(windows):
            if number == len(self._ends(epoch)):
                epoch, number = epoch + 1, 0
            wanted += self._window(epoch, number).tolist()
            number += 1
        return wanted

    def _place(self, reals_drawn: int) -> tuple[int, int]:
        if self.count < self.batch:
            raise UsageError(f"batch: {self.batch} is larger than the data ({self.count} samples)")
        return divmod(reals_drawn, epoch_samples(self.count, self.batch))

    @cached_property
    def _first(self) -> Positions:
        """Position of each shard's first sample."""
        return np.cumsum([0, *self.shards[:-1]])

    def _window(self, epoch: int, number: int) -> Positions:
        """The shards of one window of an epoch."""
        order = shuffle(len(self.shards), self.seed, "shards", epoch)
        return order[number * self.window : (number + 1) * self.window]

    def _ends(self, epoch: int) -> Positions:
        """How many samples the windows of an epoch hold together with those before."""
        rows = np.asarray(self.shards)[shuffle(len(self.shards), self.seed, "shards", epoch)]
        sums = np.add.reduceat(rows, np.arange(0, len(rows), self.window))
        return np.cumsum(sums)

    @lru_cache(maxsize=4)  # noqa: B019  # a run has one plan
    def _mixed(self, epoch: int, number: int) -> Positions:
        """The samples of one window in their order."""
        shards = self._window(epoch, number)
        held = np.concatenate([self._first[shard] + np.arange(self.shards[shard]) for shard in shards])
        return held[shuffle(len(held), self.seed, "window", epoch, number)]


@lru_cache(maxsize=8)
def shuffle(count: int, *key: object) -> Positions:
    """The numbers below `count`, each once, in the order that belongs to the key."""
    return np.random.Generator(np.random.Philox(seed_of(*key))).permutation(count)
