"""A space: what is drawn from it, what is refused in it."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gan_dist.errors import JobError
from gan_dist.launch.load_job import load_job
from gan_dist.spec.job import JobSpec
from gan_dist.spec.sweep import parse_parameter
from gan_dist.sweeps.candidates import make_trial_job
from gan_dist.sweeps.results import write_yaml
from gan_dist.sweeps.sampler import list_combinations, list_known_configurations, probe_space, suggest_random
from tests.helpers import SMALL
from tests.sweeps.simulated import section

SPACE: dict[str, Any] = {
    "optimizer.lr": {"loguniform": [1e-5, 1e-1]},
    "optimizer.discriminator.lr": {"same_as": "optimizer.lr", "times": 2},
    "generator.hidden": {"int": [8, 16]},
    "ema.half_life": {"logint": ["1k", "20k"]},
    "optimizer.eps": {"normal": [1e-6, 1e-7]},
    "penalties": {"choice": [[], [{"use": "r1"}]]},
    "penalties.0.gamma": {"uniform": [0, 10], "when": {"penalties": [[{"use": "r1"}]]}},
}


def values_of(space: dict[str, Any], count: int = 200) -> list[dict[str, Any]]:
    return list_known_configurations(section(space=space, trials=count)) or []


@pytest.mark.slow
def test_values_lie_where_they_should() -> None:
    space = {key: one for key, one in SPACE.items() if not key.startswith("penalties.")}
    found = values_of(space, 2000)
    for values in found:
        assert 1e-5 <= values["optimizer.lr"] <= 1e-1
        assert values["optimizer.discriminator.lr"] == pytest.approx(2 * values["optimizer.lr"], rel=1e-5)
        assert type(values["generator.hidden"]) is int and 8 <= values["generator.hidden"] <= 16
        assert type(values["ema.half_life"]) is int and 1000 <= values["ema.half_life"] <= 20_000
        assert 7e-7 <= values["optimizer.eps"] <= 1.3e-6
    assert {values["generator.hidden"] for values in found} == set(range(8, 17))
    # Evenly over orders of magnitude: about a quarter in each of the four.
    decades = Counter(math.floor(math.log10(values["optimizer.lr"])) for values in found)
    assert all(400 < decades[power] < 600 for power in (-5, -4, -3, -2))


@pytest.mark.slow
def test_normal_numbers_are_normal_and_cut_at_three_deviations() -> None:
    found = [values["optimizer.eps"] for values in values_of({"optimizer.eps": {"normal": [1.0, 0.1]}}, 2000)]
    inside = [sum(abs(value - 1) <= 0.1 * deviations for value in found) / 2000 for deviations in (1, 2, 3)]
    assert inside == pytest.approx([0.68, 0.95, 1.0], abs=0.03)


def test_values_of_a_list_that_look_alike_are_told_apart() -> None:
    alike = [[{"use": "r1", "gamma": gamma}, {"use": "r2"}] for gamma in (1.0, 2.0, 3.0)]
    found = [values["penalties"] for values in values_of({"penalties": {"choice": alike}}, 30)]
    assert all(one in found for one in alike) and all(one in alike for one in found)


def test_a_condition_leaves_a_key_out() -> None:
    for values in values_of(SPACE):
        assert ("penalties.0.gamma" in values) == (values["penalties"] != [])


def test_a_tie_to_a_key_that_is_left_out_is_left_out_too() -> None:
    space = {**SPACE, "optimizer.clip": {"same_as": "penalties.0.gamma"}}
    assert all(("optimizer.clip" in values) == ("penalties.0.gamma" in values) for values in values_of(space))


def test_the_same_seed_gives_the_same_trials_and_more_add_to_them() -> None:
    assert values_of(SPACE, 20) == values_of(SPACE, 40)[:20]
    other = list_known_configurations(section(space=SPACE, trials=20, seed=1))
    assert other != values_of(SPACE, 20)
    space = section(space=SPACE).space
    assert suggest_random(space, 0, 7) == values_of(SPACE, 20)[7], "whatever was drawn before"


def test_a_grid_covers_its_product_once() -> None:
    space = {"batch": {"grid": [8, 16]}, "generator.hidden": {"choice": [8, 12, 16]}}
    found = list_known_configurations(section(space=space, search="grid"))
    assert found == [{"batch": batch, "generator.hidden": hidden} for batch in (8, 16) for hidden in (8, 12, 16)]
    assert list_known_configurations(section(space=space, search="grid", trials=4)) == found[:4]


def test_a_grid_with_a_condition_has_no_configuration_twice() -> None:
    space = section(
        space={"a": {"grid": [1, 2]}, "b": {"grid": [3, 4], "when": {"a": 2}}, "c": {"same_as": "a"}}, search="grid"
    ).space
    assert list_combinations(space) == [{"a": 1, "c": 1}, {"a": 2, "b": 3, "c": 2}, {"a": 2, "b": 4, "c": 2}]


def test_grid_keys_of_a_random_search_are_gone_through_in_turn() -> None:
    found = values_of({"batch": {"grid": [8, 16]}, "optimizer.lr": {"uniform": [0, 1]}}, 6)
    assert [values["batch"] for values in found] == [8, 16] * 3
    assert len({values["optimizer.lr"] for values in found}) == 6


def test_every_end_is_tried_with_its_condition_fulfilled() -> None:
    tried = [(key, values.get(key)) for key, values in probe_space(section(space=SPACE).space)]
    for key, one in section(space=SPACE).space.items():
        assert [value for named, value in tried if named == key] == list(one.ends) or one.kind == "same_as"
    assert None not in [value for _, value in tried]


def test_candidates_reach_into_stages_lists_and_own_arguments() -> None:
    stages = [{"objective": "hinge", "for": "2 steps"}, {"objective": "hinge", "for": "2 steps", "optimizer": {}}]
    job = {key: value for key, value in SMALL.items() if key not in ("objective", "until")} | {"stages": stages}
    job |= {"penalties": [{"use": "r1", "gamma": 1.0}]}
    values = {"stages.1.optimizer.lr": 0.5, "penalties.0.gamma": 3.0, "generator.hidden": 12}
    spec = make_trial_job(JobSpec.model_validate(job).model_dump(mode="json", by_alias=True), values)
    assert spec.phases_plan[1].optimizer.lr == 0.5 and spec.phases_plan[0].optimizer.lr == 2e-4
    assert spec.penalties[0].args["gamma"] == 3.0 and spec.generator.args["hidden"] == 12


def test_a_space_survives_json() -> None:
    spec = JobSpec.model_validate({**SMALL, "sweep": {"metric": "loss/D", "space": SPACE, "time_budget": "2 h"}})
    assert JobSpec.model_validate_json(spec.model_dump_json(by_alias=True)) == spec
    assert spec.sweep is not None and spec.sweep.time_budget == 7200


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (3, "3 says not what to try; write {loguniform: [1e-5, 1e-2]} or {choice: [16, 32]}"),
        (
            {"loguniforn": [1, 2]},
            "unknown kind of values 'loguniforn'; did you mean 'loguniform'? "
            "(allowed: choice, grid, uniform, loguniform, int, logint, normal, same_as)",
        ),
        (
            {"uniform": [2, 1]},
            "uniform: [2, 1] must be two numbers, least and greatest, the first less than the second",
        ),
        ({"loguniform": [0, 1]}, "loguniform: 0 is out of range; both ends must be more than 0"),
        ({"int": [1, 2.5]}, "int: [1, 2.5] must be whole numbers"),
        ({"normal": [0, 0]}, "normal: the deviation 0 is out of range; must be more than 0"),
        ({"choice": []}, "choice: [] must be a list"),
        ({"choice": [1, 2, 1]}, "choice: 1 is given twice"),
        ({"uniform": ["1 epochs", 2]}, "'1 epochs': in a space a count is in samples, such as 5k"),
    ],
)
def test_what_is_refused_in_one_key(written: object, message: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_parameter(written)
    assert str(error.value) == message


def job_errors(tmp_path: Path, **sweep: Any) -> list[str]:
    path = tmp_path / "job.yaml"
    metrics = [{"use": "frechet", "samples": 256}]
    path.write_text(write_yaml({**SMALL, "metrics": metrics, "sweep": {"metric": "fd", **sweep}}))
    with pytest.raises(JobError) as error:
        load_job(path)
    assert all(problem.file == str(path) and problem.line for problem in error.value.problems)
    return [f"{problem.key}: {problem.message}" for problem in error.value.problems]


def test_every_end_of_a_space_is_checked_and_all_is_told_at_once(tmp_path: Path) -> None:
    space = {
        "optimizer.lrr": {"choice": [1]},
        "generator.hiden": {"int": [8, 16]},
        "batch": {"int": [0, 16]},
        "optimizer.betas": {"choice": [[0.5, 0.9], [0.0, 2.0]]},
        "data.size": {"choice": [8, "large"]},
    }
    assert job_errors(tmp_path, space=space, metric="fdd") == [
        "sweep.metric: unknown metric 'fdd'; did you mean 'fd'? (allowed: fd_random_256)",
        "sweep.space.optimizer.lrr: with 1: unknown key; did you mean 'lr'? "
        "(allowed: betas, clip, discriminator, eps, generator, lr, use, warmup, weight_decay)",
        "sweep.space.generator.hiden: with 8: unknown key; did you mean 'hidden'? (allowed: hidden, layers, z)",
        "sweep.space.batch: with 0: 0 is out of range; must be at least 1",
        "sweep.space.optimizer.betas: with [0.0, 2.0]: optimizer.betas[1]: 2 is out of range; must be at least 0 and "
        "less than 1",
        "sweep.space.data.size: with 'large': 'large' is no size; must be a whole number N, or a list [height, width]",
    ]


def test_combinations_that_do_not_fit_are_told(tmp_path: Path) -> None:
    space = {"batch": {"choice": [8, 32]}, "micro_batch": {"choice": [8, 16]}}
    assert job_errors(tmp_path, space=space, search="grid") == [
        "sweep.space.micro_batch: with 16: 16 is larger than the batch of 8 that it is a part of"
    ]


@pytest.mark.parametrize(
    ("sweep", "messages"),
    [
        ({"space": {"batch": {"same_as": "bach"}}}, ["space.batch: same_as: 'bach' is no other key of the space"]),
        (
            {"space": {"batch": {"choice": [8]}, "until": {"choice": [16], "when": {"batch": 9}}}},
            ["space.until: when: 'batch' is never 9 (allowed: 8)"],
        ),
        (
            {"space": {"batch": {"int": [8, 16]}}, "search": "grid"},
            ["space.batch: search: grid takes lists (grid, choice); int needs random or optuna"],
        ),
        (
            {"space": {"batch": {"choice": [8, 16]}}, "start_from": "other"},
            ["start_from: search: random learns nothing from results; only optuna can begin with some"],
        ),
        (
            {"space": {"batch": {"grid": [8, 16]}}, "search": "optuna"},
            ["space.batch: search: optuna does not cover a grid; write choice"],
        ),
        (
            {"space": {"batch": {"choice": [8]}}, "scheduler": "pbt", "seeds": 2, "trials": 1},
            [
                "space.batch: scheduler: pbt changes a run while it trains; only keys of optimizer, penalties, "
                "objective, ema, stages can be",
                "seeds: scheduler: pbt is one population; 2 seeds are 2 sweeps",
                "trials: 1 is no population; scheduler: pbt needs at least 2",
            ],
        ),
        *(
            (
                {"space": {"batch": {"choice": [8]}}, "metric": ["fd", "loss/D"], "scheduler": scheduler},
                [f"scheduler: {scheduler} compares trials by one number, not by 2 metrics; use none"],
            )
            for scheduler in ("asha", "median")
        ),
        (
            {"space": {"batch": {"choice": [8]}}, "metric": ["fd", "loss/D"], "mode": ["min", "min", "max"]},
            ["mode: 3 modes for 2 metrics; give one for all, or one for each"],
        ),
        (
            {"space": {"batch": {"choice": [8]}}, "metric": ["fd", "metric/fd_random_256"]},
            ["metric: names fd_random_256 twice; give different metrics"],
        ),
        (
            {"space": {"a": {"choice": [1], "when": {"b": 1}}, "b": {"choice": [1], "when": {"a": 1}}}},
            ["space.a: depends on itself, by `when` and `same_as`"],
        ),
    ],
)
def test_what_is_impossible_together(tmp_path: Path, sweep: dict[str, Any], messages: list[str]) -> None:
    assert job_errors(tmp_path, **sweep) == [f"sweep.{message}" for message in messages]


def test_an_empty_space_and_unknown_words_are_refused(tmp_path: Path) -> None:
    assert job_errors(tmp_path, space={}) == [
        "sweep.space: {} is empty; give at least one key of the job with the values to try"
    ]
    space = {"batch": {"choice": [8, 16]}}
    found = job_errors(tmp_path, space=space, search="optune", scheduler={"use": "asha", "quantile": 0.5}, keeep=1)
    assert found == [
        "sweep.search: 'optune' is not allowed; did you mean 'optuna'? (allowed: grid, random, optuna)",
        "sweep.scheduler: quantile: scheduler 'asha' has no such key; it has first, factor",
        "sweep.keeep: unknown key; did you mean 'keep'? (allowed: concurrent, keep, metric, mode, scheduler, search, "
        "seed, seeds, space, start_from, time_budget, trials)",
    ]


@pytest.mark.parametrize(("written", "seconds"), [(90, 90), ("90 s", 90), ("30 min", 1800), ("1.5 h", 5400)])
def test_durations(written: object, seconds: float) -> None:
    assert section(time_budget=written).time_budget == seconds


def test_a_wrong_duration() -> None:
    with pytest.raises(ValidationError, match=r"unknown unit 'hour' in '2 hour' \(allowed: s, min, m, h, d\)"):
        section(time_budget="2 hour")
