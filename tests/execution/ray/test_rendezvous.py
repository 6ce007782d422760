"""The folder by which workers of one machine find each other: nothing of it stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("ray.train")

from gan_dist.errors import ProcessLost
from gan_dist.execution.ray import worker_group
from gan_dist.execution.ray.worker_group import (
    FORGOTTEN_S,
    INTERFACES,
    RENDEZVOUS,
    ProcessGroup,
    free_address,
    interface_of,
    rendezvous_folder,
)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_a_group_that_ends_leaves_no_folder(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[str] = []

    def start(group: Any, call: Any, *rest: Any) -> list[str]:
        joined.extend(rest[:1])
        return ["here"]

    monkeypatch.setattr(worker_group, "start_on_each_worker", start)
    monkeypatch.setattr("ray.get", lambda found: found)
    monkeypatch.setattr(worker_group, "start_on_all_workers", lambda group, call: None)
    monkeypatch.setattr(worker_group, "workers_have_gpus", lambda group: False)
    monkeypatch.setattr(worker_group, "node_id", lambda rank, world: "here")
    backend, config = ProcessGroup().backend_cls(), ProcessGroup()
    backend.on_start(None, config)
    assert Path(joined[0].removeprefix("file://")).parent.is_dir()
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


def test_the_interface_is_that_of_an_address() -> None:
    found = interface_of("127.0.0.1")
    assert found is not None and found in psutil.net_if_addrs()
    assert interface_of("192.0.2.1") is None, "an address that is set aside for documents"


def test_a_start_that_fails_names_the_interface_and_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in INTERFACES.values():
        monkeypatch.setenv(variable, "nowhere0")
    monkeypatch.setattr(worker_group, "node_address", lambda: "127.0.0.1")
    with pytest.raises(ProcessLost, match=r"(?s)worker 0 of 1 .*GLOO_SOCKET_IFNAME=nowhere0; set GLOO_SOCKET_IFNAME"):
        worker_group._join(0, 1, f"tcp://{free_address(0, 1)}", "gloo", 5)
