"""Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934, algorithm 2), on samples seen.

Rungs lie at samples seen, each `factor` times the one before. A configuration trains to a rung and is saved there.
Whenever a place is free, the highest rung is looked for in which one of the best `1/factor` has not gone on; it does.
Otherwise a new configuration starts. With a single rung, the end of the job, each configuration is trained to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gan_dist.sweeps.search.history import WORST, History, Task
from gan_dist.sweeps.search.sampler import Values

Fresh = Callable[[int], Values | None]


@dataclass(frozen=True)
class Halving:
    """The rule.

    Attributes:
        rungs: samples seen; the last is None, the end of the job.
        factor: one in so many goes on.
        seeds: how often each configuration is trained; it goes on with all of them, by their mean.
    """

    rungs: tuple[int | None, ...] = (None,)
    factor: int = 3
    seeds: int = 1

    def next(self, history: History, fresh: Fresh) -> Task | None:
        """What to train now; None when there is nothing, or nothing before a running one has ended.

        `fresh` gives the configuration of a number, None when all have been tried.
        """
        if (task := self._missing_repetition(history)) is not None:
            return task
        for leg in reversed(range(len(self.rungs) - 1)):
            ended = self.ended(history, leg)
            for number in ended[: len(ended) // self.factor]:
                if (task := self._promoted(history, number, leg)) is not None:
                    return task
        number = len(history.numbers)
        if (values := fresh(number)) is not None:
            return Task(number, 0, 0, values, self.rungs[0])
        return None if history.open else self._to_the_end(history)

    def ended(self, history: History, leg: int) -> list[int]:
        """The configurations all of whose runs have ended a leg, best first; equals in their order."""
        done = [number for number in history.numbers if len(list(history.of(number, leg))) == self.seeds]
        return sorted(done, key=lambda number: history.cost(number, leg))

    def _missing_repetition(self, history: History) -> Task | None:
        for task in history.tasks.values():
            following = (task.number, task.repetition + 1, task.leg)
            if task.repetition + 1 < self.seeds and following not in history.tasks:
                return Task(task.number, task.repetition + 1, task.leg, task.values, task.until)
        return None

    def _promoted(self, history: History, number: int, leg: int) -> Task | None:
        if (number, 0, leg + 1) in history.tasks or history.cost(number, leg) == WORST:
            return None
        return Task(number, 0, leg + 1, history.values(number), self.rungs[leg + 1])

    def _to_the_end(self, history: History) -> Task | None:
        """With so few that no rung was full, the best of all goes on, so that one is trained to its end."""
        for leg in reversed(range(len(self.rungs) - 1)):
            ended = self.ended(history, leg)
            if any((number, 0, len(self.rungs) - 1) in history.tasks for number in ended):
                return None
            if ended and (task := self._promoted(history, ended[0], leg)) is not None:
                return task
        return None


def rungs(first: int, factor: int, end: int) -> tuple[int | None, ...]:
    """Samples seen at each rung: `first`, `first x factor`, ... below the end of the job, and the end."""
    found: list[int | None] = []
    at = first
    while at < end:
        found.append(at)
        at *= factor
    return (*found, None)
