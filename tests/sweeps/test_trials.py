"""Whole sweeps of jobs of milliseconds, in this process: their runs, their record, what goes on from where."""

from __future__ import annotations

import gc
import json
from itertools import groupby
from pathlib import Path
from typing import Any

import psutil
import pytest

from gan_dist.launch.load_job import load_job
from gan_dist.launch.resume_rules import resume_spec
from gan_dist.runs.checkpoint import newest
from gan_dist.runs.index import find_run
from gan_dist.runs.request import RunRequest
from gan_dist.runs.run_folder import RunFolder, tag_curve
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.spec.schedules import Clock
from gan_dist.sweeps import local
from gan_dist.sweeps.local import run_here
from gan_dist.sweeps.report import save_pictures
from gan_dist.sweeps.results import StoredSweep, best_job, results_of_sweep
from gan_dist.sweeps.sampler import study_of
from gan_dist.sweeps.schedulers import trace_lineage
from gan_dist.sweeps.trial import LINEAGE, take_over, truncate_job
from gan_dist.sweeps.trial_log import History
from tests.helpers import CLOCK, SMALL, assert_same_state, request_of, small, train

RATES = {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}


def submit(root: Path, sweep: dict[str, Any], name: str = "s", **changes: Any) -> tuple[int, list[dict[str, Any]]]:
    spec = JobSpec.model_validate({**SMALL, **changes, "sweep": {"metric": "loss/D", "space": RATES, **sweep}})
    return again(root, spec, name)


def again(root: Path, spec: JobSpec, name: str = "s", **changes: Any) -> tuple[int, list[dict[str, Any]]]:
    run, events = RunFolder(Folder.at(root / name)), list[dict[str, Any]]()
    request = RunRequest(run.id, run.uri, spec.model_dump_json(by_alias=True), **changes)
    return run_here(request, events.append), events


def stored(root: Path, name: str = "s") -> StoredSweep:
    return StoredSweep(RunFolder(Folder.at(root / name)))


