"""Trackers are told what TensorBoard is told, under the run's id, and whatever they do changes nothing of the run."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gan_dist.contracts import TrackedRun
from gan_dist.launch.load_job import load_job
from gan_dist.training.trackers import background
from gan_dist.training.trackers.background import BackgroundTracker
from gan_dist.training.trackers.mlflow import TAG, Mlflow
from gan_dist.training.trackers.wandb import Wandb
from tests.helpers import Trained, assert_same_state, small, stop_at, train

OWN = '''
told = []

class Board:
    """Keeps what it is told."""

    def __init__(self, *, run, colour="blue"):
        told.append(("begin", run.id, run.seen, colour, run.job["name"]))

    def scalars(self, values, seen):
        told.append(("scalars", values, seen))

    def samples(self, name, shown, seen):
        told.append(("samples", name, getattr(shown, "size", None), seen))

    def finish(self, finished):
        told.append(("finish", finished))

class NeverThere:
    def __init__(self, *, run):
        raise ConnectionError("no server\\nat all")

class Falls(Board):
    def scalars(self, values, seen):
        raise RuntimeError("full")
'''


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of a person's own with trackers."""
    (tmp_path / "their_board.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    import their_board  # type: ignore[import-not-found]

    yield their_board
    sys.modules.pop("their_board", None)


def warnings(trained: Trained) -> list[str]:
    return [event["text"] for event in trained.events if event["event"] == "warning"]


def test_a_tracker_is_told_what_the_run_logs(board: Any, tmp_path: Path) -> None:
    job = small(trackers=["tensorboard", {"use": "their_board:Board", "colour": "red"}])
    trained = train(job, tmp_path / "run")
    assert board.told[0] == ("begin", "run", 0, "red", "small") and board.told[-1] == ("finish", True)
    logged = [json.loads(line) for line in (tmp_path / "run" / "scalars.jsonl").read_text().splitlines()]
    told = [(one[2], one[1]) for one in board.told if one[0] == "scalars"]
    assert told == [(line["seen"], {k: v for k, v in line.items() if k not in ("seen", "time")}) for line in logged]
    shown = [(one[1], one[3]) for one in board.told if one[0] == "samples"]
    assert shown[0] == ("real", 0) and ("samples", 0) in shown and ("samples", 48) in shown
    assert all(one[2] is not None for one in board.told if one[0] == "samples") and warnings(trained) == []


def test_a_resumed_run_goes_on_under_its_id(board: Any, tmp_path: Path) -> None:
    job = small(trackers=["their_board:Board"])
    train(job, tmp_path / "run", stopping=stop_at(3))
    assert board.told[-1] == ("finish", False)
    train(job, tmp_path / "run", attempt=2)
    begun = [one for one in board.told if one[0] == "begin"]
    assert [one[1:3] for one in begun] == [("run", 0), ("run", 24)] and board.told[-1] == ("finish", True)


def test_one_that_fails_is_told_once_and_changes_nothing(board: Any, tmp_path: Path) -> None:
    plain = train(small(), tmp_path / "plain")
    trackers = ["their_board:NeverThere", "their_board:Falls", "their_board:Board"]
    trained = train(small(trackers=trackers), tmp_path / "run")
    assert sorted(warnings(trained)) == [
        "tracker their_board:Falls failed, and the run goes on without it: RuntimeError: full",
        "tracker their_board:NeverThere failed, and the run goes on without it: ConnectionError: no server",
    ]
    assert_same_state(plain.newest, trained.newest)
    assert board.told[-1] == ("finish", True)


def test_one_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "WAITING", 2)
    begun, let_go, told, seen = threading.Event(), threading.Event(), [], []

    class Hangs:
        def scalars(self, values: dict[str, float], seen_at: int) -> None:
            begun.set()
            let_go.wait()
            seen.append(seen_at)

        def samples(self, name: str, shown: Any, seen_at: int) -> None: ...
        def finish(self, finished: bool) -> None: ...

    one = BackgroundTracker("slow", Hangs, told.append)
    one.call("scalars", {}, 0)
    assert begun.wait(600)
    for number in range(1, 6):
        one.call("scalars", {}, number)
    one.finish(True)
    one.wait(until=0.0)
    assert told == [
        "tracker slow: it cannot keep up; what it has no room for is left out",
        "tracker slow: it does not end; the run ends without it",
    ]
    let_go.set()
    one.wait(until=time.monotonic() + 600)
    assert seen[0] == 0 and len(seen) == 3  # what there was room for


