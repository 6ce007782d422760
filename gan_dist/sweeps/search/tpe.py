"""Configurations that learn from the results: Optuna's tree-structured Parzen estimator (Bergstra et al. 2011).

The study is built anew from the sweep's history for each question, so there is no state of Optuna's to be resumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gan_dist.spec.space import LISTS, WHOLE, Parameter, rounded
from gan_dist.spec.sweep import SweepSpec
from gan_dist.sweeps.search.history import WORST, History
from gan_dist.sweeps.search.sampler import Space, Values, completed

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

STARTUP = 8


def suggest(sweep: SweepSpec, number: int, history: History, earlier: History) -> Values:
    """The `number`-th configuration, given what came of those before it, here and in an earlier sweep. As long as that
    is little, configurations are drawn at random."""
    import optuna

    startup = min(STARTUP, max(1, (sweep.wanted or 1) // 3))
    # A seed of its own for each, so that two that are asked for at the same time differ.
    sampler = optuna.samplers.TPESampler(seed=sweep.seed + number, n_startup_trials=startup)
    trial = study_of(sweep.space, history, earlier, sampler).ask()

    def choose(key: str, one: Parameter) -> Any:
        if one.kind in LISTS:
            return one.values[trial.suggest_categorical(key, tuple(range(len(one.values))))]
        low, high = one.limits
        if one.kind in WHOLE:
            return trial.suggest_int(key, int(low), int(high), log=one.kind == "logint")
        found = trial.suggest_float(key, low, high, log=one.kind == "loguniform")
        return min(high, max(low, rounded(found)))

    return completed(sweep.space, choose)


def study_of(space: Space, history: History, earlier: History, sampler: Any = None) -> Study:
    """The history as Optuna's study, less being better; what has not ended is running.

    Optuna passes over trials that failed, and would propose their like again: one without a value counts as worse than
    the worst.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=sampler, directions=["minimize"] * len(history.modes))
    running = {task.number for task in history.open}
    costs = {number: last_costs(history, number) for number in history.numbers if number not in running}
    finite = [each for each in costs.values() if WORST not in each] or [(0.0,) * len(history.modes)]
    bad = tuple(max(one) + max(max(one) - min(one), abs(max(one)), 1e-9) for one in zip(*finite, strict=True))
    for number in earlier.numbers:
        values = {key: value for key, value in earlier.values(number).items() if key in space}
        if values and WORST not in (each := last_costs(earlier, number)) and _fit(space, values):
            _add(study, space, values, each)
    for number in history.numbers:
        found = costs.get(number)
        _add(study, space, history.values(number), bad if found is not None and WORST in found else found)
    return study


def _fit(space: Space, values: Values) -> bool:
    """Whether values of another space are possible in this one."""
    for key, value in values.items():
        one = space[key]
        if one.kind in LISTS and value not in one.values:
            return False
        if one.kind not in (*LISTS, "same_as") and not (
            isinstance(value, int | float) and one.limits[0] <= value <= one.limits[1]
        ):
            return False
    return True


def _add(study: Study, space: Space, values: Values, costs: tuple[float, ...] | None) -> None:
    from optuna.trial import TrialState, create_trial

    kinds = {key: distribution(space[key]) for key in values if space[key].kind != "same_as"}
    told = {key: _inner(space[key], values[key]) for key in kinds}
    state = TrialState.RUNNING if costs is None else TrialState.COMPLETE
    study.add_trial(create_trial(params=told, distributions=kinds, state=state, values=costs))


def last_costs(history: History, number: int) -> tuple[float, ...]:
    """The cost of a configuration by each metric, where it was trained furthest."""
    legs = [task.leg for task in history.tasks.values() if task.number == number]
    ended = [leg for leg in legs if list(history.of(number, leg))]
    return history.costs(number, max(ended)) if ended else (WORST,) * len(history.modes)


def distribution(one: Parameter) -> BaseDistribution:
    """A key's values as Optuna has them: a list by the places in it; a normal one is flat between its ends."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if one.kind in LISTS:
        return CategoricalDistribution(tuple(range(len(one.values))))
    low, high = one.limits
    if one.kind in WHOLE:
        return IntDistribution(int(low), int(high), log=one.kind == "logint")
    return FloatDistribution(low, high, log=one.kind == "loguniform")


def importances(space: Space, history: History, leg: int, metric: int = 0) -> Mapping[str, float]:
    """How much of one metric's variance after a leg each key explains (Hutter et al. 2014, by random forests), summing
    to 1.

    Empty where fewer than four configurations have a value, or all have the same.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for number in history.numbers:
        if (cost := history.costs(number, leg)[metric]) != WORST:
            _add(study, space, history.values_at(number, leg), (cost,))
    done = study.trials
    shared = [key for key in space if all(key in trial.params for trial in done)]
    varied = [key for key in shared if len({trial.params[key] for trial in done}) > 1]
    if len(done) < 4 or not varied or len({trial.value for trial in done}) == 1:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=varied)
    return {key: float(share) for key, share in found.items() if math.isfinite(share)}


def _inner(one: Parameter, value: Any) -> Any:
    return one.values.index(value) if one.kind in LISTS else value