def last(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(event for event in reversed(events) if event["event"] == kind)


@pytest.mark.slow
def test_each_trial_is_an_ordinary_run(tmp_path: Path) -> None:
    code, events = submit(tmp_path, {"trials": 3, "seeds": 2})
    assert code == 0, events[-1]
    runs = [f"s-t{number:03d}s{repetition}" for number in range(3) for repetition in range(2)]
    for name in runs:
        run = RunFolder(Folder.at(tmp_path / name))
        assert run.status()["status"] == "succeeded" and run.status()["seen"] == 48
        assert (run.request()["sweep"] == str(tmp_path / "s") and "sweep" not in run.request()["job"]) or (
            run.request()["job"]["sweep"] is None
        )
        assert run.lease_holder() is None and newest(run.checkpoints(), lambda text: None) is not None
    found = results_of_sweep(RunFolder(Folder.at(tmp_path / "s")))
    assert sorted(name for row in found["trials"] for name in row["runs"]) == runs
    assert RunFolder(Folder.at(tmp_path / "s-t000s1")).request()["job"]["seed"] == 1
    for row in found["trials"]:
        values = [tag_curve(RunFolder(Folder.at(tmp_path / name)), "loss/D")[-1][1] for name in row["runs"]]
        assert row["each"] == tuple(values) and row["means"][0] == pytest.approx(sum(values) / 2)
    assert last(events, "progress")["stage"] == "3 of 3 tried, 0 training"
    assert last(events, "end")["exit_code"] == 0


@pytest.mark.slow
def test_the_best_job_repeats_the_best_trial(tmp_path: Path) -> None:
    submit(tmp_path, {"trials": 3}, environment={"code": "mine"})
    text, number = best_job(RunFolder(Folder.at(tmp_path / "s")))
    (tmp_path / "best.yaml").write_text(text)
    spec = load_job(tmp_path / "best.yaml")
    alone = train(spec, tmp_path / "alone")
    assert spec.environment.code == "mine"
    assert spec.sweep is None and stored(tmp_path).ranking()[0].number == number
    best = newest(stored(tmp_path).trial(number).checkpoints(), lambda text: None)
    assert best is not None
    assert_same_state(alone.newest, best)


def test_a_cut_job_and_its_rest_are_the_whole_job(tmp_path: Path) -> None:
    """What ASHA rests on: a leg and the next one are one run, schedules and stages included."""
    ramp = {"cosine": {"from": 1e-2, "to": 1e-4, "over": "5 steps"}}
    stages = [{"objective": "hinge", "for": "2 steps"}, {"objective": "non_saturating", "for": "4 steps"}]
    job = {key: value for key, value in SMALL.items() if key not in ("objective", "until")}
    for name, spec in {
        "plain": small(optimizer={"lr": ramp}),
        "stages": JobSpec.model_validate({**job, "stages": stages, "optimizer": {"lr": ramp}}),
    }.items():
        whole = train(spec, tmp_path / f"{name}-whole")
        for attempt, until in enumerate((8, 32, None), 1):
            cut_run = train(truncate_job(spec, until, Clock(8, CLOCK.epoch)), tmp_path / f"{name}-cut", attempt=attempt)
            assert cut_run.result["seen"] == (until or 48)
        assert_same_state(whole.newest, cut_run.newest)


@pytest.mark.slow
def test_asha_leaves_ordinary_stopped_runs(tmp_path: Path) -> None:
    code, _ = submit(tmp_path, {"trials": 6, "scheduler": {"use": "asha", "first": "2 steps"}})
    assert code == 0
    rows = stored(tmp_path).ranking()
    assert [(row.state, row.seen) for row in rows] == [("finished", 48)] + [("reached", 16)] * 5 or [
        row.seen for row in rows
    ] == [48, 48, 16, 16, 16, 16]
    for row in rows:
        run = stored(tmp_path).trial(row.number)
        assert run.status()["status"] == ("succeeded" if row.state == "finished" else "stopped")
        kept = newest(run.checkpoints(), lambda text: None)
        assert kept is not None and kept.seen == row.seen
        assert run.request()["job"]["until"] == "6 steps", "resumed by hand it goes on to the end"


def test_a_trial_that_took_over_goes_on_as_its_source_would(tmp_path: Path) -> None:
    """Bit for bit: the first step after an exploit is that of a resume of the source's checkpoint."""
    first, changed = small(until="3 steps", ema={"half_life": 20}), small(ema={"half_life": 20}, optimizer={"lr": 1e-3})
    source = train(first, tmp_path / "source")
    other = train(small(until="3 steps", ema={"half_life": 20}, optimizer={"lr": 5e-3}), tmp_path / "other")
    taken = take_over(source.run, other.run, leg_index=1)
    assert_same_state(taken, source.newest)
    assert take_over(source.run, other.run, leg_index=1).name == taken.name, "once for a leg"
    lineage = other.run.folder.read_json(LINEAGE)
    assert lineage is not None and [one["source"] for one in lineage["taken"]] == ["source"]
    step = truncate_job(changed, 32, Clock(8, CLOCK.epoch))
    went_on = train(step, tmp_path / "other", attempt=2)
    resumed = train(step, tmp_path / "source", attempt=2)
    assert went_on.newest.seen == 32
    assert_same_state(went_on.newest, resumed.newest)


@pytest.mark.slow
def test_a_population_end_to_end_and_its_best_job_as_schedules(tmp_path: Path) -> None:
    code, events = submit(tmp_path, {"trials": 3, "scheduler": {"use": "pbt", "interval": "2 steps"}})
    assert code == 0, events[-1]
    tasks = stored(tmp_path).history.legs.values()
    assert len([task for task in tasks if task.source is not None]) == 2
    assert all(newest(stored(tmp_path).trial(n).checkpoints(), lambda text: None).seen == 48 for n in range(3))  # type: ignore[union-attr]
    run = RunFolder(Folder.at(tmp_path / "s"))
    legs = trace_lineage(stored(tmp_path).history, stored(tmp_path).ranking()[0].number)
    stretches = [(f"s-t{leg.number:03d}", dict(leg.values)) for leg in legs]
    merged = [one for one, _ in groupby(stretches)]
    assert [(one["from"], dict(one["values"])) for one in results_of_sweep(run)["lineage"]] == merged
    text, number = best_job(run)
    (tmp_path / "best.yaml").write_text(text)
    alone = train(load_job(tmp_path / "best.yaml"), tmp_path / "alone")
    best = newest(stored(tmp_path).trial(number).checkpoints(), lambda text: None)
    assert best is not None
    assert_same_state(alone.newest, best)


@pytest.mark.slow
def test_a_trial_that_diverged_ranks_last_and_the_sweep_goes_on(tmp_path: Path) -> None:
    space = {"optimizer.lr": {"grid": [1e-3, 1e200, 1e-2]}}
    code, events = submit(tmp_path, {"space": space, "search": "grid"}, until="20 steps")
    assert code == 0
    rows = stored(tmp_path).ranking()
    assert [row.state for row in rows] == ["finished", "finished", "diverged"] and rows[-1].number == 1
    assert "not finite" in rows[-1].message
    assert any("s-t001: diverged" in event.get("text", "") for event in events)


@pytest.mark.slow
def test_a_trial_that_collapsed_ranks_last_whatever_its_metric_and_is_told_to_the_search(tmp_path: Path) -> None:
    space = {"optimizer.generator.lr": {"choice": [100.0, 1e-3]}}
    every = {"report": "2 steps", "grid": "4 steps", "checkpoint": "20 steps"}
    sweep = {"space": space, "search": "grid", "metric": "loss/G", "mode": "max"}
    optimizer = {"lr": 1e-3, "generator": {"lr": 1e-3}}
    code, _ = submit(tmp_path, sweep, until="120 steps", every=every, optimizer=optimizer, seed=1)
    assert code == 0
    best, worst = stored(tmp_path).ranking()
    assert (best.number, best.state) == (1, "finished") and (worst.number, worst.state) == (0, "collapsed")
    assert "samples are alike" in worst.message
    (result,) = stored(tmp_path).history.results_of(0, 0)
    assert result.values[0] > best.means[0], "by the metric alone it would be the best"
    study = study_of(stored(tmp_path).sweep.space, stored(tmp_path).history, History())
    assert study.best_trial.number == 1


def test_out_of_memory_and_a_defect_of_ones_own_end_their_trial_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gan_dist.execution import local

    work, calls = local.train_run, list[int]()

    def failing(*arguments: Any, **named: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == 1:
            raise MemoryError("no room")
        if len(calls) == 2:
            raise RuntimeError("shapes do not fit")
        return work(*arguments, **named)

    monkeypatch.setattr(local, "train_run", failing)
    code, _ = submit(tmp_path, {"trials": 3})
    assert code == 0 and len(calls) == 3
    states = {row.number: row.state for row in stored(tmp_path).ranking()}
    assert states == {0: "out_of_memory", 1: "failed", 2: "finished"}
    code, _ = again(tmp_path, JobSpec.model_validate(stored(tmp_path).job), resume=True, attempt=2)
    assert code == 2 and len(calls) == 3, "not tried again unchanged"


def test_a_stop_saves_and_the_rest_comes_with_the_next_attempt(tmp_path: Path) -> None:
    space = {"optimizer.lr": {"grid": [1e-3, 2e-3]}}
    sweep = {"space": space, "search": "grid", "time_budget": 1e-9}
    code, events = submit(tmp_path, sweep)
    assert code == 0 and stored(tmp_path).history.legs == {}
    assert any("the time budget is used up" in event.get("text", "") for event in events)
    more = JobSpec.model_validate(
        {**stored(tmp_path).job, "sweep": {**stored(tmp_path).job["sweep"], "time_budget": None}}
    )
    code, _ = again(tmp_path, more, resume=True, attempt=2)
    assert code == 0 and [row.state for row in stored(tmp_path).ranking()] == ["finished", "finished"]


@pytest.mark.slow
def test_what_may_change_of_a_sweep_on_resume(tmp_path: Path) -> None:
    submit(tmp_path, {"trials": 2}, "random")
    submit(tmp_path, {"trials": 2, "scheduler": {"use": "pbt", "interval": "2 steps"}}, "pbt")
    random, population = (RunFolder(Folder.at(tmp_path / name)) for name in ("random", "pbt"))
    assert resume_spec(random, ["sweep.trials=4", "sweep.time_budget=60"]).sweep.trials == 4  # type: ignore[union-attr]
    space = "sweep.space.optimizer.lr={loguniform: [1e-4, 1e-1]}"
    changes = [(random, "until=9 steps"), (random, "sweep.metric=loss/G"), (random, space)]
    for run, change in (*changes, (population, "sweep.trials=4")):
        with pytest.raises(ValueError, match=f"changed: {change.split('=')[0]}"):
            resume_spec(run, [change])


def test_a_finished_sweep_wants_more_trials(tmp_path: Path) -> None:
    submit(tmp_path, {"trials": 2})
    job = JobSpec.model_validate(stored(tmp_path).job)
    code, events = again(tmp_path, job, resume=True, attempt=2)
    assert code == 2
    assert last(events, "end")["message"] == (
        "sweep s is finished; to try more, raise sweep.trials: gan-dist submit --resume s -o sweep.trials=4 --local"
    )
    assert stored(tmp_path).run.status()["status"] == "succeeded", "it stands where it stood"
    before = [(tmp_path / f"s-t00{n}" / "status.json").read_bytes() for n in range(2)]
    assert job.sweep is not None
    more = job.model_copy(update={"sweep": job.sweep.model_copy(update={"trials": 3})})
    code, _ = again(tmp_path, more, resume=True, attempt=2)
    assert code == 0 and len(stored(tmp_path).ranking()) == 3
    assert [(tmp_path / f"s-t00{n}" / "status.json").read_bytes() for n in range(2)] == before


def test_an_outcome_lost_with_the_record_is_found_in_the_run(tmp_path: Path) -> None:
    submit(tmp_path, {"trials": 2})
    record = tmp_path / "s" / "trials.jsonl"
    lines = record.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["what"] == "leg" or json.loads(line)["what"] == "sweep"]
    before = {row.number: row.means for row in stored(tmp_path).ranking()}
    record.write_bytes(b"".join(kept))
    code, events = again(tmp_path, JobSpec.model_validate(stored(tmp_path).job), resume=True, attempt=2)
    assert code == 0, events[-1]
    assert {row.number: row.means for row in stored(tmp_path).ranking()} == before


def test_only_the_best_keep_their_checkpoints(tmp_path: Path) -> None:
    submit(tmp_path, {"trials": 4, "keep": 2})
    rows = stored(tmp_path).ranking()
    kept = [bool(stored(tmp_path).trial(row.number).checkpoints().names()) for row in rows]
    assert kept == [True, True, False, False]


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheduler",
    [{"use": "asha", "first": "2 steps"}, pytest.param({"use": "pbt", "interval": "2 steps"}, marks=pytest.mark.slow)],
)
def test_no_checkpoint_is_dropped_that_may_be_gone_on_from(tmp_path: Path, scheduler: dict[str, Any]) -> None:
    for name, keep in (("all", None), ("one", 1)):
        (tmp_path / name).mkdir()
        code, events = submit(tmp_path / name, {"trials": 5, "scheduler": scheduler, "keep": keep})
        assert code == 0, events[-1]
    values = [[row.each for row in stored(tmp_path / name).ranking()] for name in ("all", "one")]
    assert values[0] == values[1]
    kept = [bool(stored(tmp_path / "one").trial(n).checkpoints().names()) for n in range(5)]
    assert sum(kept) == 1 and kept[stored(tmp_path / "one").ranking()[0].number]


