"""Runs on a storage that is no path of this machine: a real S3 server on the loopback device."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import gan_dist
from gan_dist.cli import main
from gan_dist.errors import StorageError, StorageUnreachable
from gan_dist.evaluation.reports.tensorboard import EventFileCopy, copy_event_files
from gan_dist.execution.attempt import Attempt
from gan_dist.launch.load_job import load_job
from gan_dist.runs import mirror as mirrors
from gan_dist.runs.checkpoint import stored
from gan_dist.runs.index import find_run
from gan_dist.runs.mirror import Mirror
from gan_dist.runs.request import RunRequest
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.sweeps.local import run_here
from gan_dist.sweeps.report import draw_pictures
from gan_dist.sweeps.results import StoredSweep, best_job, results_of_sweep, trials_of
from gan_dist.training.run_logger import RunLogger
from tests.helpers import SMALL, assert_same_state, kill_at, small, train

JOB = """
name: small
data: {source: digits, size: 8}
generator: {use: mlp, hidden: 8, layers: 1, z: 4}
discriminator: {use: mlp, hidden: 8, layers: 1}
objective: non_saturating
ema: {half_life: 100}
batch: 8
until: 6 steps
every: {report: 1 steps, grid: 3 steps, checkpoint: 2 steps}
"""


def curves(run: RunFolder) -> list[dict[str, Any]]:
    """Every logged number that does not tell the time."""
    lines = map(json.loads, run.folder.read("scalars.jsonl").splitlines())
    return [{k: v for k, v in line.items() if not k.startswith(("time", "speed", "memory"))} for line in lines]


def never(text: str) -> None:
    raise AssertionError(text)


@pytest.mark.slow
def test_a_run_on_s3_is_the_run_on_a_disk(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    here, there = (
        gan_dist.train(tmp_path / "job.yaml", storage=at).folder for at in (str(tmp_path / "runs"), f"{bucket}/runs")
    )
    assert there.status()["status"] == "succeeded" and there.lease_holder() is None
    assert_same_state(stored(here.checkpoints())[-1], stored(there.checkpoints())[-1])
    assert curves(here) == curves(there)
    names = {name for name, _ in there.folder.files()} - {"ray"}
    assert {name for name, _ in here.folder.files()} >= {n for n in names if "events." not in n}
    assert b"succeeded" not in there.folder.read("request.json")
    assert len([name for name in names if name.startswith("grids/")]) == len(here.grids()) + 1
    assert gan_dist.load(there.uri).sample(3).equal(gan_dist.load(here.uri).sample(3))
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "another"))
    assert find_run(there.id, Folder.at(f"{bucket}/runs")).uri == there.uri
    assert load_job(f"{there.uri}/job.json").name == "small"


@pytest.mark.slow
def test_a_killed_run_goes_on_with_its_curves(bucket: str) -> None:
    spec, root = small(until="7 steps"), f"{bucket}/killed"
    whole = train(spec, f"{bucket}/whole").run
    assert train(spec, root, kill_at(6)).result["ending"] == "killed"
    # Of what came after the checkpoint of step 4 nothing had to be there.
    assert [line["seen"] for line in curves(RunFolder(Folder(root)))][:4] == [8, 16, 24, 32]
    again = train(spec, root, attempt=2).run
    assert curves(again) == curves(whole)
    assert_same_state(stored(again.checkpoints())[-1], stored(whole.checkpoints())[-1])


def test_a_run_that_fails_leaves_its_last_numbers(bucket: str) -> None:
    asked = iter([False] * 5)
    spec = small(until="7 steps", every={"report": "1 steps", "checkpoint": "9 steps"})
    with pytest.raises(StopIteration):
        train(spec, f"{bucket}/failed", lambda: next(asked))
    assert [line["seen"] for line in curves(RunFolder(Folder(f"{bucket}/failed")))][:4] == [8, 16, 24, 32]


def test_a_storage_that_is_away_for_a_moment_ends_no_training(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    attempt = Attempt(RunRequest("away", f"{bucket}/away", small().model_dump_json(by_alias=True)), told.append)

    def away(*_: object) -> None:
        raise StorageError("storage is away")

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", away)
        attempt.on_event({"event": "progress", "seen": 8, "until": 56})
    assert [one["event"] for one in told] == ["warning", "progress"] and "storage is away" in told[0]["text"]
    attempt.on_event({"event": "progress", "seen": 16, "until": 56})
    assert attempt.folder.status()["seen"] == 16


@pytest.mark.slow
def test_what_is_not_reached_is_named(bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    folder = Folder("s3://elsewhere/runs")
    with pytest.raises(StorageUnreachable, match=r"storage 's3://elsewhere/runs' cannot be read: .*onnect"):
        folder.read_json("status.json")
    monkeypatch.setattr("sys.argv", ["gan-dist", "list", "--storage", "s3://elsewhere/runs"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "error: storage 's3://elsewhere/runs'" in capsys.readouterr().err


def test_of_many_who_take_a_run_one_gets_it(bucket: str) -> None:
    folder, got = Folder(f"{bucket}/contended"), []
    threads = [
        threading.Thread(target=lambda n=n: got.append(folder.create("lease.json", str(n).encode()))) for n in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 4 + [True]
    assert folder.create("lease.json", b"late") is False


def test_a_mirror_copies_what_changed_and_goes_on_where_it_stood(bucket: str) -> None:
    folder = Folder(f"{bucket}/mirror")
    mirror = Mirror(folder, never)
    path = mirror.pull("logs/a.log")
    assert not path.exists()
    path.write_text("one\n")
    mirror.push(least_s=60)
    assert not folder.exists("logs/a.log"), "too early"
    mirror.push()
    assert folder.read("logs/a.log") == b"one\n"
    mirror.close()
    assert not mirror.here.exists()
    later = Mirror(folder, never)
    path = later.pull("logs/a.log")
    with path.open("a") as log:
        log.write("two\n")
    later.close()
    assert folder.read("logs/a.log") == b"one\ntwo\n"


def test_what_a_mirror_could_not_copy_is_said_and_tried_again(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, told = Folder(f"{bucket}/shaky"), []
    mirror = Mirror(folder, told.append)
    mirror.pull("a").write_text("a")

    def full(self: Folder, name: str, content: bytes) -> None:
        raise StorageError("full")

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", full)
        mirror.push()
    assert told == ["full"]
    mirror.close()
    assert told == ["full"] and folder.read("a") == b"a"


def test_a_mirror_of_a_path_is_the_path(tmp_path: Path) -> None:
    mirror = Mirror(Folder.at(tmp_path), never)
    mirror.pull("logs/a").write_text("a")
    mirror.close()
    assert (tmp_path / "logs" / "a").read_text() == "a"


@pytest.mark.slow
def test_long_event_files_are_begun_anew(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_dist.training.run_logger.LONG_BYTES", 600)
    monkeypatch.setattr("gan_dist.training.run_logger.PUSH_S", 0.0)
    folder = Folder(f"{bucket}/long")
    sent: list[str] = []
    write = Folder.write
    monkeypatch.setattr(Folder, "write", lambda self, name, content: (sent.append(name), write(self, name, content)))
    journal = RunLogger(folder, 0, never)
    for seen in range(25):
        journal.scalars({"loss/G": float(seen)}, seen)
    journal.close()
    events = [name for name in folder.child("tensorboard").names() if "events." in name]
    assert len(events) > 1
    assert max(size for _, size in folder.child("tensorboard").files()) < 2000
    sizes: dict[Path, int] = {}
    copy_event_files(folder.child("tensorboard"), tmp_path, sizes)
    assert read_scalars(tmp_path) == [(seen, float(seen)) for seen in range(25)]
    before = dict(sizes)
    copy_event_files(folder.child("tensorboard"), tmp_path, sizes)
    assert sizes == before and len(sent) > 25


def read_scalars(folder: Path) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return [(event.step, event.value) for event in found.Scalars("loss/G")]


def test_pushing_waits(monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    clock = iter([0.0, 10.0, 25.0, 25.0])
    monkeypatch.setattr(mirrors.time, "monotonic", lambda: next(clock))
    folder = Folder(f"{bucket}/clock")
    mirror = Mirror(folder, never)
    (mirror.here / "a").write_text("a")
    mirror.push(20.0)
    assert not folder.exists("a")
    mirror.push(20.0)
    assert folder.exists("a") and os.path.exists(mirror.here)


@pytest.mark.slow
def test_a_sweep_on_s3_is_the_sweep_on_a_disk(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record, its trials, what is told of it, and TensorBoard's copy of all trials."""
    monkeypatch.setattr("gan_dist.runs.storage.SETTLE_S", 0.05)  # nobody else writes here
    here, there = (swept(f"{at}/s") for at in (str(tmp_path), f"{bucket}/sweeps"))
    assert outcomes(here) == outcomes(there)
    found, other = results_of_sweep(here), results_of_sweep(there)
    assert [row["each"] for row in found["trials"]] == [row["each"] for row in other["trials"]]
    assert best_job(here)[0] == best_job(there)[0]
    assert set(draw_pictures(StoredSweep(there))) == set(draw_pictures(StoredSweep(here))) > {"grids", "curves"}
    assert all(b'"event": "end"' in one.folder.read("logs/attempt-1.log") for one in trials_of(there))
    trials = {one.id: one.folder.child("tensorboard") for one in trials_of(there)}
    EventFileCopy(there.folder.child("tensorboard"), tmp_path / "board", lambda: trials).renew()
    assert {path.name for path in (tmp_path / "board").iterdir()} >= set(trials)
    assert all(list((tmp_path / "board" / name).glob("events.*")) for name in trials)


