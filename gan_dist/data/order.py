"""The whole plan of what is served when: shuffled epochs, or classes as often as the job says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.distributed.lanes import seed_of
from gan_dist.errors import DataError, UsageError
from gan_dist.spec.problems import suggestion

Positions = NDArray[np.int64]


def epoch_samples(count: int, batch: int) -> int:
    """Samples served in one epoch: whole global batches; the rest of that epoch's order is left out."""
    return count // batch * batch


@dataclass(frozen=True, eq=False)  # what is remembered of one is found by identity: a hash would read all shards
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
        windows = [self._mixed(epoch, number) for number in range(first, last + 1)]
        held = windows[0] if len(windows) == 1 else np.concatenate(windows)
        start = offset - (int(ends[first - 1]) if first else 0)
        return held[start : start + self.batch]

    def shards_from(self, reals_drawn: int, windows: int) -> list[int]:
        """The shards of the window that `reals_drawn` lies in and of the next ones, `windows` in all."""
        epoch, number = self.window_at(reals_drawn)
        wanted: list[int] = []
        for _ in range(windows):
            if number == len(self._ends(epoch)):
                epoch, number = epoch + 1, 0
            wanted += self._window(epoch, number).tolist()
            number += 1
        return wanted

    def window_at(self, reals_drawn: int) -> tuple[int, int]:
        """The epoch that `reals_drawn` lies in, and the window of it."""
        epoch, offset = self._place(reals_drawn)
        return epoch, int(np.searchsorted(self._ends(epoch), offset, side="right"))

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

    @lru_cache(maxsize=2)  # noqa: B019  # a run has one plan
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


class DomainOrder:
    """The order of two domains: each goes through its own pictures in its own order, at the same position.

    Args:
        source, target: samples of each of their shards; in canonical order the source's come first.
        window: how many shards of each are mixed at a time; 0 mixes them all.
    """

    def __init__(self, seed: int, batch: int, *, source: Sequence[int], target: Sequence[int], window: int = 0) -> None:
        self.source = ServingOrder(seed, batch, tuple(source), window)
        # Of equal numbers one seed would give each picture the same companion in every epoch.
        self.target = ServingOrder(seed_of(seed, "target"), batch, tuple(target), window)
        self.shards, self.window = self.source.shards + self.target.shards, 2 * window

    def positions(self, reals_drawn: int) -> Positions:
        """Positions of the pictures of the global batch that comes after `reals_drawn` samples, [batch, 2]: the
        target's, then the source's, as what is to be made comes first.

        Raises:
            ValueError: a domain has fewer pictures than one batch.
        """
        target = self.target.positions(reals_drawn) + self.source.count
        return np.stack([target, self.source.positions(reals_drawn)], 1)

    def window_at(self, reals_drawn: int) -> tuple[tuple[int, int], ...]:
        """As `ServingOrder.window_at`, of each."""
        return self.source.window_at(reals_drawn), self.target.window_at(reals_drawn)

    def shards_from(self, reals_drawn: int, windows: int) -> list[int]:
        """As `ServingOrder.shards_from`, of both."""
        after = len(self.source.shards)
        return [
            *self.source.shards_from(reals_drawn, windows),
            *(after + shard for shard in self.target.shards_from(reals_drawn, windows)),
        ]


def domain_order(seed: int, batch: int, shards: Sequence[int], source_count: int, window: int) -> DomainOrder:
    """The order of two domains whose shards lie one after the other, none with pictures of both."""
    of_source = int(np.searchsorted(np.cumsum(shards), source_count)) + 1
    return DomainOrder(seed, batch, source=shards[:of_source], target=shards[of_source:], window=window)


@lru_cache(maxsize=8)
def shuffle(count: int, *key: object) -> Positions:
    """The numbers below `count`, each once, in the order that belongs to the key."""
    return np.random.Generator(np.random.Philox(seed_of(*key))).permutation(count)


class WeightedPlan:
    """The order of a run whose classes come as often as the job says, whatever their numbers in the data.

    Like `ServingOrder` with all samples mixed, but an epoch holds of each class a number in proportion to its weight.

    A class goes through all its samples before it repeats one, also from one epoch to the next, so that epochs hold
    each as often as the others of its class, give or take one. As in `Plan`, what is no whole batch is not served.

    Args:
        labels: class of each sample in canonical order, [count].
        weights: of each class; what counts is their proportion.
    """

    def __init__(self, seed: int, batch: int, labels: Positions, weights: Sequence[float]) -> None:
        self.seed, self.batch, self.count = seed, batch, len(labels)
        self._members = [np.flatnonzero(labels == number) for number in range(len(weights))]
        self._quotas = class_quotas(self.count, weights)
        self._epoch = lru_cache(maxsize=2)(self._ordered)

    def positions(self, reals_drawn: int) -> Positions:
        """Positions of the global batch that comes after `reals_drawn` samples, [batch].

        Raises:
            ValueError: there are fewer samples than one batch.
        """
        if self.count < self.batch:
            raise UsageError(f"batch: {self.batch} is larger than the data ({self.count} samples)")
        epoch, offset = divmod(reals_drawn, epoch_samples(self.count, self.batch))
        return self._epoch(epoch)[offset : offset + self.batch]

    def _ordered(self, epoch: int) -> Positions:
        held = np.concatenate([self._of_class(number, epoch) for number in range(len(self._members))])
        return held[shuffle(len(held), self.seed, "order", epoch)]

    def _of_class(self, number: int, epoch: int) -> Positions:
        """The samples of a class that an epoch holds, out of its permutations laid end to end."""
        members, quota = self._members[number], self._quotas[number]
        if not quota:
            return np.empty(0, np.int64)
        first, end, length = epoch * quota, (epoch + 1) * quota, len(members)
        orders = []
        for one in range(first // length, -(-end // length)):
            order = shuffle(length, self.seed, "class", number, one)
            orders.append(members[order[max(0, first - one * length) : end - one * length]])
        return np.concatenate(orders)


def class_quotas(count: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to the weights that sum to `count`; what is left over goes to the largest rests."""
    exact = count * np.asarray(weights, np.float64) / sum(weights)
    whole = np.floor(exact).astype(int)
    for place in np.argsort(whole - exact, kind="stable")[: count - int(whole.sum())]:
        whole[place] += 1
    return [int(number) for number in whole]


def resolve_class_weights(
    asked: str | Mapping[str, float], classes: Sequence[str], counts: Sequence[int]
) -> tuple[float, ...]:
    """The job's `data.class_weights` as one for each class; empty where classes come as the data have them.

    Raises:
        DataError: there are no classes, one is not known, or one that is asked for has no samples.
    """
    if asked == "data":
        return ()
    if not classes:
        raise DataError("data.class_weights: the data have no classes; set data.labels")
    given: Mapping[str, Any] = {} if isinstance(asked, str) else asked
    for name in given:
        if name not in classes:
            raise DataError(f"data.class_weights.{name}: no such class{suggestion(name, classes)}")
    found = tuple(float(given.get(name, 1.0)) if count else 0.0 for name, count in zip(classes, counts, strict=True))
    if empty := [name for name, count in zip(classes, counts, strict=True) if not count and given.get(name)]:
        raise DataError(f"data.class_weights.{empty[0]}: the data have no sample of that class")
    if not sum(found):
        raise DataError("data.class_weights: all are 0, so nothing would be served")
    for name, weight, quota in zip(classes, found, class_quotas(sum(counts), found), strict=True):
        if weight and not quota:
            raise DataError(f"data.class_weights.{name}: {weight:g} is so little that no sample would be served; use 0")
    return found
