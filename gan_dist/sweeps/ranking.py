"""How the configurations of a sweep rank, by one metric or by several, and how much of that may be seed noise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gan_dist.sweeps.sampler import create_study
from gan_dist.sweeps.trial_log import History, LegResult, Mode, Values, minimized

FAILURES = ("diverged", "collapsed", "out_of_memory", "failed", "refused")


@dataclass(frozen=True, kw_only=True)
class RankedConfiguration:
    """A configuration where it was trained furthest.

    Attributes:
        number: of the configuration.
        values: of the keys of the search space.
        state: finished, at a rung (reached), pruned, or how it failed; training, where a run of it is not over.
        seen: samples of the run that was trained furthest.
        means: of each metric over its seeds; empty where there are none.
        spreads: standard deviation of each metric over its seeds; None for one seed.
        each: the first metric of each seed.
        message: why it failed.
        front: with several metrics, 1 on the Pareto front, 2 where only configurations of front 1 are better in one
            metric and as good in all, and so on; None with one metric.
    """

    number: int
    values: Values
    state: str
    seen: int
    means: tuple[float, ...] = ()
    spreads: tuple[float | None, ...] = ()
    each: tuple[float, ...] = ()
    message: str = ""
    front: int | None = None


def rank_configurations(
    history: History, seen_by: Callable[[int], int] = lambda number: 0
) -> list[RankedConfiguration]:
    """Best first: those trained to the end by their metric, then those left at the highest rung by theirs, and so on;
    what diverged or failed comes last. `seen_by` says how far a configuration without a result has come.

    With several metrics: by front, and within a front by the distance to the point that has the best of front 1 in each
    metric, with their range there as the unit.
    """
    found = [summarize_configuration(history, number, seen_by) for number in history.numbers]
    if len(history.modes) > 1:
        return _rank_by_several(found, history.modes)
    return sorted(found, key=lambda one: _place(one, history.modes))


def _rank_by_several(found: list[RankedConfiguration], modes: tuple[Mode, ...]) -> list[RankedConfiguration]:
    judged = [one for one in found if one.means]
    points = [minimized(one.means, modes) for one in judged]
    fronts = pareto_fronts(points)
    away = distances(points, [point for point, front in zip(points, fronts, strict=True) if front == 1])
    placed = sorted(zip(fronts, away, judged, strict=True), key=lambda one: (one[0], one[1], one[2].number))
    return [replace(one, front=front) for front, _, one in placed] + [one for one in found if not one.means]


def _place(one: RankedConfiguration, modes: tuple[Mode, ...]) -> tuple[float, ...]:
    if not one.means:
        return (2, 0, 0, one.number)
    (cost,) = minimized(one.means, modes)
    return (0, 0, cost, one.number) if one.state == "finished" else (1, -one.seen, cost, one.number)


def pareto_fronts(points: Sequence[Sequence[float]]) -> list[int]:
    """The front of each point, less being better: 1 for Optuna's best trials, 2 for the best of the rest, ..."""
    from optuna.trial import create_trial

    fronts, front, left = [0] * len(points), 0, list(range(len(points)))
    while left:
        front += 1
        study = create_study(len(points[0]))
        study.add_trials([create_trial(values=points[place]) for place in left])
        best = {left[trial.number] for trial in study.best_trials}
        for place in best:
            fronts[place] = front
        left = [place for place in left if place not in best]
    return fronts


def distances(points: Sequence[Sequence[float]], front: Sequence[Sequence[float]]) -> list[float]:
    """How far each point lies from the ideal one, which has the lowest cost of the front in every metric, with each
    metric's range on the front as its unit."""
    ends = [(min(values), max(values)) for values in zip(*front, strict=True)]

    def share(value: float, low: float, high: float) -> float:
        return (value - low) / (high - low) if high > low else 0.0

    return [math.hypot(*(share(v, *end) for v, end in zip(point, ends, strict=True))) for point in points]


def summarize_configuration(history: History, number: int, seen_by: Callable[[int], int]) -> RankedConfiguration:
    """One configuration, at the last leg of which all its runs have ended."""
    legs = history.legs_of(number)
    training = any(leg.number == number for leg in history.open_legs)
    for index in sorted({leg.index for leg in legs}, reverse=True):
        results = history.results_of(number, index)
        if results and len(results) == sum(leg.index == index for leg in legs):
            found = _summarize(number, history.values_at(number, index), results)
            return replace(found, state="training") if training else found
    return RankedConfiguration(number=number, values=history.values(number), state="training", seen=seen_by(number))


def _summarize(number: int, values: Values, results: list[LegResult]) -> RankedConfiguration:
    bad = next((result for result in results if not result.usable), None)
    found = RankedConfiguration(
        number=number,
        values=values,
        state=results[-1].state if bad is None else bad.state if bad.state in FAILURES else "diverged",
        seen=max(result.seen for result in results),
        each=tuple(result.values[0] for result in results if result.usable),
        message=bad.message if bad else "",
    )
    if bad:
        return found
    by_metric = list(zip(*(result.values for result in results), strict=True))
    spreads = tuple(statistics.stdev(each) if len(each) > 1 else None for each in by_metric)
    return replace(found, means=tuple(map(statistics.fmean, by_metric)), spreads=spreads)


def pool_noise(ranked: list[RankedConfiguration]) -> tuple[float, int] | None:
    """Standard deviation of the first metric over seeds within configurations, pooled, and its degrees of freedom; None
    where each was trained once."""
    spreads = [(len(one.each) - 1, one.spreads[0]) for one in ranked if one.spreads and one.spreads[0] is not None]
    freedom = sum(degrees for degrees, _ in spreads)
    if not freedom:
        return None
    return math.sqrt(sum(degrees * spread**2 for degrees, spread in spreads) / freedom), freedom


def describe_noise(ranked: list[RankedConfiguration]) -> str:
    """A line on how much of the difference between the best two is seed noise."""
    if any(one.front for one in ranked):
        return _describe_noise_of_several(ranked)
    finished = [one for one in ranked if one.state == "finished" and one.means]
    if len(finished) < 2:
        return "seed noise: fewer than two configurations were trained to the end; nothing can be said"
    lead = abs(finished[1].means[0] - finished[0].means[0])
    if (found := pool_noise(finished)) is None:
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


def _describe_noise_of_several(ranked: list[RankedConfiguration]) -> str:
    """The same where a front is sought: how far each metric moves from seed to seed."""
    spreads = [[spread for spread in one.spreads if spread is not None] for one in ranked]
    by_metric = list(zip(*(each for each in spreads if each), strict=True))
    if not by_metric:
        return "seed noise: each was trained once, so how much of the front is the seed's doing is not known"
    spread_words = ", ".join(f"{math.sqrt(statistics.fmean(spread**2 for spread in each)):.3g}" for each in by_metric)
    return f"seed noise: {spread_words} from seed to seed, by metric; what is closer on the front is not told apart"
