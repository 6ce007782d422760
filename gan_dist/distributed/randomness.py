"""Randomness keyed by position, in lanes, so that resuming or changing the number of workers changes nothing.

A lane is a fixed chunk of consecutive samples of the global batch. Its numbers come from a generator seeded by
(seed, position, purpose, lane); a worker draws its own lanes only. A run that resumes sees the numbers it would
have seen, and eight workers see the numbers that one would.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from gan_dist.distributed.lanes import lanes_of, seed_of


class Rng:
    """Random numbers for consecutive lanes. Each method returns one row per sample, [n, *shape].

    Args:
        key: what the numbers are for; the lane's number is added to it.
        lanes: (lane number, samples in it) of each lane covered.
        device: where the numbers are made.
        dtype: of the floating numbers.
    """

    def __init__(
        self,
        key: tuple[object, ...],
        lanes: Sequence[tuple[int, int]],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.key, self.lanes, self.device, self.dtype = key, lanes, device, dtype
        self._generators: list[torch.Generator] | None = None

    @property
    def n(self) -> int:
        """Samples covered."""
        return sum(rows for _, rows in self.lanes)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return self._rows(lambda rows, g: torch.randn(rows, *shape, generator=g, device=self.device, dtype=self.dtype))

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in [0, 1)."""
        return self._rows(lambda rows, g: torch.rand(rows, *shape, generator=g, device=self.device, dtype=self.dtype))

    def integers(self, below: int, *shape: int) -> Tensor:
        """Integers in [0, below)."""
        return self._rows(lambda rows, g: torch.randint(below, (rows, *shape), generator=g, device=self.device))

    def parts(self, most: int) -> Iterator[tuple[slice, Rng]]:
        """Parts of whole lanes: where each stands, and the randomness that gives it the rows which this one, fresh,
        gives there. A part has at most `most` samples, and no less than a lane."""
        start, left = 0, list(self.lanes)
        while left:
            ends = list(accumulate(rows for _, rows in left))
            count = max(1, bisect_right(ends, most))
            yield slice(start, start + ends[count - 1]), Rng(self.key, left[:count], self.device, self.dtype)
            start, left = start + ends[count - 1], left[count:]

    def _rows(self, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        if self._generators is None:
            self._generators = [self._generator(lane) for lane, _ in self.lanes]
        pieces = [draw(rows, g) for (_, rows), g in zip(self.lanes, self._generators, strict=True)]
        return torch.cat(pieces)

    def _generator(self, lane: int) -> torch.Generator:
        generator = torch.Generator(self.device)
        generator.manual_seed(seed_of(*self.key, lane))
        return generator


def single_lane_rng(key: tuple[object, ...], n: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Rng:
    """Randomness for `n` samples outside training: grids, samples, checks."""
    return Rng(key, [(lane, len(rows)) for lane, rows in enumerate(lanes_of(n))], device, dtype)
