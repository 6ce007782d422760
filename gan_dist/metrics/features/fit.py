"""How small networks that judge text are trained: a fixed budget from a fixed seed, the same for all they compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SEED, HELD_OUT = 2015, 10
BATCH, EPOCHS, LR, CLIP = 64, 10, 5e-3, 5.0


def split_held_out(count: int) -> NDArray[np.int64]:
    """The positions among `count` that metrics train nothing on: a tenth, in the order in which they were drawn."""
    return np.random.RandomState(SEED).permutation(count)[: tenth(count)]


def tenth(count: int) -> int:
    """How many those are."""
    return max(1, count // HELD_OUT)


def fit_classifier(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[NDArray[np.int64]], Tensor],
    positions: NDArray[np.int64],
    most: int,
) -> int:
    """Minimise a loss by Adam, at a rate that falls to 0 as a cosine, over ten epochs of batches of 64, or `most`
    batches if that is fewer. How many there were.

    Args:
        parameters: what is trained.
        loss: of the samples at some positions, in rising order.
        positions: all that it may be asked of.
        most: batches.
    """
    steps = min(most, max(1, EPOCHS * len(positions) // BATCH))
    trained, choice = list(parameters), np.random.RandomState(SEED)
    optimizer = torch.optim.Adam(trained, lr=LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.enable_grad():
        for _ in range(steps):
            chosen = np.sort(choice.choice(positions, min(BATCH, len(positions)), replace=False))
            optimizer.zero_grad()
            loss(chosen).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained, CLIP)
            optimizer.step()
            schedule.step()
    return steps


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A network with the same first weights each time, whatever random numbers were drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        return make()
