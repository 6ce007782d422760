"""The search of a sweep: what is to be trained now, from the record of what came before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gan_dist.errors import UsageError
from gan_dist.spec.amounts import Amount
from gan_dist.spec.sweep import SweepSpec
from gan_dist.sweeps.search.asha import Halving, rungs
from gan_dist.sweeps.search.history import History, Outcome, Task
from gan_dist.sweeps.search.pbt import Population, generations
from gan_dist.sweeps.search.sampler import Values, planned
from gan_dist.sweeps.search.trial_log import Ledger

ASHA_PART, PBT_PART = 9, 10


def rule_of(sweep: SweepSpec, end: int, samples: Callable[[Amount], int]) -> Halving | Population:
    """Who trains how far.

    Args:
        sweep: the section.
        end: samples seen at the end of the job.
        samples: an amount of the section in samples.

    Raises:
        ValueError: there is no room for a second rung or generation before the end.
    """
    scheduler = sweep.scheduler
    if scheduler.use == "asha":
        first = samples(scheduler.first) if scheduler.first is not None else max(1, end // ASHA_PART)
        if first >= end:
            raise UsageError(
                f"sweep.scheduler.first: the first rung, {first:,} samples, is not before the end, {end:,}"
            )
        return Halving(rungs(first, scheduler.factor, end), scheduler.factor, sweep.seeds)
    if scheduler.use == "pbt":
        interval = samples(scheduler.interval) if scheduler.interval is not None else max(1, end // PBT_PART)
        if interval >= end:
            raise UsageError(
                f"sweep.scheduler.interval: {interval:,} samples leave no second generation before {end:,}"
            )
        assert sweep.wanted is not None
        return Population(sweep.wanted, generations(interval, end), scheduler.quantile, sweep.space, sweep.seed)
    return Halving((None,), seeds=sweep.seeds)


@dataclass
class Search:
    """Hands out tasks and takes their outcomes; everything passes through the ledger.

    Attributes:
        sweep: the section.
        rule: who goes on.
        ledger: the record, with what an earlier attempt left.
        named: the run's id of a trial.
        earlier: of another sweep, with whose results this one begins.
        refused: what is wrong with a configuration, or None. Only one that depends on results can be wrong.
    """

    sweep: SweepSpec
    rule: Halving | Population
    ledger: Ledger
    named: Callable[[tuple[int, int]], str]
    earlier: History = field(default_factory=History)
    refused: Callable[[Values], str | None] = lambda values: None
    ended: bool = False
    running: dict[tuple[int, int, int], Task] = field(default_factory=dict)
    put_off: set[tuple[int, int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._planned = planned(self.sweep)

    def next(self) -> Task | None:
        """What to train now; None when there is nothing, for now or for good (`over`)."""
        if self.ended:
            return None
        taken = self.running.keys() | self.put_off
        left = next((task for task in self.ledger.history.open if task.key not in taken), None)
        while left is None:
            task = self.rule.next(self.ledger.history, self._fresh)
            if task is None:
                return None
            self.ledger.give(task, self.named(task.trial))
            if (wrong := self.refused(task.values)) is not None:
                self.ledger.end(task, Outcome("refused", 0, message=wrong))
                continue
            left = task
        self.running[left.key] = left
        return left

    def told(self, task: Task, outcome: Outcome | None) -> None:
        """Take what came of a task; None where it was interrupted, and is to go on in another attempt."""
        del self.running[task.key]
        if outcome is None:
            self.put_off.add(task.key)
        else:
            self.ledger.end(task, outcome)

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing more comes. Asked when `next` gave None."""
        return not self.running

    @property
    def complete(self) -> bool:
        """Whether all has been tried."""
        history = self.ledger.history
        return not history.open and self.rule.next(history, self._fresh) is None

    @property
    def wanted(self) -> int:
        """How many configurations there will be."""
        if self._planned is not None:
            return len(self._planned)
        assert self.sweep.wanted is not None
        return self.sweep.wanted

    def _fresh(self, number: int) -> Values | None:
        if number >= self.wanted:
            return None
        if self._planned is not None:
            return self._planned[number]
        from gan_dist.sweeps.search.tpe import suggest

        return suggest(self.sweep, number, self.ledger.history, self.earlier)
