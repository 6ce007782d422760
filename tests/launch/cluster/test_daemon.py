"""What the keeper of a local Ray notices, and what it waits for. No Ray runs here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from gan_dist.launch.cluster import daemon, local
from gan_dist.launch.cluster.jobs_api import DRIVER, GRACE_VARIABLE
from gan_dist.launch.cluster.local import Cluster, LocalClusterState, start_local, why_ended, write_private

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
# A driver by its command line, which saves for a second when it is asked to end.
DRIVER_PROGRAM = """
import signal, sys, time
def save(*_):
    time.sleep(1)
    open(sys.argv[1], "w").close()
    sys.exit(3)
signal.signal(signal.SIGTERM, save)
print(flush=True)
time.sleep(600)
"""


@pytest.fixture
def state() -> LocalClusterState:
    found = LocalClusterState.here()
    found.prepare()
    return found


@pytest.fixture
def process() -> Iterator[psutil.Process]:
    child = subprocess.Popen(SLEEP)
    yield psutil.Process(child.pid)
    child.kill()
    child.wait()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_ended_is_noticed_by_its_name(process: psutil.Process, end: signal.Signals) -> None:
    parts = {process: "raylet", psutil.Process(): "dashboard"}
    assert daemon.find_lost(parts) is None
    process.send_signal(end)
    deadline = time.monotonic() + 120
    while daemon.find_lost(parts) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert daemon.find_lost(parts) == "raylet"


def test_a_frozen_process_is_not_lost(process: psutil.Process) -> None:
    process.suspend()
    assert daemon.find_lost({process: "raylet"}) is None


def test_drivers_have_the_time_that_their_jobs_gave_them(state: LocalClusterState, tmp_path: object) -> None:
    saved = f"{tmp_path}/saved"
    command = [sys.executable, "-c", DRIVER_PROGRAM, saved, DRIVER]
    driver = subprocess.Popen(command, env={**os.environ, GRACE_VARIABLE: "40"}, stdout=subprocess.PIPE)
    assert driver.stdout is not None
    driver.stdout.readline()
    cluster = Cluster("http://127.0.0.1:1", local=True)
    write_private(state.record, json.dumps({"address": cluster.address}))
    began = time.time()
    daemon._end_jobs(state, cluster, "it lost its raylet")
    driver.wait()
    assert os.path.exists(saved)
    assert not state.record.exists() and why_ended(cluster) == "it lost its raylet"
    told = json.loads(state.ended.read_text())
    assert local._jobs_end_by(state, os.getpid()) == told["jobs_end_by"] + local.STOP_S > began + 60
    assert local._jobs_end_by(state, os.getpid() + 1) == 0.0


def test_a_start_waits_for_the_end_of_the_one_before(state: LocalClusterState, monkeypatch: pytest.MonkeyPatch) -> None:
    over, spawned = threading.Event(), list[object]()
    threading.Timer(0.5, over.set).start()
    monkeypatch.setattr(LocalClusterState, "owner", lambda self: None if over.is_set() else {"pid": 1})

    def spawn(*given: object) -> subprocess.Popen[bytes]:
        assert over.is_set()
        spawned.append(given)
        return subprocess.Popen(["false"])

    monkeypatch.setattr(local, "_spawn", spawn)
    with pytest.raises(local.ClusterError, match="did not start"):
        start_local()
    assert len(spawned) == 1