@pytest.mark.slow
def test_the_median_rule_ends_and_saves_what_is_hopeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gan_dist.sweeps import sweep, trial

    monkeypatch.setattr(trial, "LOOK_S", 0.001)
    monkeypatch.setattr(sweep, "REPORT_EVERY_S", 0.0)
    monkeypatch.setattr(sweep, "is_below_median", lambda course, others, first, mode: len(others) == 3)
    every = {"report": "10 steps", "grid": "9000 steps", "checkpoint": "9000 steps"}
    code, _ = submit(tmp_path, {"trials": 4, "scheduler": "median"}, until="200 steps", every=every)
    assert code == 0
    row = next(row for row in stored(tmp_path).ranking() if row.number == 3)
    run = stored(tmp_path).trial(3)
    assert row.state == "pruned" and row.seen < 1_600 and run.status()["status"] == "stopped"
    kept = newest(run.checkpoints(), lambda text: None)
    assert kept is not None and kept.seen == row.seen


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"metric": "loss/C"}, "'loss/C' is never reported; did you mean 'loss/G'? (allowed: loss/D, loss/G)"),
        (
            {"metric": "X/y"},
            "'X/y' is never reported (allowed: lr, gradient_norm, loss, memory, metric, schedule, speed, D, G)",
        ),
        (
            {"space": {"batch": {"choice": [8, 4000]}}},
            "sweep.space, with batch=4000: batch: 4000 is larger than the data (1797 samples in 'digits')",
        ),
        ({"space": {"generator.layers": {"choice": [1, -1]}}}, "sweep.space, with generator.layers=-1: "),
        ({"scheduler": {"use": "asha", "first": "1k"}}, "the first rung, 1,000 samples, is not before the end, 48"),
    ],
)
def test_preflight_finds_what_would_fail_later(tmp_path: Path, sweep: dict[str, Any], message: str) -> None:
    code, events = submit(tmp_path, sweep)
    assert code == 2 and message in last(events, "end")["message"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("s-t")] == []


