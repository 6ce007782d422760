"""Runs: their ids, how they are found again, and that each has one writer."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from gan_dist.errors import NoSuchRun, StorageError
from gan_dist.execution import smoke
from gan_dist.runs.index import (
    find_run,
    forget_run,
    known_runs,
    new_run_id,
    remember_refusal,
    remember_run,
    storage_root,
    stored_runs,
)
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder


def make(root: Path, name: str, **facts: Any) -> RunFolder:
    run = RunFolder(Folder.at(root / name))
    run.folder.write_json("request.json", {"run_id": name, "created": time.time(), "mode": "train", **facts})
    return run


def test_ids_say_what_and_when_and_differ() -> None:
    ids = {new_run_id("dcgan-digits") for _ in range(5)}
    assert len(ids) == 5
    assert all(re.fullmatch(r"dcgan-digits-\d{8}-\d{6}-[2-9a-hjkmnp-z]{4}", one) for one in ids)


def test_storage_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage_root(None, None).local == tmp_path / "runs"
    assert storage_root(None, "/of/job").uri == "/of/job"
    monkeypatch.setenv("GAN_DIST_STORAGE", "/of/environment")
    assert storage_root(None, "/of/job").uri == "/of/environment"
    assert storage_root("/of/option", "/of/job").uri == "/of/option"


def test_the_beginning_of_a_sweep_and_its_trials_is_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("search-1-aaaa", "search-1-aaaa-t000", "search-1-aaaa-t001s1"):
        make(tmp_path / "runs", name)
    assert find_run("search").id == "search-1-aaaa"
    assert find_run("search-1-aaaa-t001").id == "search-1-aaaa-t001s1"


def test_a_run_is_found_by_id_beginning_last_folder_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("mlp-1-aaaa", "mlp-2-bbbb", "dcgan-1-cccc")):
        remember_run(make(tmp_path / "elsewhere", name), created=number)
    assert find_run("mlp-1-aaaa").id == "mlp-1-aaaa"
    assert find_run("mlp-2").id == "mlp-2-bbbb"
    assert find_run("last").id == "dcgan-1-cccc"
    assert find_run(str(tmp_path / "elsewhere" / "mlp-1-aaaa")).id == "mlp-1-aaaa"
    assert find_run("elsewhere/mlp-1-aaaa").uri == str(tmp_path / "elsewhere" / "mlp-1-aaaa")


def test_an_exact_id_wins_over_a_longer_one(tmp_path: Path) -> None:
    for name in ("mlp-1", "mlp-10"):
        remember_run(make(tmp_path, name))
    assert find_run("mlp-1").id == "mlp-1"


def test_runs_that_only_the_storage_knows(tmp_path: Path) -> None:
    make(tmp_path, "copied-here")
    (tmp_path / "no-run").mkdir()
    storage = Folder.at(tmp_path)
    assert [run.id for run in stored_runs(storage)] == ["copied-here"]
    assert find_run("cop", storage).id == "copied-here"


def test_last_is_the_newest_wherever_it_is_known_from(tmp_path: Path) -> None:
    make(tmp_path, "old-20200101-000000-aaaa", created=1.0)
    remember_run(make(tmp_path, "new-20261101-000000-bbbb"))
    assert find_run("last", Folder.at(tmp_path)).id == "new-20261101-000000-bbbb"
    make(tmp_path, "newer", created=time.time() + 60)
    assert find_run("last", Folder.at(tmp_path)).id == "newer"


def test_last_is_no_rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    remember_run(RunFolder(Folder.at(tmp_path / "elsewhere" / "one")), created=1, mode="smoke")
    with pytest.raises(NoSuchRun, match=r"^no run yet but rehearsals and trials"):
        find_run("last")
    remember_run(make(tmp_path / "elsewhere", "two"), created=2)
    remember_run(RunFolder(Folder.at(tmp_path / "elsewhere" / "three")), created=3, mode="smoke")
    remember_run(make(tmp_path / "elsewhere", "four", mode="smoke"), created=4)
    make(tmp_path / "runs", "five", created=5, mode="smoke")
    assert find_run("last").id == "two" and find_run("four").id == "four"


def test_what_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoSuchRun, match=r"^no run 'last'; `gan-dist list` shows what there is$"):
        find_run("last")
    for name in ("dcgan-digits-1", "dcgan-digits-2"):
        remember_run(make(tmp_path / "elsewhere", name))
    with pytest.raises(NoSuchRun, match=r"^no run 'dcgan-digit5-1'; did you mean 'dcgan-digits-1'\?; `gan-dist list`"):
        find_run("dcgan-digit5-1")
    with pytest.raises(NoSuchRun, match=r"^'dcgan' is the beginning of 2 runs: dcgan-digits-1, dcgan-digits-2$"):
        find_run("dcgan")
    with pytest.raises(NoSuchRun, match=r"no run is stored here \(request.json is missing\)$"):
        find_run(str(tmp_path))
    (tmp_path / "request.json").write_text("{")
    with pytest.raises(StorageError, match=r"request.json is damaged: it holds no JSON$"):
        RunFolder(Folder.at(tmp_path)).request()


def test_the_index_remembers_and_forgets(tmp_path: Path) -> None:
    run = make(tmp_path, "a")
    remember_run(run, address="http://head:8265")
    remember_run(run, attempt=2)
    (row,) = known_runs()
    assert (row["id"], row["uri"], row["address"], row["attempt"]) == ("a", run.uri, "http://head:8265", 2)
    forget_run(run)
    assert known_runs() == []


def test_who_asks_for_a_refused_run_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    old, new = (RunFolder(Folder.at(tmp_path / name)) for name in ("old", "new"))
    remember_refusal(old, "long ago")
    remember_run(old, created=time.time() - 8 * 86400, refused="long ago")
    remember_refusal(new, "data.source: no such file")
    assert known_runs() == []
    with pytest.raises(
        NoSuchRun, match=r"^run new was refused before anything of it was made: data\.source: no such f"
    ):
        find_run("new")
    with pytest.raises(NoSuchRun, match=r"^no run 'old'"):
        find_run("old")
    remember_run(new)
    assert [row["id"] for row in known_runs()] == ["new"]


def test_a_damaged_index_entry_hides_only_itself(tmp_path: Path) -> None:
    remember_run(make(tmp_path, "a"))
    remember_run(make(tmp_path, "b"))
    (Path(os.environ["GAN_DIST_HOME"]) / "runs" / "a.json").write_text('{"uri": "/')
    assert [row["id"] for row in known_runs()] == ["b"]


def test_status_keeps_what_is_not_changed(tmp_path: Path) -> None:
    run = make(tmp_path, "a")
    assert run.status()["status"] == "pending"
    run.update(status="running", seen=10)
    run.update(seen=20)
    assert (run.status()["status"], run.status()["seen"]) == ("running", 20)
    assert run.size() == sum(path.stat().st_size for path in (tmp_path / "a").rglob("*") if path.is_file())


def test_a_rehearsal_times_each_stage_by_its_own_rate() -> None:
    rates = [(64, 10.0), (128, 100.0), (192, 4.0), (256, 5.0), (320, 5.0), (384, 5.0)]
    reports = [{"seen": seen, "speed/step_samples_per_s": rate} for seen, rate in rates]
    assert smoke._training_s([1000, 50], reports, batch=64) == 1000 / 100 + 50 / 5


def test_runs_may_be_stored_where_the_index_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path))
    run = RunFolder(Folder.at(tmp_path / "runs").child("one-20260101-000000-aaaa"))
    run.folder.write_json("request.json", {})
    run.prepared().write("manifest.json", b"{}")
    remember_run(run)
    assert [row["id"] for row in known_runs()] == [run.id]
