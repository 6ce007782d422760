"""Who is trained, and how far: against curves that are formulas, without Ray and without training."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan_dist.sweeps.search.asha import rungs
from gan_dist.sweeps.search.history import WORST, History, Outcome, Task
from gan_dist.sweeps.search.median_stopping import is_below_median
from gan_dist.sweeps.search.pbt import lineage
from gan_dist.sweeps.search.sampler import Values, planned
from gan_dist.sweeps.search.tpe import suggest
from tests.sweeps.simulated import END, SPACE, by_rate, opened, outcome_of, section, simulate

PLACES = (1, 2, 5)


def reached(history: History, leg: int) -> list[int]:
    return [number for number, _, other in history.outcomes if other == leg]


def test_without_a_scheduler_each_is_trained_to_its_end(tmp_path: Path) -> None:
    history = simulate(section(trials=4, seeds=3), tmp_path)
    assert list(history.outcomes) == [(number, repetition, 0) for number in range(4) for repetition in range(3)]
    assert all(task.until is None for task in history.tasks.values())


def test_rungs_end_at_the_end() -> None:
    assert rungs(100, 3, 900) == (100, 300, None)
    assert rungs(100, 3, 1000) == (100, 300, 900, None)
    assert rungs(4, 2, 5) == (4, None)


def crossing(values: Values, seen: int) -> float:
    """Curves that cross: what is good early need not be good late."""
    rate = float(values["optimizer.lr"])
    return rate + 30 * (1 - rate) ** 2 / seen


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("curve", [by_rate, crossing])
def test_asha_promotes_what_the_rule_promotes(tmp_path: Path, places: int, curve: Any) -> None:
    """After each step, by the paper's rule on a record of its own: a promotion is of one of the best third of a rung
    that had not gone on, of the highest rung that has such; a new configuration starts only where there is none."""
    sweep, search, running = section(trials=27, scheduler="asha"), None, list[Task]()
    search = opened(sweep, tmp_path)
    costs: list[dict[int, float]] = [{}, {}, {}]
    gone: list[set[int]] = [set(), set(), set()]
    started = 0
    for _ in range(200):
        while len(running) < places and (task := search.next()) is not None:
            promotable = [
                (leg, number)
                for leg in (1, 0)
                for number in sorted(costs[leg], key=lambda n, leg=leg: costs[leg][n])[: len(costs[leg]) // 3]
                if number not in gone[leg]
            ]
            if promotable:
                leg, number = promotable[0]
                assert (task.number, task.leg) == (number, leg + 1)
                gone[leg].add(number)
            elif started < 27:
                assert (task.number, task.leg) == (started, 0)
                started += 1
            else:
                pytest.fail("nothing was to be promoted or begun")
            running.append(task)
        if not running:
            break
        task = running.pop(0)
        outcome = outcome_of(task, curve)
        costs[task.leg][task.number] = float(outcome.value or 0)
        search.told(task, outcome)
    assert started == 27 and search.complete
    assert len(costs[1]) >= 9 and len(costs[2]) >= 3


@pytest.mark.parametrize("places", PLACES)
def test_asha_finds_the_best_with_a_third_of_the_images(tmp_path: Path, places: int) -> None:
    (tmp_path / "asha").mkdir()
    (tmp_path / "random").mkdir()
    halved = simulate(section(trials=27, scheduler="asha"), tmp_path / "asha", places=places)
    full = simulate(section(trials=27), tmp_path / "random", places=places)
    ends = {history: [(o.value, key[0]) for key, o in h.outcomes.items() if o.kind == "finished"] for history, h in
            {"asha": halved, "random": full}.items()}  # fmt: skip
    assert min(ends["asha"]) == min(ends["random"])
    spent = {(n, r): max(o.seen for (m, s, _), o in halved.outcomes.items() if (m, s) == (n, r))
             for n, r, _ in halved.outcomes}  # fmt: skip
    assert sum(spent.values()) < 27 * END / 3


def test_so_few_that_no_rung_is_full_still_train_one_to_the_end(tmp_path: Path) -> None:
    history = simulate(section(trials=2, scheduler="asha"), tmp_path)
    assert reached(history, 2) == [min((0, 1), key=lambda number: history.cost(number, 0))]


def test_one_that_diverged_never_goes_on(tmp_path: Path) -> None:
    history = simulate(section(trials=9, scheduler="asha"), tmp_path, lambda values, seen: None)
    assert reached(history, 0) == list(range(9)) and reached(history, 1) == []


def test_highest_is_best_with_mode_max(tmp_path: Path) -> None:
    history = simulate(section(trials=9, scheduler="asha", mode="max"), tmp_path, lambda v, s: v["optimizer.lr"])
    rates = {number: history.values(number)["optimizer.lr"] for number in range(9)}
    assert reached(history, 2) == [max(rates, key=lambda number: rates[number])]


def test_seeds_go_on_together_by_their_mean(tmp_path: Path) -> None:
    history = simulate(section(trials=3, seeds=2, scheduler="asha"), tmp_path, places=2)
    best = min(range(3), key=lambda number: history.cost(number, 0))
    assert [key for key in history.tasks if key[2] == 1] == [(best, 0, 1), (best, 1, 1)]


@pytest.mark.parametrize(
    ("scheduler", "search"),
    [("none", "random"), ("none", "optuna"), ("asha", "random"), ("asha", "optuna"), ("pbt", "random")],
)
def test_a_sweep_killed_anywhere_goes_on_as_if_it_had_not(tmp_path: Path, scheduler: str, search: str) -> None:
    sweep = section(trials=6, scheduler=scheduler, search=search)
    (tmp_path / "whole").mkdir()
    whole = simulate(sweep, tmp_path / "whole")
    for most in (1, 3, 5):
        folder = tmp_path / f"killed-{most}"
        folder.mkdir()
        simulate(sweep, folder, most=most)
        with (folder / "trials.jsonl").open("a") as record:
            record.write('{"what": "outcome", "numb')  # what a kill leaves of a line
        resumed = simulate(sweep, folder)
        assert resumed.tasks == whole.tasks and resumed.outcomes == whole.outcomes


def test_what_was_running_at_the_kill_comes_first_and_no_other_is_lost(tmp_path: Path) -> None:
    sweep = section(trials=4)
    first = opened(sweep, tmp_path)
    running = [first.next(), first.next()]
    again = opened(sweep, tmp_path)
    assert [again.next(), again.next()] == running
    third = again.next()
    assert third is not None and third.number == 2


def test_an_interrupted_task_stays_open(tmp_path: Path) -> None:
    search = opened(section(trials=1), tmp_path)
    task = search.next()
    assert task is not None
    search.told(task, None)
    assert search.over and not search.complete
    assert opened(section(trials=1), tmp_path).next() == task


def test_more_trials_are_added_to_a_finished_sweep(tmp_path: Path) -> None:
    simulate(section(trials=3), tmp_path)
    assert opened(section(trials=3), tmp_path).complete
    history = simulate(section(trials=5), tmp_path)
    assert [history.values(number) for number in range(5)] == planned(section(trials=5))


def test_a_configuration_that_is_no_valid_job_is_refused_and_told(tmp_path: Path) -> None:
    search = opened(section(trials=6, search="optuna"), tmp_path)
    search.refused = lambda values: "too high" if values["optimizer.lr"] > 0.5 else None
    while (task := search.next()) is not None:
        search.told(task, outcome_of(task, by_rate))
    history = search.ledger.history
    for number in range(6):
        high = history.values(number)["optimizer.lr"] > 0.5
        assert [outcome.kind for outcome in history.of(number, 0)] == ["refused" if high else "finished"]
    assert {outcome.message for outcome in history.outcomes.values()} == {"", "too high"}


def test_optuna_learns_and_copes_with_conditions_and_failures(tmp_path: Path) -> None:
    space = {
        "optimizer.lr": {"loguniform": [1e-6, 1]},
        "discriminator.norm": {"choice": ["batch", "none"]},
        "optimizer.clip": {"uniform": [0, 1], "when": {"discriminator.norm": "none"}},
    }

    def curve(values: Values, seen: int) -> float | None:
        if values["optimizer.lr"] > 0.1:
            return None
        return float((np.log10(values["optimizer.lr"]) + 3) ** 2 + values.get("optimizer.clip", 1.0))

    history = simulate(section(space=space, trials=40, search="optuna"), tmp_path, curve)
    off = [abs(np.log10(history.values(number)["optimizer.lr"]) + 3) for number in range(40)]
    assert np.median(off[20:]) < np.median(off[:10]) / 2
    assert sum(history.cost(number, 0) == WORST for number in range(20, 40)) <= 1


def test_a_sweep_begins_with_the_results_of_an_earlier_one(tmp_path: Path) -> None:
    """With twelve results to learn from, its first configurations are near the best of them."""
    (tmp_path / "first").mkdir()
    earlier = simulate(section(trials=12), tmp_path / "first")
    best = min(earlier.values(number)["optimizer.lr"] for number in range(12))
    sweep = section(trials=4, search="optuna")
    fresh = [suggest(sweep, number, History(), History())["optimizer.lr"] for number in range(4)]
    warm = [suggest(sweep, number, History(), earlier)["optimizer.lr"] for number in range(4)]
    assert max(abs(rate - best) for rate in warm) < 0.3 < max(abs(rate - best) for rate in fresh)
    narrow = section(space={"optimizer.lr": {"uniform": [2, 3]}}, trials=4, search="optuna")
    assert suggest(narrow, 0, History(), earlier) == suggest(narrow, 0, History(), History()), "none of them fits"


def test_importance_is_that_of_the_key_that_matters(tmp_path: Path) -> None:
    from gan_dist.sweeps.search.tpe import importances

    sweep = section(space={**SPACE, "optimizer.eps": {"uniform": [0, 1]}}, trials=20)
    found = importances(sweep.space, simulate(sweep, tmp_path), 0)
    assert found["optimizer.lr"] > 0.9 and sum(found.values()) == pytest.approx(1)
    assert importances(sweep.space, History(), 0) == {}


@pytest.mark.parametrize("places", PLACES)
def test_a_population_takes_over_from_its_best(tmp_path: Path, places: int) -> None:
    sweep = section(trials=8, scheduler={"use": "pbt", "interval": 300, "quantile": 0.25})
    history = simulate(sweep, tmp_path, places=places)
    for leg in (1, 2):
        order = sorted(range(8), key=lambda number: history.cost(number, leg - 1))
        tasks = {task.number: task for task in history.tasks.values() if task.leg == leg}
        assert {number for number, task in tasks.items() if task.source is not None} == set(order[-2:])
        for number, task in tasks.items():
            if task.source is None:
                assert task.values == history.values_at(number, leg - 1)
            else:
                assert task.source in order[:2]
        given = [task.source is not None for task in history.tasks.values() if task.leg == leg]
        assert given == sorted(given, reverse=True), "before the sources train on"
    assert [task.until for task in history.tasks.values()] == [300] * 8 + [600] * 8 + [None] * 8


def test_a_population_with_one_that_diverged_goes_on_without_it(tmp_path: Path) -> None:
    sweep = section(trials=3, scheduler={"use": "pbt", "interval": 300})
    rates = [values["optimizer.lr"] for values in planned(sweep) or ()]
    history = simulate(sweep, tmp_path, lambda v, s: None if v["optimizer.lr"] == min(rates) else v["optimizer.lr"])
    assert history.tasks[rates.index(min(rates)), 0, 1].source is not None
    (tmp_path / "all").mkdir()
    lost = simulate(sweep, tmp_path / "all", lambda values, seen: None)
    assert len(lost.tasks) == 3 and opened(sweep, tmp_path / "all").complete


def test_a_lineage_leads_back_to_the_first_leg(tmp_path: Path) -> None:
    sweep = section(trials=4, scheduler={"use": "pbt", "interval": 90})
    history = simulate(sweep, tmp_path)
    for number in range(4):
        legs = lineage(history, number)
        assert [task.leg for task in legs] == list(range(10)) and legs[-1].number == number
        for before, task in itertools.pairwise(legs):
            assert before.number == (task.number if task.source is None else task.source)


def test_mutated_values_stay_within_their_limits(tmp_path: Path) -> None:
    space = {"optimizer.lr": {"loguniform": [1e-3, 2e-3]}, "penalties.0.every": {"int": [1, 4]},
             "optimizer.clip": {"choice": [1, 2, 3]}, "optimizer.eps": {"same_as": "optimizer.lr"}}  # fmt: skip
    history = simulate(section(space=space, trials=6, scheduler={"use": "pbt", "interval": 90}), tmp_path)
    for task in history.tasks.values():
        values = task.values
        assert 1e-3 <= values["optimizer.lr"] <= 2e-3 and values["optimizer.eps"] == values["optimizer.lr"]
        assert values["penalties.0.every"] in (1, 2, 3, 4) and values["optimizer.clip"] in (1, 2, 3)


def test_the_median_rule() -> None:
    others = [[(10, 1.0), (20, 1.0)], [(10, 2.0), (20, 4.0)], [(10, 3.0), (20, 3.0)]]  # averages 1, 3, 3
    assert is_below_median([(10, 9.0), (20, 3.5)], others, 20, "min")
    assert not is_below_median([(10, 2.9), (20, 9.0)], others, 20, "min"), "its best counts"
    assert not is_below_median([(10, 9.0)], others, 20, "min"), "too early"
    assert not is_below_median([(20, 9.0)], others[:2], 20, "min"), "too few others"
    assert is_below_median([(20, 2.5)], others, 20, "max") and not is_below_median([(20, 3.5)], others, 20, "max")
    assert not is_below_median([], others, 0, "min")


def test_a_rung_that_is_no_rung(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"sweep.scheduler.first: the first rung, 2,000 samples, is not before the end"
    ):
        opened(section(scheduler={"use": "asha", "first": "2k"}), tmp_path)
    with pytest.raises(ValueError, match=r"sweep.scheduler.interval: 2,000 samples leave no second generation before"):
        opened(section(scheduler={"use": "pbt", "interval": "2k"}), tmp_path)


def test_a_failure_of_one_seed_makes_the_configuration_worst() -> None:
    history = History()
    for repetition, value in enumerate((1.0, None)):
        task = Task(0, repetition, 0, {})
        history.give(task)
        history.end(task, Outcome("finished" if value else "failed", 9, value))
    assert history.cost(0, 0) == WORST