@pytest.mark.slow
def test_a_rehearsal_of_a_sweep(tmp_path: Path) -> None:
    metrics = [{"use": "frechet", "samples": 2000}]
    spec = JobSpec.model_validate(
        {
            **SMALL,
            "metrics": metrics,
            "sweep": {"metric": "fd_random_2k", "space": RATES, "scheduler": "asha", "seeds": 2},
        }
    )
    code, events = again(tmp_path, spec, mode="smoke")
    assert code == 0, events[-1]
    assert [row.state for row in stored(tmp_path).ranking()] == ["finished", "finished"]
    assert all(stored(tmp_path).trial(number).status()["seen"] > 0 for number in range(2))


@pytest.mark.slow
def test_pictures(tmp_path: Path) -> None:
    from PIL import Image

    space = {
        **RATES,
        "generator.hidden": {"choice": [8, 12]},
        "optimizer.discriminator.lr": {"same_as": "optimizer.lr"},
        "optimizer.eps": {"loguniform": [1e-8, 1e-6], "when": {"generator.hidden": 8}},
    }
    submit(tmp_path, {"trials": 4, "space": space})
    written = save_pictures(stored(tmp_path), tmp_path / "plots")
    assert [path.name for path in written] == ["curves.png", "grids.png", "parallel.png", "slices.png"]
    assert all(len(set(Image.open(path).convert("L").tobytes())) > 10 for path in written)


