"""Configurations out of a search space: every combination of its lists, or suggested by Optuna's samplers.

Optuna keeps no state between two suggestions. The study is built anew in memory from the sweep's history, and the
sampler's seed is made of the sweep's seed and the configuration's number. So the same history gives the same
suggestion, whatever was killed before it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from graphlib import TopologicalSorter
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from gan_dist.spec.problems import show_value
from gan_dist.spec.sweep import LISTS, WHOLE, Parameter, SweepSpec, needs, rounded
from gan_dist.sweeps.trial_log import WORST, History, Values

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

Space = Mapping[str, Parameter]
MOST_STARTUP_TRIALS = 8


def complete_values(space: Space, chosen: Mapping[str, Any]) -> Values:
    """One configuration: free keys as chosen, tied ones by what they follow; keys whose `when` fails are left out."""
    values: Values = {}
    for key in TopologicalSorter({key: needs(one) for key, one in space.items()}).static_order():
        one = space[key]
        if any(other not in values or values[other] not in allowed for other, allowed in one.when):
            continue
        if one.kind != "same_as":
            values[key] = chosen[key]
        elif one.tied in values:
            values[key] = values[one.tied] if one.times is None else _multiply(values[one.tied], one.times)
    return {key: values[key] for key in space if key in values}


def list_combinations(space: Space) -> list[Values]:
    """Every combination of the lists of a space, each once, the last key changing fastest."""
    keys = [key for key, one in space.items() if one.kind != "same_as"]
    combinations = itertools.product(*(space[key].values for key in keys))
    found: list[Values] = []
    for made in (complete_values(space, dict(zip(keys, values, strict=True))) for values in combinations):
        if made not in found:
            found.append(made)
    return found


def list_known_configurations(sweep: SweepSpec) -> list[Values] | None:
    """All configurations of a sweep, where they do not depend on results; None where they do."""
    if sweep.search == "optuna":
        return None
    if sweep.search == "grid":
        return list_combinations(sweep.space)[: sweep.trials]
    assert sweep.wanted is not None
    return [suggest_random(sweep.space, sweep.seed, number) for number in range(sweep.wanted)]


def probe_space(space: Space) -> Iterator[tuple[str, Values]]:
    """(key, configuration) with each end of each key once, and its `when` fulfilled; the other keys at their first."""
    first = {key: one.ends[0] for key, one in space.items() if one.ends}
    for key in space:
        needed = _fulfill_conditions(space, key)
        for value in space[key].ends or (None,):
            chosen = first | needed | ({key: value} if space[key].ends else {})
            yield key, complete_values(space, chosen)


def list_configurations_to_check(sweep: SweepSpec) -> list[Values]:
    """What a job is checked with before a sweep starts: each end of each key, and what is known beforehand."""
    return [*(values for _, values in probe_space(sweep.space)), *(list_known_configurations(sweep) or ())]


def _fulfill_conditions(space: Space, key: str) -> Values:
    """Values of other keys with which a key is there."""
    found: Values = {}
    waiting: list[str] = [key]
    while waiting:
        one = space[waiting.pop()]
        found |= {other: allowed[0] for other, allowed in one.when if other not in found}
        waiting += needs(one)
    return found


def suggest_random(space: Space, *seed: int) -> Values:
    """A random configuration: the same for the same numbers in `seed`. Lists of kind `grid` are gone through in turn
    by the last number of the seed."""
    from optuna.samplers import RandomSampler

    suggested = _ask(create_study(sampler=RandomSampler(_mix_seed(*seed))), space)
    for key, one in space.items():
        if one.kind == "normal":
            suggested[key] = _flat_to_normal(one, suggested[key])
    grids = [key for key, one in space.items() if one.kind == "grid"]
    combinations = list(itertools.product(*(space[key].values for key in grids)))
    suggested |= zip(grids, combinations[seed[-1] % len(combinations)], strict=True)
    return complete_values(space, suggested)


def suggest_learned(sweep: SweepSpec, number: int, history: History, earlier: History) -> Values:
    """The `number`-th configuration by a tree-structured Parzen estimator (Bergstra et al. 2011), given the results of
    this sweep and of an earlier one. As long as there are few results, it is random."""
    from optuna.samplers import TPESampler

    startup = min(MOST_STARTUP_TRIALS, max(1, (sweep.wanted or 1) // 3))
    sampler = TPESampler(seed=_mix_seed(sweep.seed, number), n_startup_trials=startup)
    return complete_values(sweep.space, _ask(study_of(sweep.space, history, earlier, sampler), sweep.space))


def perturb_values(space: Space, values: Values, *seed: int) -> Values:
    """Values for a trial that goes on from another's weights (Jaderberg et al. 2017): each number 0.8 or 1.2 times as
    large, within its limits; each of a list moved to a neighbor; one in four drawn anew."""
    from numpy.random import default_rng

    generator, chosen = default_rng(seed), suggest_random(space, *seed)
    for key, one in space.items():
        redraw, up = generator.random() < 0.25, bool(generator.random() < 0.5)
        if redraw or key not in values or one.kind == "same_as":
            continue
        if one.kind in LISTS:
            place = one.values.index(values[key]) + (1 if up else -1)
            chosen[key] = one.values[min(max(place, 0), len(one.values) - 1)]
        else:
            chosen[key] = _fit_number(one, values[key] * (1.2 if up else 0.8))
    return complete_values(space, chosen)


def study_of(space: Space, history: History, earlier: History, sampler: BaseSampler | None = None) -> Study:
    """The history as an Optuna study in which less is better; a configuration without a result is running.

    Of an earlier sweep it takes what fits this space. Optuna passes over trials that failed, and would propose their
    like again: here one without a value counts as worse than the worst.
    """
    study = create_study(len(history.modes), sampler)
    running = {leg.number for leg in history.open_legs}
    costs = {number: history.last_costs(number) for number in history.numbers if number not in running}
    finite = [each for each in costs.values() if WORST not in each] or [(0.0,) * len(history.modes)]
    bad = tuple(max(one) + max(max(one) - min(one), abs(max(one)), 1e-9) for one in zip(*finite, strict=True))
    for number in earlier.numbers:
        values = {key: value for key, value in earlier.values(number).items() if key in space}
        if values and WORST not in (each := earlier.last_costs(number)):
            with suppress(ValueError, TypeError):  # a value that this space does not have
                study.add_trial(freeze_trial(space, values, each))
    for number in history.numbers:
        found = costs.get(number)
        study.add_trial(freeze_trial(space, history.values(number), bad if found and WORST in found else found))
    return study


def create_study(objectives: int = 1, sampler: BaseSampler | None = None) -> Study:
    """An empty study in memory in which less is better in each objective."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=sampler, directions=["minimize"] * objectives)


