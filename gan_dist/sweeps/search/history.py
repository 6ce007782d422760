"""What a sweep has asked of its trials and what came of it; all its decisions are made from this."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gan_dist.sweeps.search.sampler import Values

Kind = Literal["finished", "reached", "pruned", "diverged", "collapsed", "out_of_memory", "failed", "refused"]
Mode = Literal["min", "max"]
WORST = math.inf


@dataclass(frozen=True)
class Task:
    """One leg of one trial's way: train it to `until`.

    Attributes:
        number: of the configuration, from 0.
        repetition: which of its seeds, from 0.
        leg: how many legs of this trial came before.
        values: of the keys of the space.
        until: samples seen at its end; None is the end of the job.
        source: the trial (by its number) whose weights, optimisers and clock it takes over; None goes on with its own.
    """

    number: int
    repetition: int
    leg: int
    values: Values
    until: int | None = None
    source: int | None = None

    @property
    def trial(self) -> tuple[int, int]:
        return self.number, self.repetition

    @property
    def key(self) -> tuple[int, int, int]:
        return self.number, self.repetition, self.leg


@dataclass(frozen=True)
class Outcome:
    """How a leg ended: at the end of the job, at `until`, ended early as too bad, or in a failure.

    `value` is the metric at `seen` samples, None where there is none; `more` are those after the first.
    """

    kind: Kind
    seen: int
    value: float | None = None
    message: str = ""
    seconds: float = 0.0
    more: tuple[float, ...] = ()

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Outcome:
        """From what JSON made of one."""
        return cls(**{**plain, "more": tuple(plain.get("more", ()))})

    @property
    def values(self) -> tuple[float, ...]:
        """Of all metrics; empty where there is none."""
        return () if self.value is None else (self.value, *self.more)

    @property
    def usable(self) -> bool:
        ended = self.kind in ("finished", "reached", "pruned")
        return ended and bool(self.values) and all(map(math.isfinite, self.values))


@dataclass
class History:
    """Tasks in the order in which they were given, and the outcomes of those that ended."""

    modes: tuple[Mode, ...] = ("min",)
    tasks: dict[tuple[int, int, int], Task] = field(default_factory=dict)
    outcomes: dict[tuple[int, int, int], Outcome] = field(default_factory=dict)

    def give(self, task: Task) -> None:
        self.tasks[task.key] = task

    def end(self, task: Task, outcome: Outcome) -> None:
        self.outcomes[task.key] = outcome

    @property
    def open(self) -> list[Task]:
        """Tasks without an outcome."""
        return [task for key, task in self.tasks.items() if key not in self.outcomes]

    @property
    def numbers(self) -> list[int]:
        """The configurations, in order."""
        return sorted({task.number for task in self.tasks.values()})

    def of(self, number: int, leg: int) -> Iterator[Outcome]:
        """What came of the repetitions of a configuration at a leg, of those that ended."""
        for key, outcome in self.outcomes.items():
            if (key[0], key[2]) == (number, leg):
                yield outcome

    def cost(self, number: int, leg: int) -> float:
        """The mean of a configuration at a leg, less being better; infinite if one of its runs has no value."""
        return self.costs(number, leg)[0]

    def costs(self, number: int, leg: int) -> tuple[float, ...]:
        """The same of every metric."""
        outcomes = list(self.of(number, leg))
        if not outcomes or not all(outcome.usable for outcome in outcomes):
            return (WORST,) * len(self.modes)
        means = [sum(values) / len(values) for values in zip(*(one.values for one in outcomes), strict=True)]
        return tuple(mean if mode == "min" else -mean for mean, mode in zip(means, self.modes, strict=True))

    def last(self, trial: tuple[int, int]) -> Task:
        """The newest leg of a trial."""
        return max((task for task in self.tasks.values() if task.trial == trial), key=lambda task: task.leg)

    def values(self, number: int) -> Values:
        """A configuration's newest values."""
        return max((task for task in self.tasks.values() if task.number == number), key=lambda task: task.leg).values

    def values_at(self, number: int, leg: int) -> Values:
        """A configuration's values in one leg."""
        return self.tasks[number, 0, leg].values
