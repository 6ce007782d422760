"""How the configurations of a sweep rank, and how much of that may be the seed's doing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

from gan_dist.sweeps.search.history import History, Mode, Outcome
from gan_dist.sweeps.search.pareto import distances, fronts
from gan_dist.sweeps.search.sampler import Values

BAD = ("diverged", "collapsed", "out_of_memory", "failed", "refused")


@dataclass(frozen=True)
class Row:
    """A configuration where it was trained furthest. With several metrics its own fields are of the first.

    Attributes:
        number: of the configuration.
        values: of the keys of the space.
        state: finished, at a rung (reached), pruned, or how it failed; training, where a run of it is not over.
        mean: of the metric over its seeds; None where there is none.
        spread: standard deviation over its seeds; None for one seed.
        seen: samples of the run that was trained furthest.
        each: the metric of each seed.
        message: why it failed.
        more: (mean, spread) of each metric after the first.
        front: with several metrics, 1 where no other is better in one of them and as good in all, 2 where only such
            are, and so on; None with one metric.
    """

    number: int
    values: Values
    state: str
    mean: float | None
    spread: float | None
    seen: int
    each: tuple[float, ...]
    message: str = ""
    more: tuple[tuple[float, float | None], ...] = ()
    front: int | None = None

    def costs(self, modes: tuple[Mode, ...]) -> tuple[float, ...]:
        """The means on scales on which less is better."""
        means = [float(self.mean or 0), *(mean for mean, _ in self.more)]
        return tuple(mean if mode == "min" else -mean for mean, mode in zip(means, modes, strict=True))


def ranking(history: History, seen: Callable[[int], int] = lambda number: 0) -> list[Row]:
    """Best first: those trained to the end by their metric, then those left at the highest rung by theirs, and so on;
    what diverged or failed comes last. `seen` says how far a configuration without an outcome has come.

    With several metrics: by front, and within a front by the distance to the point that has the best of front 1 in each
    metric, with their range there as the unit.
    """
    rows = [row_of(history, number, seen) for number in history.numbers]
    if len(history.modes) > 1:
        return _ranked_by_several(rows, history.modes)
    return sorted(rows, key=lambda row: _place(row, history.modes[0]))


def _ranked_by_several(rows: list[Row], modes: tuple[Mode, ...]) -> list[Row]:
    judged = [row for row in rows if row.mean is not None]
    points = [row.costs(modes) for row in judged]
    of_front = fronts(points)
    away = distances(points, [point for point, front in zip(points, of_front, strict=True) if front == 1])
    placed = sorted(zip(of_front, away, judged, strict=True), key=lambda one: (one[0], one[1], one[2].number))
    ranked = [replace(row, front=front) for front, _, row in placed]
    return ranked + [row for row in rows if row.mean is None]


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
    values, message = history.values_at(number, leg), bad.message if bad else ""
    more = () if bad else tuple(map(_mean_and_spread, zip(*(one.more for one in outcomes), strict=True)))
    return Row(number, values, "training" if training else state, mean, spread, seen, each, message, more)


def _mean_and_spread(values: tuple[float, ...]) -> tuple[float, float | None]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


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
    if any(row.front for row in rows):
        return _noise_of_several(rows)
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


def _noise_of_several(rows: list[Row]) -> str:
    """The same where a front is sought: how far each metric moves from seed to seed."""
    spreads = [[row.spread, *(spread for _, spread in row.more)] for row in rows if row.spread is not None]
    if not spreads:
        return "seed noise: each was trained once, so how much of the front is the seed's doing is not known"
    told = [
        f"{math.sqrt(statistics.fmean(float(one or 0) ** 2 for one in each)):.3g}"
        for each in zip(*spreads, strict=True)
    ]
    return f"seed noise: {', '.join(told)} from seed to seed, by metric; what is closer on the front is not told apart"
