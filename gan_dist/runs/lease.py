"""Who writes a run: one writer at a time, wherever the run is stored.

A lease has a number. Its file, `lease/000002.json`, is created by an operation that one of many callers wins, and is
written by its holder alone. Whoever takes a run over creates the next number, and the highest number holds. So nobody
writes over another's lease, and a writer that slept, or was cut off from the network, finds out and writes no more.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gan_dist.errors import LeaseLost, StorageError, UsageError
from gan_dist.runs.hints import command
from gan_dist.runs.storage import Folder

FOLDER = "lease"
LEASE_S = 45.0  # without a heartbeat for longer, a writer on another machine is dead
CHECK_S = 1.0  # between two looks for a higher number
NUMBERED = re.compile(r"(\d{6})\.json")


@dataclass
class Lease:
    """The right to write a run, as one attempt holds it; whoever has a copy may check it.

    Attributes:
        folder: where the leases of the run are.
        number: of this one.
        attempt: that holds it.
    """

    folder: Folder
    number: int
    attempt: int
    _checked: float = field(default=0.0, repr=False)

    def check(self) -> None:
        """Before something of the run is written: that nobody has taken it over.

        Raises:
            LeaseLost: somebody has.
            StorageError: the storage does not say.
        """
        if time.monotonic() - self._checked < CHECK_S:
            return
        if not self._holds():
            raise LeaseLost(f"attempt {self.attempt} writes no more of this run, which another driver has taken over")
        self._checked = time.monotonic()

    def renew(self) -> bool:
        """Say that the writer is alive; False, and nothing is written, where another has become it meanwhile."""
        if mine := self._holds():
            self.folder.write(_name(self.number), _record(self.attempt))
        return mine

    def release(self) -> None:
        """Let the next one write at once. The number stays: the next one's is higher."""
        # Where the storage is full or gone, the end of this process says the same, a little later.
        with contextlib.suppress(StorageError, OSError):
            if self._holds():
                self.folder.write(_name(self.number), _record(self.attempt, released=True))

    def _holds(self) -> bool:
        numbers = _numbers(self.folder)
        return bool(numbers) and numbers[-1] == self.number


def holder_of(run: Folder) -> dict[str, Any] | None:
    """Who writes a run now; None when nobody does, or the holder is known to be gone."""
    folder = run.child(FOLDER)
    numbers = _numbers(folder)
    return _alive(folder, numbers[-1]) if numbers else None


def take(run: Folder, attempt: int) -> Lease:
    """Become the one writer of a run.

    Raises:
        UsageError: another driver is, or became it at the same moment.
    """
    folder, name = run.child(FOLDER), run.uri.rsplit("/", 1)[-1]
    numbers = _numbers(folder)
    if numbers and (holder := _alive(folder, numbers[-1])) is not None:
        raise UsageError(
            f"run {name} is being written by attempt {holder['attempt']} on {holder['host']} "
            f"(pid {holder['pid']}); stop it first: {command('stop', name)}"
        )
    lease = Lease(folder, numbers[-1] + 1 if numbers else 1, attempt)
    # The second look: this number may have been another's, and be gone since.
    if not folder.create(_name(lease.number), _record(attempt)) or not lease._holds():
        raise UsageError(f"run {name}: another driver took it at the same moment")
    for number in numbers:
        with contextlib.suppress(StorageError, OSError):  # only tidiness
            folder.delete(_name(number))
    return lease


def _name(number: int) -> str:
    return f"{number:06}.json"


def _numbers(folder: Folder) -> list[int]:
    return sorted(int(found[1]) for name in folder.names() if (found := NUMBERED.fullmatch(name)))


def _alive(folder: Folder, number: int) -> dict[str, Any] | None:
    """What a lease says, unless its holder has released it or is dead."""
    found = folder.read_json(_name(number))
    if found is None:  # damaged: its age decides
        changed = folder.entry(_name(number)).changed / 1e9
        found = {"attempt": "?", "host": "?", "pid": "?", "time": changed}
    if found.get("released") or _is_dead(found):
        return None
    return found


def _record(attempt: int, released: bool = False) -> bytes:
    told = {
        "attempt": attempt,
        "host": os.uname().nodename,
        "boot": _boot_id(),
        "pid": os.getpid(),
        "born": _birth(os.getpid()),
        "time": time.time(),
        "released": released,
    }
    return json.dumps(told).encode()


def _is_dead(lease: dict[str, Any]) -> bool:
    """On the holder's own machine its process is looked up; elsewhere its heartbeat decides."""
    if lease.get("boot") == _boot_id() and lease.get("host") == os.uname().nodename:
        return _birth(lease["pid"]) != lease.get("born")
    return time.time() - float(lease.get("time", 0)) > LEASE_S


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def _birth(pid: int) -> str | None:
    """When a process began, so that a recycled pid is not taken for the old one; None when it is gone."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None
