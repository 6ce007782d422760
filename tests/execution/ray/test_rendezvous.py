"""The folder by which workers of one machine find each other: nothing of it stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("ray.train")

from gan_dist.execution.ray import worker_group
from gan_dist.execution.ray.worker_group import FORGOTTEN_S, RENDEZVOUS, OneMachine, rendezvous_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_group_that_ends_leaves_no_folder(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[str] = []
    monkeypatch.setattr(
        worker_group, "start_on_each_worker", lambda group, call, path, *rest: joined.append(path) or []
    )
    monkeypatch.setattr(worker_group, "start_on_all_workers", lambda group, call: None)
    backend, config = OneMachine().backend_cls(), OneMachine(backend="gloo")
    backend.on_start(None, config)
    assert Path(joined[0]).parent.is_dir()
    backend.on_shutdown(None, config)
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_removed_once_it_is_old(temporary: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    old, young, living = (temporary / f"{RENDEZVOUS}{pid}-{end}" for pid, end in
                          ((killed.pid, "a"), (killed.pid, "b"), (os.getpid(), "c")))  # fmt: skip
    for folder in (old, young, living):
        folder.mkdir()
    for folder in (old, living):
        os.utime(folder, (0, os.stat(folder).st_mtime - 2 * FORGOTTEN_S))
    fresh = rendezvous_folder()
    assert sorted(temporary.iterdir()) == sorted([young, living, fresh])
