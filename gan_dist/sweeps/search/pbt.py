"""Population based training (Jaderberg et al. 2017, arXiv 1711.09846), in generations.

All members train to the same number of samples and are saved there. Then each of the worst takes over the weights,
optimisers and clock of one of the best, with its values changed a little; the others go on as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gan_dist.sweeps.search.asha import Fresh
from gan_dist.sweeps.search.history import WORST, History, Task
from gan_dist.sweeps.search.sampler import Space, Values, mutated


@dataclass(frozen=True)
class Population:
    """The rule.

    Attributes:
        size: members.
        ends: samples seen at the end of each generation; the last is None, the end of the job.
        quantile: the share that takes over, and that is taken over from.
        space: what values may become.
        seed: decides who takes over from whom, and how values change.
    """

    size: int
    ends: tuple[int | None, ...]
    quantile: float
    space: Space
    seed: int

    def next(self, history: History, fresh: Fresh) -> Task | None:
        """What to train now; None when there is nothing, or nothing before a running one has ended."""
        generation = max((task.leg for task in history.tasks.values()), default=0)
        given = [number for number in range(self.size) if (number, 0, generation) in history.tasks]
        if generation == 0 and len(given) < self.size:
            values = fresh(len(given))
            assert values is not None
            return Task(len(given), 0, 0, values, self.ends[0])
        if len(given) == self.size:
            if history.open or generation + 1 == len(self.ends):
                return None
            generation, given = generation + 1, []
        return next((task for task in self.generation(history, generation) if task.number not in given), None)

    def generation(self, history: History, number: int) -> list[Task]:
        """The tasks of a generation after the first: those that take over come first, before their sources train on
        and drop the checkpoint. Empty when no member is left."""
        before = sorted(range(self.size), key=lambda member: history.cost(member, number - 1))
        sound = [member for member in before if history.cost(member, number - 1) != WORST]
        if not sound:
            return []
        share = max(1, int(self.size * self.quantile))
        best = sound[:share]
        worst = [member for member in before[-share:] if member not in best]
        taking = {*worst, *(member for member in before if member not in sound)}
        tasks = [self._taking_over(history, member, number, best) for member in sorted(taking)]
        for member in sorted(set(before) - taking):
            tasks.append(Task(member, 0, number, history.values_at(member, number - 1), self.ends[number]))
        return tasks

    def _taking_over(self, history: History, member: int, generation: int, best: list[int]) -> Task:
        generator = np.random.default_rng([self.seed, generation, member])
        source = best[int(generator.integers(len(best)))]
        values: Values = mutated(self.space, history.values_at(source, generation - 1), generator)
        return Task(member, 0, generation, values, self.ends[generation], source)


def generations(interval: int, end: int) -> tuple[int | None, ...]:
    """Samples seen at the end of each generation."""
    return (*range(interval, end, interval), None)


def lineage(history: History, number: int) -> list[Task]:
    """The legs that made a member's weights, oldest first, through those it took over from."""
    leg = max(task.leg for task in history.tasks.values() if task.number == number)
    found = []
    while leg >= 0:
        task = history.tasks[number, 0, leg]
        found.append(task)
        number, leg = number if task.source is None else task.source, leg - 1
    return found[::-1]
