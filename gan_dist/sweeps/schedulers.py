"""Which configuration trains how far: to its end, by successive halving, by the median rule, or as a population.

A scheduler decides from the sweep's history and from nothing else. So a resumed sweep decides as the undisturbed one
would, and schedulers are tested on formulas.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gan_dist.errors import UsageError
from gan_dist.spec.amounts import Amount
from gan_dist.spec.sweep import SweepSpec
from gan_dist.sweeps.sampler import Space, create_study, perturb_values
from gan_dist.sweeps.trial_log import WORST, History, Leg, Values

ASHA_PART, PBT_PART = 9, 10
FEWEST_FOR_MEDIAN = 3

# The configuration of a number; None when all have been suggested.
Suggest = Callable[[int], Values | None]
Curve = Sequence[tuple[int, float]]


def make_scheduler(
    sweep: SweepSpec, end: int, samples: Callable[[Amount], int]
) -> SuccessiveHalving | PopulationBasedTraining:
    """The scheduler of a sweep.

    Args:
        sweep: the section.
        end: samples seen at the end of the job.
        samples: turns an amount of the section into samples.

    Raises:
        UsageError: there is no room for a second rung or generation before the end.
    """
    scheduler = sweep.scheduler
    if scheduler.use == "asha":
        first = samples(scheduler.first) if scheduler.first is not None else max(1, end // ASHA_PART)
        if first >= end:
            raise UsageError(
                f"sweep.scheduler.first: the first rung, {first:,} samples, is not before the end, {end:,}"
            )
        return SuccessiveHalving(list_rungs(first, scheduler.factor, end), scheduler.factor, sweep.seeds)
    if scheduler.use == "pbt":
        interval = samples(scheduler.interval) if scheduler.interval is not None else max(1, end // PBT_PART)
        if interval >= end:
            raise UsageError(
                f"sweep.scheduler.interval: {interval:,} samples leave no second generation before {end:,}"
            )
        assert sweep.wanted is not None
        return PopulationBasedTraining(
            size=sweep.wanted,
            ends=(*range(interval, end, interval), None),
            quantile=scheduler.quantile,
            space=sweep.space,
            seed=sweep.seed,
        )
    return SuccessiveHalving(seeds=sweep.seeds)


@dataclass(frozen=True)
class SuccessiveHalving:
    """Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934, algorithm 2), on samples seen.

    A configuration trains to a rung and is saved there. Whenever a place is free, the highest rung is looked for in
    which one of the best `1/factor` has not been promoted; it is. Otherwise a new configuration starts. With a single
    rung, the end of the job, each configuration is trained to its end.

    Attributes:
        rungs: samples seen; the last is None, the end of the job.
        factor: one in so many is promoted.
        seeds: how often each configuration is trained; it is promoted with all of them, by their mean.
    """

    rungs: tuple[int | None, ...] = (None,)
    factor: int = 3
    seeds: int = 1

    def next_leg(self, history: History, suggest: Suggest) -> Leg | None:
        """What to train now; None when there is nothing, or nothing before a running leg has ended."""
        if (leg := self._missing_repetition(history)) is not None:
            return leg
        for rung in reversed(range(len(self.rungs) - 1)):
            ended = self._rank_rung(history, rung)
            for number in ended[: len(ended) // self.factor]:
                if (leg := self._promote(history, number, rung)) is not None:
                    return leg
        number = len(history.numbers)
        if (values := suggest(number)) is not None:
            return Leg(number=number, values=values, until=self.rungs[0])
        return None if history.open_legs else self._promote_to_the_end(history)

    def _rank_rung(self, history: History, rung: int) -> list[int]:
        """The configurations all of whose seeds have ended at a rung, best first; equals in their order."""
        done = [number for number in history.numbers if len(history.results_of(number, rung)) == self.seeds]
        return sorted(done, key=lambda number: history.cost(number, rung))

    def _missing_repetition(self, history: History) -> Leg | None:
        for leg in history.legs.values():
            following = replace(leg, repetition=leg.repetition + 1)
            if following.repetition < self.seeds and following.key not in history.legs:
                return following
        return None

    def _promote(self, history: History, number: int, rung: int) -> Leg | None:
        if (number, 0, rung + 1) in history.legs or history.cost(number, rung) == WORST:
            return None
        return Leg(number=number, index=rung + 1, values=history.values(number), until=self.rungs[rung + 1])

    def _promote_to_the_end(self, history: History) -> Leg | None:
        """With so few that no rung was full, the best of all is promoted, so that one is trained to its end."""
        for rung in reversed(range(len(self.rungs) - 1)):
            ended = self._rank_rung(history, rung)
            if any((number, 0, len(self.rungs) - 1) in history.legs for number in ended):
                return None
            if ended and (leg := self._promote(history, ended[0], rung)) is not None:
                return leg
        return None


def list_rungs(first: int, factor: int, end: int) -> tuple[int | None, ...]:
    """Samples seen at each rung: `first`, `first x factor`, ... below the end of the job, and the end."""
    found: list[int | None] = []
    at = first
    while at < end:
        found.append(at)
        at *= factor
    return (*found, None)


@dataclass(frozen=True, kw_only=True)
class PopulationBasedTraining:
    """Population based training (Jaderberg et al. 2017, arXiv 1711.09846), in generations.

    All members train to the same number of samples and are saved there. Then each of the worst takes over the weights,
    optimizers and clock of one of the best, with its values perturbed; the others go on as they are.

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

    def next_leg(self, history: History, suggest: Suggest) -> Leg | None:
        """What to train now; None when there is nothing, or nothing before a running leg has ended."""
        generation = max((leg.index for leg in history.legs.values()), default=0)
        given = [number for number in range(self.size) if (number, 0, generation) in history.legs]
        if generation == 0 and len(given) < self.size:
            values = suggest(len(given))
            assert values is not None
            return Leg(number=len(given), values=values, until=self.ends[0])
        if len(given) == self.size:
            if history.open_legs or generation + 1 == len(self.ends):
                return None
            generation, given = generation + 1, []
        return next((leg for leg in self._legs_of_generation(history, generation) if leg.number not in given), None)

    def _legs_of_generation(self, history: History, generation: int) -> list[Leg]:
        """The legs of a generation after the first: those that take over come first, before their sources train on
        and drop the checkpoint. Empty when no member is left."""
        before = sorted(range(self.size), key=lambda member: history.cost(member, generation - 1))
        sound = [member for member in before if history.cost(member, generation - 1) != WORST]
        if not sound:
            return []
        share = max(1, int(self.size * self.quantile))
        best = sound[:share]
        worst = [member for member in before[-share:] if member not in best]
        taking = {*worst, *(member for member in before if member not in sound)}
        legs = [self._exploit(history, member, generation, best) for member in sorted(taking)]
        for member in sorted(set(before) - taking):
            values = history.values_at(member, generation - 1)
            legs.append(Leg(number=member, index=generation, values=values, until=self.ends[generation]))
        return legs

    def _exploit(self, history: History, member: int, generation: int, best: list[int]) -> Leg:
        seed = (self.seed, member, generation)
        source = best[int(np.random.default_rng(seed).integers(len(best)))]
        values = perturb_values(self.space, history.values_at(source, generation - 1), *seed)
        return Leg(number=member, index=generation, values=values, until=self.ends[generation], source=source)