@pytest.mark.slow
def test_the_lineage_of_a_population_is_drawn_and_all_is_in_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    import sys
    from base64 import b64decode
    from html.parser import HTMLParser
    from io import BytesIO

    from PIL import Image

    from gan_dist.cli import main

    submit(tmp_path, {"trials": 3, "scheduler": {"use": "pbt", "interval": "2 steps"}})
    words = ["results", "s", "--storage", str(tmp_path), "--report", str(tmp_path / "r.html"), "--json"]
    monkeypatch.setattr(sys, "argv", ["gan-dist", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0 and json.loads(capsys.readouterr().out)["written"] == [str(tmp_path / "r.html")]
    text = (tmp_path / "r.html").read_text()
    tags, words_of = list[tuple[str, dict[str, str | None]]](), list[str]()
    reader = HTMLParser()
    reader.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))  # type: ignore[method-assign]
    reader.handle_data = words_of.append  # type: ignore[method-assign]
    reader.feed(text)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in tags} and "@import" not in text
    pictures = [str(attributes["src"]) for tag, attributes in tags if tag == "img"]
    assert len(pictures) == 5 and all(source.startswith("data:image/png;base64,") for source in pictures)
    for source in pictures:
        assert len(set(Image.open(BytesIO(b64decode(source.partition(",")[2]))).convert("L").tobytes())) > 10
    assert {"t000", "t001", "t002", "Who took over from whom", "The best job"} <= set(words_of)


