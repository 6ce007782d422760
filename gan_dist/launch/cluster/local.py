"""The local Ray of this machine: started, found and ended through a small process of ours, the keeper.

What is on disk, in `GAN_DIST_HOME/local/<host>/` (per host, because homes are often shared):

    keeper.lock    held (flock) by the keeper as long as it lives; its content names its pid and Ray's folder
    start.lock     held by whoever is starting a keeper, so that two starts give one cluster
    cluster.json   written when Ray answers: address, token, Python
    ended.json     written when the keeper begins to end its Ray: why, and how long the jobs may take to save
    token          the secret every request carries
    keeper.log     what the keeper and Ray said
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gan_dist.errors import ClusterError
from gan_dist.runs.storage import home

START_S = 120.0
STOP_S = 45.0


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster's Jobs API.

    `address` is an HTTP address, `token_path` a file holding its token (None: look in Ray's usual places),
    `gcs` the address Ray's own processes use and `python` the interpreter they run (both for ours only). `origin` is
    the variable or option that named the cluster, empty for ours.
    """

    address: str
    token_path: str | None = None
    local: bool = False
    gcs: str | None = None
    python: str | None = None
    origin: str = field(default="", compare=False)


@dataclass(frozen=True)
class LocalClusterState:
    """The files of this machine's keeper."""

    folder: Path

    @classmethod
    def here(cls) -> LocalClusterState:
        return cls(home() / "local" / os.uname().nodename)

    @property
    def record(self) -> Path:
        return self.folder / "cluster.json"

    @property
    def ended(self) -> Path:
        return self.folder / "ended.json"

    @property
    def token(self) -> Path:
        return self.folder / "token"

    @property
    def log(self) -> Path:
        return self.folder / "keeper.log"

    @property
    def keeper(self) -> Path:
        return self.folder / "keeper.lock"

    def prepare(self) -> None:
        """Create the folder and the token, readable by this user alone.

        Raises:
            ClusterError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.suppress(FileExistsError):
                write_private(self.token, secrets.token_hex(32), new=True)
        except OSError as error:
            raise ClusterError(f"the local cluster's folder cannot be written: {error}") from error

    def owner(self) -> dict[str, Any] | None:
        """What the living keeper wrote about itself (pid, temp); None when there is none."""
        try:
            with self.keeper.open() as stream:
                # A shared lock is refused only while a keeper holds the exclusive one.
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return None
        except BlockingIOError:
            return read_json(self.keeper)
        return None


def write_private(path: Path, text: str, new: bool = False) -> None:
    """Write a file that only this user may read; as a whole, or with `new` only if it is absent."""
    target = path if new else path.with_suffix(".part")
    flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if new else os.O_TRUNC)
    with os.fdopen(os.open(target, flags, 0o600), "w") as stream:
        stream.write(text)
    if not new:
        target.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None when the file is absent or half written."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def find_local() -> Cluster | None:
    """Our local cluster, if its keeper lives, has published it and has not said that it ends."""
    state = LocalClusterState.here()
    if state.owner() is None or (record := read_json(state.record)) is None:
        return None
    ending = (read_json(state.ended) or {}).get("address") == record["address"]
    return None if ending else Cluster(**record)


def why_ended(cluster: Cluster) -> str | None:
    """Why our local cluster has ended, or is ending; None while it runs, and of any other cluster."""
    if not cluster.local:
        return None
    state = LocalClusterState.here()
    running, ended = read_json(state.record), read_json(state.ended) or {}
    if ended.get("address") == cluster.address:
        return str(ended["reason"])
    if state.owner() is not None and (running is None or running["address"] == cluster.address):
        return None  # it runs, or is out of sight for a last look before it ends idle
    return "the process that kept it was killed"


def start_local(cpus: int | None = None) -> Cluster:
    """The local cluster, started if it does not run (about 5 s); it outlives this process.

    Raises:
        ClusterError: Ray did not start; the text carries the end of the keeper's log.
    """
    state = LocalClusterState.here()
    state.prepare()
    deadline = time.monotonic() + START_S
    with _lock(state.folder / "start.lock", deadline):
        if (found := find_local()) is not None:
            return found
        while state.owner() is not None and time.monotonic() < deadline:  # the one before still ends its jobs
            time.sleep(0.1)
        state.record.unlink(missing_ok=True)
        keeper = _spawn(state, cpus)
        while time.monotonic() < deadline:
            if (found := find_local()) is not None:
                return found
            if keeper.poll() is not None:
                raise ClusterError(f"the local Ray did not start ({state.log}):\n{_tail(state.log)}")
            time.sleep(0.1)
        keeper.terminate()
        raise ClusterError(f"the local Ray did not answer within {START_S:.0f} s:\n{_tail(state.log)}")


def stop_local() -> bool:
    """End our keeper, which ends its own Ray and nothing else; False when none runs.

    The pid is read from a lock that only a living keeper can hold, so a recycled pid is never signalled.

    Raises:
        ClusterError: it did not end.
    """
    state = LocalClusterState.here()
    owner = state.owner()
    if owner is None:
        return False
    for sign, patience in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(owner["pid"], sign)
        deadline = time.time() + patience
        while time.time() < max(deadline, _jobs_end_by(state, owner["pid"])):
            if state.owner() is None:
                return True
            time.sleep(0.1)
    raise ClusterError(f"the local cluster's keeper (pid {owner['pid']}) does not end; see {state.log}")


def _jobs_end_by(state: LocalClusterState, keeper: int) -> float:
    """Until when (epoch seconds) a keeper that ends its Ray waits for its jobs, and then for Ray."""
    ended = read_json(state.ended) or {}
    return float(ended["jobs_end_by"]) + STOP_S if ended.get("keeper") == keeper else 0.0


@contextlib.contextmanager
def _lock(path: Path, deadline: float) -> Iterator[None]:
    with path.open("a") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ClusterError("another process has not finished starting the local Ray") from None
                time.sleep(0.1)
        yield


def _spawn(state: LocalClusterState, cpus: int | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gan_dist.launch.cluster.daemon", *([str(cpus)] if cpus else [])]
    # The keeper must find this very package, also when it is run from a checkout that is not installed.
    package_root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    environ = {**os.environ, "PYTHONPATH": path} if "site-packages" not in package_root else dict(os.environ)
    with state.log.open("wb") as log:
        # A session of its own: neither Ctrl-C nor the end of this terminal reaches it.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env=environ,
        )


def _tail(log: Path, lines: int = 15) -> str:
    text = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"  {line}" for line in text[-lines:]) or "  (it said nothing)"
