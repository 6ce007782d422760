"""Randomness keyed by position, in lanes, so that resuming or changing the number of workers changes nothing.

A lane is a fixed chunk of consecutive samples of the global batch. Its numbers come from a generator seeded by
(seed, position, purpose, lane); a worker draws its own lanes only. A run that resumes sees the numbers it would
have seen, and eight workers see the numbers that one would.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MOST_LANES = 64
LEAST_LANE = 4


def seed_of(*key: object) -> int:
    """A 63-bit seed from any key of numbers and strings (BLAKE2b; equal keys, equal seeds)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def lane_size(batch: int) -> int:
    """Samples in a lane: at least 4, and at most 64 lanes in a global batch."""
    return max(LEAST_LANE, -(-batch // MOST_LANES))


def lanes_of(batch: int) -> list[range]:
    """The lanes of a global batch of `batch` samples, as ranges of positions in it; the last may be short."""
    size = lane_size(batch)
    return [range(start, min(start + size, batch)) for start in range(0, batch, size)]


def lanes_of_rank(batch: int, rank: int, world: int) -> list[range]:
    """The lanes that one worker computes: consecutive, and as equal in number as whole lanes allow.

    Raises:
        ValueError: there are more workers than lanes.
    """
    lanes = lanes_of(batch)
    if world > len(lanes):
        raise ValueError(
            f"batch: {batch} gives work to at most {len(lanes)} workers, not {world} "
            f"(one lane of {lane_size(batch)} samples each); raise batch or lower resources.workers"
        )
    each, extra = divmod(len(lanes), world)
    first = rank * each + min(rank, extra)
    return lanes[first : first + each + (rank < extra)]


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
