"""The one plan of what is served when: a pure function of (seed, samples, batch, position)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gan_dist.randomness import seed_of


def epoch_samples(count: int, batch: int) -> int:
    """Samples served in one epoch: whole global batches; the rest of that epoch's order is left out."""
    return count // batch * batch


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of one epoch: every position once, a new order each epoch, the same for the same seed."""
    return np.random.Generator(np.random.Philox(seed_of(seed, "order", epoch))).permutation(count)


def global_batch(seed: int, count: int, batch: int, reals_drawn: int) -> NDArray[np.int64]:
    """Positions of the global batch that comes after `reals_drawn` samples, [batch].

    Raises:
        ValueError: there are fewer samples than one batch.
    """
    if count < batch:
        raise ValueError(f"batch: {batch} is larger than the data ({count} samples)")
    epoch, offset = divmod(reals_drawn, epoch_samples(count, batch))
    return permutation(seed, epoch, count)[offset : offset + batch]
