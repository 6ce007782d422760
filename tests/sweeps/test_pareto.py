"""Several metrics at once: fronts, ranks, what Optuna is told, and a whole sweep with its pictures and best job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan_dist.launch.load_job import load_job
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.sweeps.ranking import describe_noise, distances, pareto_fronts, rank_configurations
from gan_dist.sweeps.report import save_pictures
from gan_dist.sweeps.results import best_job, results_of_sweep, summary_lines
from gan_dist.sweeps.sampler import importances, study_of, suggest_learned
from gan_dist.sweeps.trial_log import History, Leg, LegResult, State, TrialLog
from tests.sweeps.simulated import opened, section
from tests.sweeps.test_trials import last, stored, submit

TWO = {"metric": ["loss/D", "loss/G"], "mode": ["min", "max"]}


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def test_fronts_are_those_of_the_definition() -> None:
    generator = np.random.default_rng(0)
    points = [tuple(point) for point in generator.integers(0, 8, (60, 3)).astype(float)]
    found = pareto_fronts(points)
    for place, point in enumerate(points):
        above = [found[other] for other, one in enumerate(points) if dominates(one, point)]
        assert found[place] == max(above, default=0) + 1


def test_distances_are_in_units_of_the_front() -> None:
    front = [(0.0, 30.0), (1.0, 10.0)]
    assert distances([(0.0, 30.0), (0.5, 10.0), (1.0, 30.0)], front) == pytest.approx([1, 0.5, 2**0.5])
    assert distances([(5.0, 1.0)], [(5.0, 1.0)]) == [0.0]


def history_of(*pairs: tuple[float, float] | None, seeds: int = 1) -> History:
    history = History(("min", "max"))
    for number, pair in enumerate(pairs):
        for repetition in range(seeds):
            leg = Leg(number=number, repetition=repetition, values={"optimizer.lr": (number + 1) / 10})
            history.legs[leg.key] = leg
            shifted = () if pair is None else (pair[0] + 0.01 * repetition, pair[1] + 0.1 * repetition)
            state: State = "finished" if shifted else "diverged"
            history.results[leg.key] = LegResult(state=state, seen=9, values=shifted)
    return history


def test_rank_is_the_front_and_within_it_the_distance_to_its_best() -> None:
    rows = rank_configurations(history_of((1.0, 1.0), None, (1.2, 4.6), (2.0, 5.0), (2.0, 4.0)))
    assert [(row.number, row.front) for row in rows] == [(2, 1), (0, 1), (3, 1), (4, 2), (1, None)]
    assert rows[0].means == (1.2, 4.6) and rows[0].spreads == (None, None)
    assert "how much of the front is the seed's doing is not known" in describe_noise(rows)
    again = rank_configurations(history_of((1.0, 1.0), (2.0, 5.0), seeds=3))
    assert again[0].spreads == pytest.approx((0.01, 0.1)) and again[0].means == pytest.approx((1.01, 1.1))
    assert describe_noise(again).startswith("seed noise: 0.01, 0.1 from seed to seed, by metric")


def test_optuna_is_told_every_metric_and_seeks_the_front() -> None:
    sweep = section(search="optuna", trials=40, **TWO)
    study = study_of(sweep.space, history_of((1.0, 2.0), None, (3.0, 5.0)), History())
    assert [trial.values for trial in study.trials] == [[1.0, -2.0], [6.0, 1.0], [3.0, -5.0]], "worse than the worst"
    history = History(sweep.modes)
    for number in range(40):
        values = suggest_learned(sweep, number, history, History(sweep.modes))
        leg, rate = Leg(number=number, values=values), values["optimizer.lr"]
        history.legs[leg.key] = leg
        # Both are best at 0.8, beyond which each is bought with the other.
        measured = (abs(rate - 0.8), -abs(rate - 0.85))
        history.results[leg.key] = LegResult(state="finished", seen=9, values=measured)
    late = [history.values(number)["optimizer.lr"] for number in range(20, 40)]
    assert np.median(np.abs(np.array(late) - 0.825)) < 0.15, "of random ones it is 0.33"
    assert importances(sweep.space, history, 0, 1) == {"optimizer.lr": 1.0}


def test_a_record_of_several_metrics_reads_back(tmp_path: Path) -> None:
    search = opened(section(trials=3, **TWO), tmp_path)
    while (leg := search.ask()) is not None:
        measured = (leg.values["optimizer.lr"], 2.0)
        search.tell(leg, LegResult(state="finished", seen=900, values=measured))
    assert TrialLog(Folder.at(tmp_path), ("min", "max")).history == search.log.history


@pytest.mark.slow
def test_a_sweep_for_two_metrics(tmp_path: Path) -> None:
    code, events = submit(tmp_path, {"trials": 5, "search": "optuna", **TWO})
    assert code == 0, events[-1]
    run = RunFolder(Folder.at(tmp_path / "s"))
    found = results_of_sweep(run)
    rows = found["trials"]
    costs = {row["number"]: (row["means"][0], -row["means"][1]) for row in rows}
    assert sorted(found["front"]) == [
        number for number in range(5) if not any(dominates(other, costs[number]) for other in costs.values())
    ]
    assert found["metrics"] == ["loss/D", "loss/G"] and set(found["importance"]) == {"loss/D", "loss/G"}
    assert summary_lines(found)[0].startswith("front       t00")
    table = last(events, "progress")["table"]
    assert table[0][:6] == ["TRIAL", "FRONT", "LOSS/D", "SPREAD", "LOSS/G", "SPREAD"] and table[1][1] == "1"
    text, number = best_job(run)
    assert number == rows[0]["number"] and f"trial t{number:03d}, loss/D {rows[0]['means'][0]:.5g}, loss/G " in text
    (tmp_path / "best.yaml").write_text(text)
    assert load_job(tmp_path / "best.yaml").sweep is None
    names = [path.name for path in save_pictures(stored(tmp_path), tmp_path / "plots")]
    assert names == ["curves.png", "grids.png", "parallel.png", "front.png", "slices.png"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"metric": []}, r"metric\n.*a list gives two different metrics or more"),
        ({"metric": ["fd", "fd"]}, r"a list gives two different metrics or more"),
        ({"metric": ""}, r"'' must be the name of a metric, or a list of some"),
        ({"mode": "mim"}, r"'mim' is not allowed; did you mean 'min'"),
        ({"mode": ["min", 3]}, r"3 is not allowed \(allowed: min, max\)"),
    ],
)
def test_what_is_no_metric_or_mode(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        section(**keys)
