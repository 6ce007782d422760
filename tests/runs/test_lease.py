"""A run has one writer, on a disk and on an object store, and one that was displaced writes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gan_dist.errors import LeaseLost, StorageError
from gan_dist.execution import attempt as attempts
from gan_dist.execution.attempt import Attempt
from gan_dist.runs import lease as leases
from gan_dist.runs import storage
from gan_dist.runs.lease import LEASE_S, Lease, holder_of, take
from gan_dist.runs.storage import Folder
from tests.helpers import ROOT, request_of, small

# Takes each of the runs that its lines name as soon as the line is written, and says which it got.
RACER = """
import sys
from gan_dist.errors import UsageError
from gan_dist.runs.lease import take
from gan_dist.runs.storage import Folder
Folder(sys.argv[1]).exists("warm")
print("ready", flush=True)
for line in sys.stdin:
    try:
        take(Folder(line.strip()), 1)
        print("won", flush=True)
    except UsageError as error:
        assert "another driver took it at the same moment" in str(error) or "is being written" in str(error), error
        print("lost", flush=True)
"""


@pytest.fixture
def run(tmp_path: Path) -> Folder:
    return Folder.at(tmp_path / "a")


def changed(run: Folder, number: int = 1, **changes: Any) -> None:
    """Change what a lease says of its holder."""
    name = f"lease/{number:06}.json"
    record = run.read_json(name)
    assert record is not None
    run.write_json(name, {**record, **changes})


def test_a_run_has_one_writer(run: Folder) -> None:
    first = take(run, 1)
    with pytest.raises(
        ValueError, match=r"^run a is being written by attempt 1 on .* \(pid \d+\); stop it first: gan-dist stop a$"
    ):
        take(run, 2)
    first.release()
    assert holder_of(run) is None
    second = take(run, 2)
    holder = holder_of(run)
    assert holder is not None and holder["attempt"] == 2 and second.number == 2
    assert run.child("lease").names() == ["000002.json"], "of the first nothing is left"


def test_the_lease_of_a_dead_process_is_free_at_once(run: Folder) -> None:
    code = "import sys; from gan_dist.runs.lease import *; take(Folder.at(sys.argv[1]), 1)"
    began = time.time()
    subprocess.run([sys.executable, "-c", code, run.uri], check=True, cwd=ROOT)
    assert (run.read_json("lease/000001.json") or {})["time"] >= began, "it had one"
    assert holder_of(run) is None and take(run, 2).number == 2


def test_a_recycled_pid_is_not_taken_for_the_old_process(run: Folder) -> None:
    take(run, 1)
    changed(run, born="12345.00")
    assert holder_of(run) is None


@pytest.mark.parametrize(("age", "held"), [(0, True), (LEASE_S / 2, True), (LEASE_S + 5, False)])
def test_on_another_machine_the_heartbeat_decides(
    run: Folder, age: float, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(run, 1)
    now = time.time()
    monkeypatch.setattr(leases.time, "time", lambda: now)
    changed(run, host="elsewhere", boot="another", pid=1, born=None, time=now - age)
    assert (holder_of(run) is not None) == held


@pytest.mark.parametrize(("age", "held"), [(0, True), (LEASE_S + 5, False)])
def test_the_age_of_a_damaged_lease_decides(
    run: Folder, age: float, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(run, 1)
    run.write("lease/000001.json", b'{"att')
    assert run.local is not None
    now = time.time()
    monkeypatch.setattr(leases.time, "time", lambda: now)
    os.utime(run.local / "lease" / "000001.json", (now - age,) * 2)
    assert (holder_of(run) is not None) == held


def test_renewing_moves_the_heartbeat(run: Folder) -> None:
    lease = take(run, 1)
    changed(run, time=0.0)
    began = time.time()
    assert lease.renew()
    assert (run.read_json("lease/000001.json") or {})["time"] >= began


def displace(run: Folder) -> Lease:
    """Let attempt 2 take the run as from a holder that it thinks dead, whose heartbeat goes on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases, "_is_dead", lambda lease: True)
        return take(run, 2)


