"""Who is trained, and how far: against curves that are formulas, without Ray and without training."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan_dist.sweeps.sampler import importances, list_known_configurations, suggest_learned
from gan_dist.sweeps.schedulers import is_below_median, list_rungs, trace_lineage
from gan_dist.sweeps.trial_log import WORST, History, Leg, LegResult, Values
from tests.sweeps.simulated import END, SPACE, by_rate, opened, result_of, section, simulate

PLACES = (1, 2, 5)


def reached(history: History, rung: int) -> list[int]:
    return [number for number, _, index in history.results if index == rung]


def test_without_a_scheduler_each_is_trained_to_its_end(tmp_path: Path) -> None:
    history = simulate(section(trials=4, seeds=3), tmp_path)
    assert list(history.results) == [(number, repetition, 0) for number in range(4) for repetition in range(3)]
    assert all(leg.until is None for leg in history.legs.values())


def test_rungs_end_at_the_end() -> None:
    assert list_rungs(100, 3, 900) == (100, 300, None)
    assert list_rungs(100, 3, 1000) == (100, 300, 900, None)
    assert list_rungs(4, 2, 5) == (4, None)


def crossing(values: Values, seen: int) -> float:
    """Curves that cross: what is good early need not be good late."""
    rate = float(values["optimizer.lr"])
    return rate + 30 * (1 - rate) ** 2 / seen


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("curve", [by_rate, crossing])
def test_asha_promotes_what_the_rule_promotes(tmp_path: Path, places: int, curve: Any) -> None:
    """After each step, by the paper's rule on a record of its own: a promotion is of one of the best third of a rung
    that had not gone on, of the highest rung that has such; a new configuration starts only where there is none."""
    sweep, search, running = section(trials=27, scheduler="asha"), None, list[Leg]()
    search = opened(sweep, tmp_path)
    costs: list[dict[int, float]] = [{}, {}, {}]
    gone: list[set[int]] = [set(), set(), set()]
    started = 0
    for _ in range(200):
        while len(running) < places and (leg := search.ask()) is not None:
            promotable = [
                (rung, number)
                for rung in (1, 0)
                for number in sorted(costs[rung], key=lambda n, rung=rung: costs[rung][n])[: len(costs[rung]) // 3]
                if number not in gone[rung]
            ]
            if promotable:
                rung, number = promotable[0]
                assert (leg.number, leg.index) == (number, rung + 1)
                gone[rung].add(number)
            elif started < 27:
                assert (leg.number, leg.index) == (started, 0)
                started += 1
            else:
                pytest.fail("nothing was to be promoted or begun")
            running.append(leg)
        if not running:
            break
        leg = running.pop(0)
        result = result_of(leg, curve)
        costs[leg.index][leg.number] = result.values[0]
        search.tell(leg, result)
    assert started == 27 and search.complete
    assert len(costs[1]) >= 9 and len(costs[2]) >= 3


def test_asha_finds_the_best_with_a_third_of_the_images(tmp_path: Path) -> None:
    shares = []
    for seed in range(6):
        folders = tmp_path / f"asha-{seed}", tmp_path / f"random-{seed}"
        for folder in folders:
            folder.mkdir()
        halved = simulate(section(trials=27, scheduler="asha", seed=seed), folders[0], places=seed + 1)
        full = simulate(section(trials=27, seed=seed), folders[1], places=seed + 1)
        best = [
            min((result.values[0], key[0]) for key, result in history.results.items() if result.state == "finished")
            for history in (halved, full)
        ]
        assert best[0] == best[1]
        furthest = {number: max(leg.index for leg in halved.legs_of(number)) for number in halved.numbers}
        shares.append(sum(halved.results[number, 0, index].seen for number, index in furthest.items()) / (27 * END))
    assert np.mean(shares) < 1 / 3


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
    assert [key for key in history.legs if key[2] == 1] == [(best, 0, 1), (best, 1, 1)]


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
            record.write('{"what": "result", "numb')  # what a kill leaves of a line
        resumed = simulate(sweep, folder)
        assert resumed.legs == whole.legs and resumed.results == whole.results


def test_what_was_running_at_the_kill_comes_first_and_no_other_is_lost(tmp_path: Path) -> None:
    sweep = section(trials=4)
    first = opened(sweep, tmp_path)
    running = [first.ask(), first.ask()]
    again = opened(sweep, tmp_path)
    assert [again.ask(), again.ask()] == running
    third = again.ask()
    assert third is not None and third.number == 2


def test_an_interrupted_task_stays_open(tmp_path: Path) -> None:
    search = opened(section(trials=1), tmp_path)
    leg = search.ask()
    assert leg is not None
    search.tell(leg, None)
    assert search.over and not search.complete
    assert opened(section(trials=1), tmp_path).ask() == leg


def test_more_trials_are_added_to_a_finished_sweep(tmp_path: Path) -> None:
    simulate(section(trials=3), tmp_path)
    assert opened(section(trials=3), tmp_path).complete
    history = simulate(section(trials=5), tmp_path)
    assert [history.values(number) for number in range(5)] == list_known_configurations(section(trials=5))


def test_a_configuration_that_is_no_valid_job_is_refused_and_told(tmp_path: Path) -> None:
    search = opened(section(trials=6, search="optuna"), tmp_path)
    search.why_invalid = lambda values: "too high" if values["optimizer.lr"] > 0.5 else None
    while (leg := search.ask()) is not None:
        search.tell(leg, result_of(leg, by_rate))
    history = search.log.history
    for number in range(6):
        high = history.values(number)["optimizer.lr"] > 0.5
        assert [result.state for result in history.results_of(number, 0)] == ["refused" if high else "finished"]
    assert {result.message for result in history.results.values()} == {"", "too high"}


@pytest.mark.slow
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

    late = []
    for seed in range(3):
        (tmp_path / str(seed)).mkdir()
        sweep = section(space=space, trials=40, search="optuna", seed=seed)
        history = simulate(sweep, tmp_path / str(seed), curve)
        late += [abs(np.log10(history.values(number)["optimizer.lr"]) + 3) for number in range(20, 40)]
        assert sum(history.cost(number, 0) == WORST for number in range(20, 40)) <= 1
    assert np.median(late) < 0.75, "of random ones it is 1.5"


def test_a_sweep_begins_with_the_results_of_an_earlier_one(tmp_path: Path) -> None:
    """With twelve results to learn from, its first configurations are near the best of them."""
    (tmp_path / "first").mkdir()
    earlier = simulate(section(trials=12), tmp_path / "first")
    best = min(earlier.values(number)["optimizer.lr"] for number in range(12))
    sweep = section(trials=4, search="optuna")
    fresh = [suggest_learned(sweep, number, History(), History())["optimizer.lr"] for number in range(4)]
    warm = [suggest_learned(sweep, number, History(), earlier)["optimizer.lr"] for number in range(4)]
    assert max(abs(rate - best) for rate in warm) < 0.3 < max(abs(rate - best) for rate in fresh)
    narrow = section(space={"optimizer.lr": {"uniform": [2, 3]}}, trials=4, search="optuna")
    assert suggest_learned(narrow, 0, History(), earlier) == suggest_learned(narrow, 0, History(), History()), (
        "none of them fits"
    )


def test_two_sweeps_and_two_configurations_share_no_seed() -> None:
    sweeps = [section(trials=4, search="optuna", seed=seed) for seed in range(4)]
    found = [suggest_learned(sweep, n, History(), History())["optimizer.lr"] for sweep in sweeps for n in range(4)]
    assert len(set(found)) == 16


def test_importance_is_that_of_the_key_that_matters(tmp_path: Path) -> None:
    sweep = section(space={**SPACE, "optimizer.eps": {"uniform": [0, 1]}}, trials=20)
    found = importances(sweep.space, simulate(sweep, tmp_path), 0)
    assert found["optimizer.lr"] > 0.9 and sum(found.values()) == pytest.approx(1)
    assert importances(sweep.space, History(), 0) == {}


@pytest.mark.parametrize("places", PLACES)
def test_a_population_takes_over_from_its_best(tmp_path: Path, places: int) -> None:
    sweep = section(trials=8, scheduler={"use": "pbt", "interval": 300, "quantile": 0.25})
    history = simulate(sweep, tmp_path, places=places)
    for index in (1, 2):
        order = sorted(range(8), key=lambda number: history.cost(number, index - 1))
        legs = {leg.number: leg for leg in history.legs.values() if leg.index == index}
        assert {number for number, leg in legs.items() if leg.source is not None} == set(order[-2:])
        for number, leg in legs.items():
            if leg.source is None:
                assert leg.values == history.values_at(number, index - 1)
            else:
                assert leg.source in order[:2]
        given = [leg.source is not None for leg in history.legs.values() if leg.index == index]
        assert given == sorted(given, reverse=True), "before the sources train on"
    assert [leg.until for leg in history.legs.values()] == [300] * 8 + [600] * 8 + [None] * 8


def test_a_population_with_one_that_diverged_goes_on_without_it(tmp_path: Path) -> None:
    sweep = section(trials=3, scheduler={"use": "pbt", "interval": 300})
    rates = [values["optimizer.lr"] for values in list_known_configurations(sweep) or ()]
    history = simulate(sweep, tmp_path, lambda v, s: None if v["optimizer.lr"] == min(rates) else v["optimizer.lr"])
    assert history.legs[rates.index(min(rates)), 0, 1].source is not None
    (tmp_path / "all").mkdir()
    lost = simulate(sweep, tmp_path / "all", lambda values, seen: None)
    assert len(lost.legs) == 3 and opened(sweep, tmp_path / "all").complete


def test_a_lineage_leads_back_to_the_first_leg(tmp_path: Path) -> None:
    sweep = section(trials=4, scheduler={"use": "pbt", "interval": 90})
    history = simulate(sweep, tmp_path)
    for number in range(4):
        legs = trace_lineage(history, number)
        assert [leg.index for leg in legs] == list(range(10)) and legs[-1].number == number
        for before, leg in itertools.pairwise(legs):
            assert before.number == (leg.number if leg.source is None else leg.source)


def test_mutated_values_stay_within_their_limits(tmp_path: Path) -> None:
    space = {"optimizer.lr": {"loguniform": [1e-3, 2e-3]}, "penalties.0.every": {"int": [1, 4]},
             "optimizer.clip": {"choice": [1, 2, 3]}, "optimizer.eps": {"same_as": "optimizer.lr"}}  # fmt: skip
    history = simulate(section(space=space, trials=6, scheduler={"use": "pbt", "interval": 90}), tmp_path)
    for leg in history.legs.values():
        values = leg.values
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
        leg = Leg(number=0, repetition=repetition, values={})
        history.legs[leg.key] = leg
        values = () if value is None else (value,)
        history.results[leg.key] = LegResult(state="finished" if value else "failed", seen=9, values=values)
    assert history.cost(0, 0) == WORST