def trace_lineage(history: History, number: int) -> list[Leg]:
    """The legs that made a member's weights, oldest first, through those it took over from."""
    index = max(leg.index for leg in history.legs_of(number))
    found = []
    while index >= 0:
        leg = history.legs[number, 0, index]
        found.append(leg)
        number, index = number if leg.source is None else leg.source, index - 1
    return found[::-1]


def is_below_median(curve: Curve, others: Sequence[Curve], first: int, mode: str) -> bool:
    """Whether Optuna's median pruner ends a trial, as its best value so far is worse than the median of the others'
    running averages there (the median rule of Golovin et al. 2017, "Google Vizier").

    Args:
        curve: (samples seen, value) of the trial, up to now.
        others: the same of trials that have ended.
        first: samples before which nothing is ended.
        mode: "min" or "max".
    """
    if not curve:
        return False
    from optuna.pruners import MedianPruner
    from optuna.trial import create_trial

    sign, now = (1 if mode == "min" else -1), curve[-1][0]
    study = create_study()
    study.pruner = MedianPruner(FEWEST_FOR_MEDIAN, n_warmup_steps=first, n_min_trials=FEWEST_FOR_MEDIAN)
    for other in others:
        if values := [sign * value for seen, value in other if seen <= now]:
            study.add_trial(create_trial(value=0.0, intermediate_values={now: statistics.fmean(values)}))
    trial = study.ask()
    for seen, value in curve:
        trial.report(sign * value, seen)
    return trial.should_prune()
