"""Numbers that change over a run, evaluated at a position; and when things that recur are due."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gan_dist.spec.amounts import Amount
from gan_dist.spec.schedules import Schedule, Scheduled


@dataclass(frozen=True)
class Clock:
    """What turns amounts into samples: the global batch, and the samples of one epoch."""

    batch: int
    epoch: int

    def samples(self, amount: Amount) -> int:
        return amount.samples(self.batch, self.epoch)

    def value(self, scheduled: Scheduled, elapsed: int) -> float:
        """A number or schedule, `elapsed` samples after its stage began."""
        if not isinstance(scheduled, Schedule):
            return scheduled
        if scheduled.over is None:
            reached = [value for at, value in scheduled.points if self.samples(at) <= elapsed]
            return reached[-1]
        share = min(1.0, elapsed / max(1, self.samples(scheduled.over)))
        start, end = scheduled.start, scheduled.end
        if scheduled.kind == "linear":
            return start + (end - start) * share
        if scheduled.kind == "exponential":
            return float(start * (end / start) ** share)
        return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def is_due(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]: a cadence fires at the first iteration past it."""
    return before // every < after // every


def is_early_look(before: int, after: int, every: int) -> bool:
    """Whether 1k, 2k, 4k, ... below `every` lies in (before, after]: the first looks come early."""
    moment = 1000
    while moment < every:
        if before < moment <= after:
            return True
        moment *= 2
    return False
