"""Which samples of the global batch belong together, and the seed of anything: by arithmetic alone.

What reads data, passes messages or only counts workers imports this and no torch, whose import costs each process
seconds of CPU time.
"""

from __future__ import annotations

import hashlib

MOST_LANES = 4096
LEAST_LANE = 4
LANES_OF_SAMPLE = 32  # most lanes for each sample of a lane


def seed_of(*key: object) -> int:
    """A 63-bit seed from any key of numbers and strings (BLAKE2b; equal keys, equal seeds)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def lane_size(batch: int) -> int:
    """Samples in a lane: 4 in a batch of up to 512, and twice as many for each batch four times as large.

    So the lanes grow with the root of the batch, to 4,096: a larger batch gives work to more workers, and each worker
    draws from few generators.
    """
    size = LEAST_LANE
    while size * LANES_OF_SAMPLE < min(MOST_LANES, -(-batch // size)):
        size *= 2
    return max(size, -(-batch // MOST_LANES))


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
