"""The legs that a sweep has given to its trials, their results, and `trials.jsonl`, the file that keeps both.

The file holds one line for each thing that happened. A line is written, flushed and synced before anything follows from
it, and never changed. A last line that a kill cut short is dropped: what it would have said is done again. An object
store appends nothing, so there the file is written anew with each line.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gan_dist.errors import UsageError
from gan_dist.runs.storage import Folder

NAME = "trials.jsonl"
FORMAT = 2
WORST = math.inf

Mode = Literal["min", "max"]
State = Literal["finished", "reached", "pruned", "diverged", "collapsed", "out_of_memory", "failed", "refused"]
TrialKey = tuple[int, int]
LegKey = tuple[int, int, int]
Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One stretch of one trial: train it to `until`.

    Attributes:
        number: of the configuration, from 0.
        repetition: which of the configuration's seeds, from 0.
        index: how many legs of this trial came before: its rung, or its generation.
        values: of the keys of the search space.
        until: samples seen at its end; None is the end of the job.
        source: the configuration whose weights, optimizers and clock it takes over; None goes on with its own.
    """

    number: int
    repetition: int = 0
    index: int = 0
    values: Values
    until: int | None = None
    source: int | None = None

    @property
    def trial(self) -> TrialKey:
        return self.number, self.repetition

    @property
    def key(self) -> LegKey:
        return self.number, self.repetition, self.index


@dataclass(frozen=True, kw_only=True)
class LegResult:
    """How a leg ended: at the end of the job, at `until`, pruned, or in a failure.

    `values` are the objective values at `seen` samples, one for each metric; empty where there are none.
    """

    state: State
    seen: int
    values: tuple[float, ...] = ()
    message: str = ""

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> LegResult:
        """A result from the mapping that JSON made of it."""
        return cls(**{**plain, "values": tuple(plain["values"])})

    @property
    def usable(self) -> bool:
        """Whether configurations can be compared by its values."""
        ended = self.state in ("finished", "reached", "pruned")
        return ended and bool(self.values) and all(map(math.isfinite, self.values))


@dataclass
class History:
    """Legs in the order in which they were given, and the results of those that ended."""

    modes: tuple[Mode, ...] = ("min",)
    legs: dict[LegKey, Leg] = field(default_factory=dict)
    results: dict[LegKey, LegResult] = field(default_factory=dict)

    @property
    def open_legs(self) -> list[Leg]:
        """Legs without a result."""
        return [leg for key, leg in self.legs.items() if key not in self.results]

    @property
    def numbers(self) -> list[int]:
        """The configurations, in order."""
        return sorted({leg.number for leg in self.legs.values()})

    def legs_of(self, number: int) -> list[Leg]:
        """The legs of a configuration."""
        return [leg for leg in self.legs.values() if leg.number == number]

    def results_of(self, number: int, index: int) -> list[LegResult]:
        """The results of a configuration's repetitions at a leg, of those that ended."""
        return [result for key, result in self.results.items() if (key[0], key[2]) == (number, index)]

    def cost(self, number: int, index: int) -> float:
        """The mean of the first metric over a configuration's seeds at a leg, turned so that less is better."""
        return self.costs(number, index)[0]

    def costs(self, number: int, index: int) -> tuple[float, ...]:
        """The same of every metric; infinite where a seed has no result or none that is usable."""
        results = self.results_of(number, index)
        if not results or not all(result.usable for result in results):
            return (WORST,) * len(self.modes)
        means = [sum(values) / len(values) for values in zip(*(one.values for one in results), strict=True)]
        return minimized(means, self.modes)

    def last_costs(self, number: int) -> tuple[float, ...]:
        """The costs of a configuration where it was trained furthest."""
        ended = [key[2] for key in self.results if key[0] == number]
        return self.costs(number, max(ended)) if ended else (WORST,) * len(self.modes)

    def values(self, number: int) -> Values:
        """A configuration's newest values."""
        return max(self.legs_of(number), key=lambda leg: leg.index).values

    def values_at(self, number: int, index: int) -> Values:
        """A configuration's values in one leg."""
        return self.legs[number, 0, index].values


def minimized(values: list[float] | tuple[float, ...], modes: tuple[Mode, ...]) -> tuple[float, ...]:
    """Objective values turned so that less is better in each."""
    return tuple(value if mode == "min" else -value for value, mode in zip(values, modes, strict=True))


class TrialLog:
    """The record of a sweep, in memory and in its file.

    Args:
        folder: holds the file, which is made with its first line.
        modes: whether the lowest or highest is best, of each metric.

    Raises:
        UsageError: a line of the file is damaged, or another version of gan-dist wrote it.
    """

    def __init__(self, folder: Folder, modes: tuple[Mode, ...] = ("min",)) -> None:
        self.folder = folder
        self.history = History(modes)
        self.header: dict[str, Any] | None = None
        self.seconds = 0.0
        self._content = _read_whole_lines(folder)
        for line in _parse_lines(self._content, f"{folder.uri}/{NAME}"):
            self._apply(line)

    def record_header(self, facts: dict[str, Any]) -> None:
        """Note what is searched, once."""
        self._write({"what": "sweep", "format": FORMAT, **facts})

    def record_leg(self, leg: Leg, run: str) -> None:
        """Note that a leg was given to a run."""
        self._write({"what": "leg", **asdict(leg), "run": run})

    def record_result(self, leg: Leg, result: LegResult) -> None:
        """Note how a leg ended."""
        self._write({"what": "result", "key": leg.key, "number": leg.number, "result": asdict(result)})

    def record_seconds(self, seconds: float) -> None:
        """Note how long all attempts have taken so far."""
        self._write({"what": "seconds", "seconds": seconds})

    def _write(self, line: dict[str, Any]) -> None:
        self._apply(line)
        text = (json.dumps({**line, "time": round(time.time(), 3)}) + "\n").encode()
        known, self._content = len(self._content), self._content + text
        if self.folder.local is None:
            self.folder.write(NAME, self._content)
            return
        with (self.folder.local / NAME).open("ab") as stream:
            stream.truncate(known)  # a last line without its end, which this one would continue
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())

    def _apply(self, line: dict[str, Any]) -> None:
        match line["what"]:
            case "sweep":
                if (form := line.get("format", 1)) != FORMAT:
                    maker = "a newer gan-dist" if form > FORMAT else "a gan-dist before 0.2.0"
                    raise UsageError(
                        f"{self.folder.uri}/{NAME} was written by {maker} (format {form}; this one reads {FORMAT}); "
                        "start the sweep anew"
                    )
                self.header = line
            case "leg":
                leg = Leg(**{key: line[key] for key in Leg.__dataclass_fields__})
                self.history.legs[leg.key] = leg
            case "result":
                number, repetition, index = line["key"]
                self.history.results[number, repetition, index] = LegResult.from_json(line["result"])
            case "seconds":
                self.seconds = line["seconds"]


def trial_uri(sweep: str, trial: TrialKey, seeds: int) -> str:
    """The folder of a trial, beside its sweep: `-t` and the configuration's number, with seeds `s` and its number."""
    number, repetition = trial
    return f"{sweep}-t{number:03d}" + (f"s{repetition}" if seeds > 1 else "")


def _read_whole_lines(folder: Folder) -> bytes:
    """The lines of the file that have their end; none where there is no file."""
    try:
        content = folder.read(NAME)
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]


def _parse_lines(content: bytes, where: str) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            found.append(json.loads(line))
        except ValueError:
            raise UsageError(f"{where}:{number}: this line of the sweep's record is damaged") from None
    return found