def swept(uri: str) -> RunFolder:
    section = {"metric": "loss/D", "space": {"optimizer.lr": {"choice": [1e-4, 1e-3, 1e-2]}}, "trials": 3}
    request = RunRequest("s", uri, JobSpec.model_validate({**SMALL, "sweep": section}).model_dump_json(by_alias=True))
    assert run_here(request, lambda event: None) == 0
    return RunFolder(Folder(uri))


def outcomes(run: RunFolder) -> list[tuple[Any, ...]]:
    history = StoredSweep(run).history
    return [(key, history.legs[key].values, one.state, one.seen, one.values) for key, one in history.results.items()]


@pytest.mark.slow
def test_a_sweep_on_s3_goes_on_from_its_record(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_dist.runs.storage.SETTLE_S", 0.05)  # nobody else writes here
    run = swept(f"{bucket}/resumed/s")
    lines = run.folder.read("trials.jsonl").splitlines(keepends=True)
    whole, first = outcomes(run), next(n for n, line in enumerate(lines) if b'"result"' in line)
    run.folder.write("trials.jsonl", b"".join(lines[: first + 2]) + lines[first + 2][:9])
    request = RunRequest("s", run.uri, json.dumps(run.request()["job"]), resume=True, attempt=2)
    assert run_here(request, lambda event: None) == 0
    assert outcomes(run) == whole