def freeze_trial(space: Space, values: Values, costs: tuple[float, ...] | None) -> FrozenTrial:
    """A configuration as Optuna's trial, complete or, without costs, running.

    Raises:
        ValueError: the space does not have one of the values.
    """
    from optuna.trial import TrialState, create_trial

    kinds = {key: distribution_of(space[key]) for key in values if space[key].kind != "same_as"}
    params = {key: values[key] for key in kinds}
    for key in (key for key in kinds if space[key].kind in LISTS):
        params[key] = _short_names(space[key])[space[key].values.index(values[key])]
    state = TrialState.RUNNING if costs is None else TrialState.COMPLETE
    return create_trial(params=params, distributions=kinds, state=state, values=costs)


def distribution_of(one: Parameter) -> BaseDistribution:
    """A key's values as Optuna has them: a list by names of its values; a normal number is flat between its ends."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if one.kind in LISTS:
        return CategoricalDistribution(_short_names(one))
    low, high = one.limits
    if one.kind in WHOLE:
        return IntDistribution(int(low), int(high), log=one.kind == "logint")
    return FloatDistribution(low, high, log=one.kind == "loguniform")


def importances(space: Space, history: History, index: int, metric: int = 0) -> Mapping[str, float]:
    """How much of one metric's variance after a leg each key explains (Hutter et al. 2014, by random forests), summing
    to 1.

    Empty where fewer than four configurations have a value, or all have the same.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    study = create_study()
    for number in history.numbers:
        if (cost := history.costs(number, index)[metric]) != WORST:
            study.add_trial(freeze_trial(space, history.values_at(number, index), (cost,)))
    done = study.trials
    shared = [key for key in space if all(key in trial.params for trial in done)]
    varied = [key for key in shared if len({trial.params[key] for trial in done}) > 1]
    if len(done) < 4 or not varied or len({trial.value for trial in done}) == 1:
        return {}
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0), params=varied)
    return {key: float(share) for key, share in found.items() if math.isfinite(share)}


def describe_values(values: Values) -> str:
    """A configuration's values in one line."""
    return ", ".join(f"{key}={show_value(value)}" for key, value in values.items())


def list_differing_keys(values: Sequence[Values]) -> list[str]:
    """The keys in which configurations differ, in the order in which they first appear."""
    keys = dict.fromkeys(key for one in values for key in one)
    absent = object()
    return [key for key in keys if any(one.get(key, absent) != values[0].get(key, absent) for one in values)]


def _ask(study: Study, space: Space) -> Values:
    """Suggest a value of every free key, so that what one `when` leaves out does not move the others."""
    trial = study.ask({key: distribution_of(one) for key, one in space.items() if one.kind != "same_as"})
    found: Values = {}
    for key, value in trial.params.items():
        one = space[key]
        found[key] = one.values[_short_names(one).index(value)] if one.kind in LISTS else _fit_number(one, value)
    return found


def _mix_seed(*numbers: int) -> int:
    """One seed out of several numbers, so that two configurations or two sweeps share none."""
    from numpy.random import SeedSequence

    return int(SeedSequence(numbers).generate_state(1)[0])


def _short_names(one: Parameter) -> list[str]:
    """The values of a list in few letters, each another; a component by its name."""
    words = [
        str(value["use"] if isinstance(value, Mapping) and "use" in value else show_value(value))[:16]
        for value in one.values
    ]
    return words if len(set(words)) == len(words) else [f"{place}: {word}" for place, word in enumerate(words)]


def _fit_number(one: Parameter, value: float) -> float:
    """A number within the limits of its key, whole or with as many digits as people read."""
    low, high = one.limits
    return int(min(high, max(low, round(value)))) if one.kind in WHOLE else min(high, max(low, rounded(value)))


def _flat_to_normal(one: Parameter, value: float) -> float:
    """The normal number at the same share of all as a number that is flat between the same ends."""
    low, high = one.limits
    curve = NormalDist(one.low, one.high)
    least, most = curve.cdf(low), curve.cdf(high)
    return _fit_number(one, curve.inv_cdf(least + (most - least) * (value - low) / (high - low)))


def _multiply(value: Any, factor: float) -> Any:
    moved = value * factor
    return round(moved) if isinstance(value, int) and moved == round(moved) else rounded(moved)
