"""How the configurations of a sweep rank, and how much of that may be the seed's doing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from gan_dist.sweeps.draw import Values
from gan_dist.sweeps.history import History, Outcome

BAD = ("diverged", "collapsed", "out_of_memory", "failed", "refused")


@dataclass(frozen=True)
class Row:
    """A configuration where it was trained furthest.

    Attributes:
        number: of the configuration.
        values: of the keys of the space.
        state: finished, at a rung (reached), pruned, or how it failed; training, where a run of it is not over.
        mean: of the metric over its seeds; None where there is none.
        spread: standard deviation over its seeds; None for one seed.
        seen: samples of the run that was trained furthest.
        each: the metric of each seed.
        message: why it failed.
    """

    number: int
    values: Values
    state: str
    mean: float | None
    spread: float | None
    seen: int
    each: tuple[float, ...]
    message: str = ""


def ranking(history: History, seen: Callable[[int], int] = lambda number: 0) -> list[Row]:
    """Best first: those trained to the end by their metric, then those left at the highest rung by theirs, and so on;
    what diverged or failed comes last. `seen` says how far a configuration without an outcome has come."""
    rows = [row_of(history, number, seen) for number in history.numbers]
    return sorted(rows, key=lambda row: _place(row, history.mode))


def row_of(history: History, number: int, seen: Callable[[int], int] = lambda number: 0) -> Row:
    """One configuration, at the last leg of which all its runs have ended."""
    legs = sorted({task.leg for task in history.tasks.values() if task.number == number}, reverse=True)
    training = any(task.number == number for task in history.open)
    for leg in legs:
        outcomes = list(history.of(number, leg))
        given = [task for task in history.tasks.values() if (task.number, task.leg) == (number, leg)]
        if outcomes and len(outcomes) == len(given):
            return _row(history, number, outcomes, leg, training)
    return Row(number, history.values(number), "training", None, None, seen(number), ())


def _row(history: History, number: int, outcomes: list[Outcome], leg: int, training: bool) -> Row:
    each = tuple(float(one.value) for one in outcomes if one.usable and one.value is not None)
    bad = next((one for one in outcomes if not one.usable), None)
    state = outcomes[-1].kind if bad is None else bad.kind if bad.kind in BAD else "diverged"
    mean = statistics.fmean(each) if each and bad is None else None
    spread = statistics.stdev(each) if len(each) > 1 and bad is None else None
    seen = max(one.seen for one in outcomes)
    values = history.values_at(number, leg)
    return Row(number, values, "training" if training else state, mean, spread, seen, each, bad.message if bad else "")


def _place(row: Row, mode: str) -> tuple[float, ...]:
    if row.mean is None:
        return (2, 0, 0, row.number)
    cost = row.mean if mode == "min" else -row.mean
    return (0, 0, cost, row.number) if row.state == "finished" else (1, -row.seen, cost, row.number)


def pooled(rows: list[Row]) -> tuple[float, int] | None:
    """Standard deviation over seeds within configurations, pooled, and its degrees of freedom; None without repeats."""
    several = [row for row in rows if row.spread is not None]
    freedom = sum(len(row.each) - 1 for row in several)
    if not freedom:
        return None
    return math.sqrt(sum((len(row.each) - 1) * float(row.spread or 0) ** 2 for row in several) / freedom), freedom


def noise_words(rows: list[Row]) -> str:
    """An honest line on how much of the difference between the best two is seed noise."""
    finished = [row for row in rows if row.state == "finished" and row.mean is not None]
    if len(finished) < 2:
        return "seed noise: fewer than two configurations were trained to the end; nothing can be said"
    lead = abs(float(finished[1].mean or 0) - float(finished[0].mean or 0))
    if (found := pooled(finished)) is None:
        return (
            f"seed noise: the best leads the second by {lead:.3g}, but each was trained once, so how much of that is "
            "the seed's doing is not known; sweep.seeds: 3 would tell"
        )
    deviation, freedom = found
    error = deviation * math.sqrt(1 / len(finished[0].each) + 1 / len(finished[1].each))
    if deviation == 0:
        return f"seed noise: none was seen ({freedom} repeats); the best leads the second by {lead:.3g}"
    verdict = "more than the seeds explain" if lead > 2 * error else "within what the seeds alone may do"
    return (
        f"seed noise: {deviation:.3g} from seed to seed ({freedom} repeats); the best leads the second by {lead:.3g}, "
        f"{lead / error:.1f} standard errors of that difference: {verdict}"
    )
