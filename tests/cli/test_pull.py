"""Runs are copied from other storages to here, and only what is missing or differs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gan_dist.cli import INTERRUPTED
from gan_dist.errors import StorageError
from gan_dist.runs import pull
from gan_dist.runs.pull import plan_pull
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder

WEIGHTS = bytes(range(256)) * 18_000  # more than one piece
Call = Callable[..., tuple[int, str]]


def make_run(storage: str, name: str) -> RunFolder:
    run = RunFolder(Folder.at(f"{storage}/{name}"))
    run.folder.write_json("request.json", {"run_id": name, "job": {}, "created": 1.0})
    run.update(status="succeeded", seen=64, attempt=1)
    run.folder.write("logs/attempt-1.log", b"a line\n")
    run.folder.write("lease/000001.json", b"{}")
    run.folder.write("checkpoints/64-a1/generator.safetensors", WEIGHTS)
    checksums = {"generator.safetensors": hashlib.sha256(WEIGHTS).hexdigest()}
    run.folder.write_json("checkpoints/64-a1/meta.json", {"checksums": checksums})
    return run


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def planned(run: RunFolder, target: Path) -> list[str]:
    return [entry.name for entry in plan_pull(run, target).files]


@pytest.fixture(params=["disk", "bucket"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolder:
    """A stored run, on a disk and on an S3 server."""
    storage = str(tmp_path / "far") if request.param == "disk" else request.getfixturevalue("bucket")
    return make_run(storage, f"faces-{request.param}")


def test_a_run_is_copied_whole_and_then_what_changed(run: RunFolder, gan_dist: Call, tmp_path: Path) -> None:
    code, told = gan_dist("pull", run.uri)
    assert code == 0 and "5 files to copy" in told, told
    target = tmp_path / "runs" / run.id
    expected = {name: run.folder.read(name) for name, _ in run.folder.files() if not name.startswith("lease/")}
    assert files_of(target) == expected
    assert planned(run, target) == []

    run.folder.write("logs/attempt-1.log", b"a line\nand another\n")
    code, told = gan_dist("pull", run.uri, "--json")
    assert code == 0 and json.loads(told[: told.index("}") + 1]) == {
        "run": run.id,
        "folder": str(target),
        "files": 1,
        "bytes": 19,
        "kept": 4,
    }
    assert (target / "logs/attempt-1.log").read_bytes() == b"a line\nand another\n"


def test_a_damaged_file_of_a_checkpoint_is_copied_again(run: RunFolder, gan_dist: Call, tmp_path: Path) -> None:
    gan_dist("pull", run.uri, "copy")
    weights = tmp_path / "copy/checkpoints/64-a1/generator.safetensors"
    before = weights.stat()
    weights.write_bytes(b"x" + WEIGHTS[1:])
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert planned(run, tmp_path / "copy") == ["checkpoints/64-a1/generator.safetensors"]
    gan_dist("pull", run.uri, "copy")
    assert weights.read_bytes() == WEIGHTS


def test_what_is_damaged_at_its_source_is_told_and_not_kept(run: RunFolder, gan_dist: Call, tmp_path: Path) -> None:
    run.folder.write("checkpoints/64-a1/generator.safetensors", b"x" + WEIGHTS[1:])
    code, told = gan_dist("pull", run.uri, "copy")
    assert code == 2 and "the checksum of checkpoints/64-a1/generator.safetensors is not the one" in told
    assert set(files_of(tmp_path / "copy")) == {"request.json", "status.json", "logs/attempt-1.log"}
    run.folder.write("checkpoints/64-a1/generator.safetensors", WEIGHTS)
    assert gan_dist("pull", run.uri, "copy")[0] == 0
    assert (tmp_path / "copy/checkpoints/64-a1/meta.json").exists()


def test_it_goes_on_after_an_interrupt(
    run: RunFolder, gan_dist: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pull.pull

    def interrupted(plan: pull.PullPlan, progress: pull.Progress) -> None:
        def count(received: int) -> None:
            if received == pull.CHUNK:  # in the midst of the weights
                raise KeyboardInterrupt

        whole(plan, count)

    with monkeypatch.context() as patch:
        patch.setattr("gan_dist.runs.pull.pull", interrupted)
        code, told = gan_dist("pull", run.uri, "copy")
    assert code == INTERRUPTED and "the same command goes on" in told
    there = set(files_of(tmp_path / "copy"))
    assert "request.json" in there and not any("checkpoints" in name for name in there)
    assert (
        set(planned(run, tmp_path / "copy"))
        == {
            *(
                "checkpoints/64-a1/generator.safetensors",
                "checkpoints/64-a1/meta.json",
                "logs/attempt-1.log",
                "status.json",
            )
        }
        - there
    )
    assert gan_dist("pull", run.uri, "copy")[0] == 0
    assert planned(run, tmp_path / "copy") == []


def test_a_sweep_comes_with_its_trials(gan_dist: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, trial = (make_run(str(tmp_path / "far"), name) for name in ("s", "s-t000"))
    monkeypatch.setattr("gan_dist.sweeps.results.trials_of", lambda run: [trial])
    assert gan_dist("pull", sweep.uri, "copies/best")[0] == 0
    for run, name in ((sweep, "best"), (trial, "best-t000")):
        assert planned(run, tmp_path / "copies" / name) == []


def test_what_is_no_copy_of_it_is_left_alone_without_force(run: RunFolder, gan_dist: Call, tmp_path: Path) -> None:
    make_run(str(tmp_path), "other").folder.write("checkpoints/128-a1/meta.json", b"{}")
    (tmp_path / "other/notes.txt").write_text("mine")
    code, told = gan_dist("pull", run.uri, "other")
    assert code == 2 and "holds another run, other; choose another folder, or --force" in told
    assert gan_dist("pull", run.uri, "other", "--force")[0] == 0
    assert planned(run, tmp_path / "other") == []
    assert (tmp_path / "other/notes.txt").read_text() == "mine"
    assert not (tmp_path / "other/checkpoints/128-a1").exists()

    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    code, told = gan_dist("pull", run.uri, "full")
    assert code == 2 and "is not empty" in told


def test_a_run_is_not_copied_onto_itself(gan_dist: Call, tmp_path: Path) -> None:
    make_run(str(tmp_path / "runs"), "here")
    code, told = gan_dist("pull", "here")
    assert code == 2 and "name another folder" in told


def test_what_a_run_deletes_meanwhile_is_left_out(run: RunFolder, tmp_path: Path) -> None:
    plan = plan_pull(run, tmp_path / "copy")
    run.folder.delete("checkpoints")
    pull.pull(plan)
    assert set(files_of(tmp_path / "copy")) == {"request.json", "status.json", "logs/attempt-1.log"}


def test_a_storage_that_fails_is_named(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def read(self, count: int) -> bytes:
            raise OSError("gone")

        def close(self) -> None:
            pass

    plan = plan_pull(run, tmp_path / "copy")
    monkeypatch.setattr(Folder, "stream", lambda folder, name: Broken())
    with pytest.raises(StorageError, match=f"{run.uri}.* cannot be read: gone"):
        pull.pull(plan)
    assert files_of(tmp_path / "copy") == {}


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gan_dist.runs.storage import Entry

    run = make_run(str(tmp_path / "far"), "faces")
    names: list[Any] = [Entry("request.json", 1, 1), Entry("../out", 1, 1)]
    monkeypatch.setattr(Folder, "entries", lambda folder: iter(names))
    with pytest.raises(StorageError, match=r"'\.\./out' is no name of a file inside a folder"):
        plan_pull(run, tmp_path / "copy")