def test_a_writer_that_was_displaced_writes_nothing_more(run: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "CHECK_S", 0.0)
    lost = take(run, 1)
    guarded = Folder(run.uri, lost.check)
    guarded.child("checkpoints").write("a", b"mine")
    other = displace(run)
    before = run.read("lease/000002.json")
    with pytest.raises(LeaseLost, match="attempt 1 writes no more of this run"):
        guarded.child("checkpoints").write("b", b"late")
    assert not lost.renew()
    lost.release()
    assert run.read("lease/000002.json") == before and run.child("checkpoints").names() == ["a"]
    assert other.renew()


def test_a_slow_one_does_not_get_a_number_that_was_used_up(run: Folder) -> None:
    """It looked when nobody held the run; since then one did, and another does."""
    take(run, 1).release()
    seen = [1]
    take(run, 2).release()
    take(run, 3)
    with pytest.MonkeyPatch.context() as patch:
        numbers = leases._numbers
        looks = iter([seen])
        patch.setattr(leases, "_numbers", lambda folder: next(looks, None) or numbers(folder))
        with pytest.raises(ValueError, match="another driver took it at the same moment"):
            take(run, 4)
    holder = holder_of(run)
    assert holder is not None and holder["attempt"] == 3


def test_an_attempt_that_was_displaced_stops_and_writes_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "HEARTBEAT_S", 0.02)
    request, told = request_of(small(), tmp_path), list[dict[str, Any]]()
    attempt = Attempt(request, told.append)

    def job(attempt: Attempt) -> dict[str, Any]:
        displace(Folder(attempt.folder.uri))
        Folder(attempt.folder.uri).write_json("status.json", {"status": "running", "attempt": 2})
        assert attempt.stop.wait(120)
        return {"ending": "stopped", "seen": 8, "values": {}}

    assert attempt.run_and_record(job) == 3
    assert attempt.folder.status() == {"status": "running", "attempt": 2}
    assert (holder_of(Folder(attempt.folder.uri)) or {})["attempt"] == 2
    assert [event["text"] for event in told if event["event"] == "warning"] == [
        "another driver has taken this run; this one stops"
    ]


def race(root: str, times: int) -> None:
    """Let two processes take the same run, again and again; exactly one of them gets it."""
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, root], cwd=ROOT, text=True, stdin=-1, stdout=-1) for _ in "ab"
    ]
    try:
        assert [said.stdout.readline() for said in racers] == ["ready\n"] * 2  # type: ignore[union-attr]
        for number in range(times):
            for racer in racers:
                print(f"{root}/{number}", file=racer.stdin, flush=True)
            said = sorted(racer.stdout.readline().strip() for racer in racers)  # type: ignore[union-attr]
            assert said == ["lost", "won"], number
    finally:
        for racer in racers:
            racer.stdin.close()  # type: ignore[union-attr]
            racer.wait()


@pytest.mark.slow
def test_of_two_processes_one_gets_a_run_on_a_disk(tmp_path: Path) -> None:
    race(str(tmp_path), 200)


@pytest.mark.slow
def test_of_two_processes_one_gets_a_run_on_an_object_store(bucket: str) -> None:
    race(f"{bucket}/races", 200)


def test_a_disk_without_links(run: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert run.create("x", b"1") and not run.create("x", b"2")
    assert run.read("x") == b"1" and run.names() == ["x"]


def test_a_storage_without_conditions_lets_the_last_one_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SETTLE_S", 0.0)
    folder = Folder("memory://runs/settled")
    assert folder.create("x", b"1") and not folder.create("x", b"2")
    assert folder.read("x") == b"1"


def test_a_store_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with pytest.raises(StorageError, match=r"storage 's3://nowhere/runs' cannot be written: .* after 9 retries"):
        Folder("s3://nowhere/runs").create("x", b"1")
