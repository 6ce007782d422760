"""Which samples of the global batch belong together, and the seed of anything: by arithmetic alone.

What reads data, passes messages or only counts workers imports this and no torch, whose import costs each process
seconds of CPU time.
"""

from __future__ import annotations

import hashlib

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