def test_the_job_names_them(tmp_path: Path) -> None:
    base = small().model_dump(mode="json", by_alias=True, exclude_defaults=True)
    assert [one.use for one in load_job({**base, "trackers": ["tensorboard", "wandb"]}).trackers] == ["wandb"]
    with pytest.raises(ValueError, match=r"unknown tracker 'wanbd'; did you mean 'wandb'\? \(allowed: mlflow, wandb\)"):
        load_job({**base, "trackers": ["wanbd"]})
    with pytest.raises(ValueError, match=r"trackers\[0\].projct: .*did you mean 'project'"):
        load_job({**base, "trackers": [{"use": "wandb", "projct": "x"}]})
    with pytest.raises(ValueError, match=r"trackers\[0\].run"):
        load_job({**base, "trackers": [{"use": "wandb", "run": "x"}]})


def tracked(tmp_path: Path, **job: Any) -> TrackedRun:
    return TrackedRun("digits-1", str(tmp_path), str(tmp_path), {"name": "digits", "optimizer": {"lr": 1e-4}, **job}, 0)


def test_a_missing_package_names_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, make in (("wandb", Wandb), ("mlflow", Mlflow)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ValueError, match=rf"pip install 'gan-dist\[{name}\]'"):
            make(run=tracked(tmp_path))


def test_calls_of_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in: its own tests that it does with them what it says."""
    calls: list[tuple[str, Any]] = []

    class Run:
        def __getattr__(self, name: str) -> Any:
            return lambda *args, **named: calls.append((name, args or named))

    fake: Any = types.ModuleType("wandb")
    fake.init = lambda **named: calls.append(("init", named)) or Run()
    fake.Settings = lambda **named: named
    fake.Image = lambda picture, caption: (picture.size, caption)
    fake.Table = lambda columns, data: (columns, data)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    one = Wandb(run=tracked(tmp_path)._replace(id="a b/1"), mode="offline")
    one.scalars({"loss/D": 0.5}, 64)
    one.samples("samples", Image.new("L", (4, 4)), 64)
    one.samples("samples", ["a line"], 64)
    one.finish(False)
    begun = calls[0][1]
    assert (begun["id"], begun["name"], begun["resume"], begun["mode"]) == ("a-b-1", "a b/1", "allow", "offline")
    assert begun["dir"] == str(tmp_path) and begun["config"]["name"] == "digits"
    assert ("log", ({"seen": 64, "loss/D": 0.5},)) in calls and calls[-1] == ("finish", {"exit_code": 1})
    assert ("log", ({"seen": 64, "samples": ((4, 4), "64 samples seen")},)) in calls
    assert ("log", ({"seen": 64, "samples": (["sentence"], [["a line"]])},)) in calls


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real package writes its files, without a network."""
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    trained = train(small(trackers=[{"use": "wandb", "mode": "offline"}]), tmp_path / "run")
    assert warnings(trained) == []
    (kept,) = (tmp_path / "run" / "trackers" / "wandb").glob("offline-run-*")
    (log,) = kept.glob("run-*.wandb")
    until = time.monotonic() + 600  # a process of its own writes it, and finish does not wait for that
    while b"loss/D" not in (content := log.read_bytes()) and time.monotonic() < until:
        time.sleep(0.1)
    assert b"loss/D" in content and b"samples" in content and log.name == "run-run.wandb"
    assert list(kept.rglob("*.png"))