def test_tensorboard_on_the_sweep_shows_its_trials_with_their_values_and_metric(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    submit(tmp_path, {"trials": 2})
    shown = EventMultiplexer()
    shown.AddRunsFromDirectory(str(tmp_path / "s" / "tensorboard")).Reload()  # type: ignore[no-untyped-call]
    assert {name.split("/")[0] for name in shown.Runs()} == {"t000", "t001"}
    for number in range(2):
        name = f"t{number:03d}"
        assert shown.Scalars(name, "loss/D")[-1].value == pytest.approx(stored(tmp_path).history.cost(number, 0))
        content = shown.SummaryMetadata(name, "_hparams_/session_start_info").plugin_data.content
        values = HParamsPluginData.FromString(content).session_start_info.hparams
        assert values["optimizer.lr"].number_value == stored(tmp_path).history.values(number)["optimizer.lr"]


def test_a_trial_is_stopped_alone_and_goes_on_in_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from gan_dist.launch.run_status import stop_trial
    from gan_dist.sweeps import trial

    monkeypatch.setattr(trial, "LOOK_S", 0.01)
    codes: list[int] = []
    every = {"report": "10 steps", "grid": "1G", "checkpoint": "1G"}
    sweep_of_two = {"metric": "loss/D", "space": RATES, "trials": 2}
    spec = JobSpec.model_validate({**SMALL, "until": "400000 steps", "every": every, "sweep": sweep_of_two})
    sweep = threading.Thread(target=lambda: codes.append(again(tmp_path, spec)[0]))
    sweep.start()
    for number in range(2):
        run = RunFolder(Folder.at(tmp_path / f"s-t00{number}"))
        while run.status().get("seen", 0) < 80:
            assert sweep.is_alive()
            sweep.join(0.05)
        stop_trial(run, 1)
        assert run.status()["status"] == "stopped"
    sweep.join(60)
    assert codes == [3] and [row.state for row in stored(tmp_path).ranking()] == ["training", "training"]


def test_optuna_begins_with_another_sweep_of_the_same_metric_only(tmp_path: Path) -> None:
    submit(tmp_path, {"trials": 2}, "first")
    later = {"trials": 1, "search": "optuna", "start_from": str(tmp_path / "first")}
    code, events = submit(tmp_path, later, "second")
    assert code == 0, events[-1]
    code, events = submit(tmp_path, {**later, "metric": "loss/G"}, "third")
    assert code == 2 and last(events, "end")["message"] == (
        "sweep.start_from: first was ranked by loss/D (min), not by the metric of this sweep"
    )


def test_the_last_run_is_the_sweep_and_not_a_trial_of_it(tmp_path: Path) -> None:
    submit(tmp_path, {"trials": 2})
    assert find_run("last", Folder.at(tmp_path)).id == "s"


def test_a_sweep_is_deleted_with_its_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import sys

    from gan_dist.cli import main

    submit(tmp_path, {"trials": 2})
    monkeypatch.setattr(sys, "argv", ["gan-dist", "delete", "s", "--yes", "--storage", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0 and "with 2 trials" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("s")] == []


@pytest.mark.slow
def test_trials_leave_nothing_in_their_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only their lines in the record: no network, file or thread. How much is told of them depends on the clock, so
    nobody keeps it here."""
    found: list[tuple[int, int, int]] = []
    one_more = local._make_trial

    def counted(sweep: Any, leg: Any) -> Any:
        gc.collect()
        process = psutil.Process()
        found.append((len(gc.get_objects()), process.num_fds(), process.num_threads()))
        return one_more(sweep, leg)

    monkeypatch.setattr(local, "_make_trial", counted)
    spec = small(sweep={"metric": "loss/D", "space": RATES, "trials": 12})
    assert run_here(request_of(spec, tmp_path / "s"), lambda event: None) == 0
    (objects, files, threads), last = found[3], found[-1]
    # Threads and files of earlier tests may end meanwhile.
    assert last[0] - objects <= 20 * (len(found) - 4) and last[1] <= files and last[2] <= threads


def test_the_hyper_parameters_of_a_trial_are_what_is_searched(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    def shown(run: str) -> set[str]:
        events = EventAccumulator(str(tmp_path / run / "tensorboard"))
        events.Reload()
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        return set(HParamsPluginData.FromString(content).session_start_info.hparams)

    space = {"optimizer.discriminator.lr": {"choice": [1e-3, 1e-4]}, "objective.0.weight": {"choice": [1.0, 2.0]}}
    assert submit(tmp_path, {"trials": 1, "space": space})[0] == 0
    assert shown("s-t000") == {"optimizer.discriminator.lr", "objective.0.weight"}
