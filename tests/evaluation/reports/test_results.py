"""The final word on a run: its numbers are those of its records, and its job can be submitted again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gan_dist.cli import main
from gan_dist.errors import NoSuchRun
from gan_dist.evaluation.reports.results import run_results
from gan_dist.execution.local import run_local
from gan_dist.launch.load_job import load_job
from gan_dist.runs.checkpoint import newest
from gan_dist.runs.run_folder import MetricSummary, RunFolder, summarize_metrics, training_seconds
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from tests.helpers import request_of, small


def job() -> JobSpec:
    every = {"report": "2 steps", "grid": "1k", "checkpoint": "4 steps", "metrics": "2 steps"}
    return small(until="8 steps", every=every, metrics=[{"use": "frechet", "samples": 64}])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    root = tmp_path_factory.mktemp("results") / "runs" / "one"
    assert run_local(request_of(job(), root), lambda event: None) == 0
    return RunFolder(Folder.at(root))


def test_a_run_that_ended(run: RunFolder) -> None:
    found = run_results(run)
    reports = [json.loads(line) for line in run.folder.read("scalars.jsonl").splitlines()]
    values = [report["metric/fd_random_64"] for report in reports]
    assert (found["status"], found["seen"], found["attempts"], found["workers"]) == ("succeeded", 64, 1, 1)
    assert found["metrics"]["fd_random_64"]["last"] == (values[-1], 64)
    assert found["metrics"]["fd_random_64"]["lowest"][0] == min(values)
    assert found["metrics"]["fd_random_64"]["highest"][0] == max(values)
    stored = newest(run.checkpoints(), lambda text: None)
    assert stored is not None and found["data"]["checksum"] == stored.meta["data"]["checksum"]
    assert 0 < found["device_hours"] == found["training_s"] / 3600
    assert Path(found["grid"]).exists() and Path(found["checkpoint"]).exists()


def test_its_job_can_be_submitted_again(run: RunFolder) -> None:
    assert load_job(run_results(run)["repeat"].removeprefix("gan-dist submit ")) == job()


def test_the_command(run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["gan-dist", "results", run.uri, *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("one: succeeded, 64 samples seen\nMETRIC")
    assert f"repeat      gan-dist submit {run.uri}/job.json" in out
    assert json.loads(out[out.index("{") :])["metrics"]["fd_random_64"]["last"][1] == 64


def test_a_run_that_never_began(tmp_path: Path) -> None:
    with pytest.raises(NoSuchRun):
        run_results(RunFolder(Folder.at(tmp_path)))
    folder = RunFolder(Folder.at(tmp_path))
    folder.folder.write_json("request.json", {"versions": {"torch": "2"}})
    found = run_results(folder)
    assert (found["status"], found["metrics"], found["device_hours"], found["checkpoint"]) == (
        "pending",
        {},
        None,
        None,
    )


def test_time_and_courses_by_hand() -> None:
    reports = [
        {"seen": 100, "speed/samples_per_s": 50.0, "metric/a": 3.0},
        {"seen": 300, "speed/samples_per_s": 100.0},
        {"seen": 400, "speed/samples_per_s": 20.0, "metric/a": 1.0},
        {"seen": 500, "speed/samples_per_s": 10.0, "metric/a": 2.0},
    ]
    assert training_seconds(reports) == pytest.approx(2 + 2 + 5 + 10)
    assert summarize_metrics(reports) == {"a": MetricSummary(last=(2.0, 500), lowest=(1.0, 400), highest=(3.0, 100))}