def test_calls_of_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in, whose calls have the parameters of the client's; the real one: test_mlflow_keeps_the_run."""
    calls: list[tuple[Any, ...]] = []

    class Client:
        def __init__(self, tracking_uri: str | None = None) -> None: ...

        def get_experiment_by_name(self, name: str) -> None: ...

        def create_experiment(self, name: str) -> str:
            return "7"

        def search_runs(self, experiment_ids: list[str], filter_string: str, max_results: int) -> list[Any]:
            return []

        def create_run(self, experiment_id: str, run_name: str, tags: dict[str, str]) -> Any:
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=f"{experiment_id}-{run_name}"))

        def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
            calls.append(("batch", run_id, [(one[0], one[1], one[3]) for one in metrics], dict(params)))

        def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
            calls.append(("text", run_id, json.loads(text)["name"], artifact_file))

        def log_image(self, run_id: str, image: Any, *, key: str, step: int) -> None:
            calls.append(("image", run_id, image.size, key, step))

        def log_table(self, run_id: str, data: dict[str, Any], artifact_file: str) -> None:
            calls.append(("table", run_id, data, artifact_file))

        def set_terminated(self, run_id: str, status: str) -> None:
            calls.append(("end", run_id, status))

    fake, entities = types.ModuleType("mlflow"), types.ModuleType("mlflow.entities")
    fake.MlflowClient = Client  # type: ignore[attr-defined]
    entities.Metric = entities.Param = lambda *values: values  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    one = Mlflow(run=tracked(tmp_path))
    one.scalars({"loss/D": 0.5}, 64)
    one.samples("samples", Image.new("L", (4, 4)), 64)
    one.samples("samples", ["a line", "another"], 64)
    one.finish(False)
    run = "7-digits-1"
    assert calls == [
        ("batch", run, [], {"name": "digits", "optimizer.lr": "0.0001"}),
        ("text", run, "digits", "job.json"),
        ("batch", run, [("loss/D", 0.5, 64)], {}),
        ("image", run, (4, 4), "samples", 64),
        ("table", run, {"seen": [64, 64], "sentence": ["a line", "another"]}, "samples.json"),
        ("end", run, "KILLED"),
    ]


def test_mlflow_keeps_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client, with a folder, or the server that GAN_DIST_MLFLOW names."""
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = os.environ.get("GAN_DIST_MLFLOW", f"file://{tmp_path}/mlruns")
    job = small(trackers=[{"use": "mlflow", "uri": uri, "experiment": "tests"}])
    name = f"run-{tmp_path.name}"
    first = train(job, tmp_path / name, stopping=stop_at(3))
    second = train(job, tmp_path / name, attempt=2)
    assert warnings(first) == warnings(second) == []
    client = mlflow.MlflowClient(tracking_uri=uri)
    number = client.get_experiment_by_name("tests").experiment_id
    (kept,) = client.search_runs([number], filter_string=f"tags.`{TAG}` = '{name}'")
    assert kept.info.status == "FINISHED" and kept.data.params["generator.use"] == "mlp"
    logged = [json.loads(line) for line in (tmp_path / name / "scalars.jsonl").read_text().splitlines()]
    history = {one.step: one.value for one in client.get_metric_history(kept.info.run_id, "loss/D")}
    wanted = {line["seen"]: line["loss/D"] for line in logged if "loss/D" in line}
    assert history.keys() == wanted.keys() and all(history[at] == pytest.approx(wanted[at]) for at in wanted)
    files = {one.path for one in client.list_artifacts(kept.info.run_id)}
    assert {"job.json", "images"} <= files
    pictures = [one.path for one in client.list_artifacts(kept.info.run_id, "images")]
    steps = {(found[1], int(found[2])) for one in pictures if (found := re.match(r"images/(\w+).step.(\d+).", one))}
    assert {("samples", 0), ("samples", 48), ("real", 0)} <= steps, "by which its page has a slider of them"
