"""The keeper: a small process that owns the local Ray, and ends with it when nobody uses it any more.

A Ray that lost one of its own processes refuses or forgets jobs, so the keeper ends all of it at once and says why;
the next command starts another. Before any end, jobs are asked to save, and given the time that theirs is to be.

Run as `python -m gan_dist.launch.cluster.daemon [CPUS]` by `gan_dist.launch.cluster.local.start_local`, as the leader
of a process group of its own. Its first act is to leave a child behind that waits for its end and then ends what is
left of that group: after a `kill -9` of the keeper, two of Ray's agents would otherwise live on for a minute.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from gan_dist.distributed.machine import usable_cpus
from gan_dist.errors import ClusterError
from gan_dist.execution.ray.private import ONE_MACHINE, LocalRay
from gan_dist.launch.cluster.jobs_api import DRIVER, GRACE_VARIABLE, JobsClient
from gan_dist.launch.cluster.local import Cluster, LocalClusterState, read_json, write_private

IDLE_MINUTES = 10.0
LEAST_CPUS = 2  # so that two workers always fit
LOOK_S, ASK_S = 1.0, 5.0
ANSWER_S = 60.0
SILENT_S = 90.0  # a stopped or starved Ray may come back; its own processes give up on each other after a minute
SHUTDOWN_S = 10.0
# By a word of their command lines: Ray's processes that it cannot do without, and how they are called.
PARTS = {
    "gcs_server": "GCS server",
    "raylet/raylet": "raylet",
    "dashboard/dashboard.py": "dashboard",
    "log_monitor.py": "log monitor",
    "monitor.py": "autoscaler monitor",
}
# Settings of another cluster or of a surrounding job, which Ray's processes and all jobs would inherit.
FOREIGN = (
    "RAY_ADDRESS",
    "RAY_API_SERVER_ADDRESS",
    "RAY_AUTH_TOKEN",
    "RAY_JOB_CONFIG_JSON_ENV_VAR",
    "RAY_JOB_ID",
    "RAY_NAMESPACE",
    "RAY_RUNTIME_ENV_HOOK",
)


def main(cpus: int | None) -> int:
    """Start Ray, serve until idle or asked to end, clean up. Returns the exit status."""
    # A shell ignores it for what it starts in the background (`nohup ... &`), and all jobs would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    state = LocalClusterState.here()
    state.prepare()
    tell_reaper, reaper = fork_reaper()
    ended = threading.Event()
    with _hold(state.keeper) as lock:
        if lock is None:
            print("another keeper runs already", file=sys.stderr)
            return 1
        temp = _temp_folder(state, lock)
        os.write(tell_reaper, str(temp).encode())
        ray: LocalRay | None = None
        try:
            set_environment(os.environ, state.token)
            # Ray opens its own folder to everybody; the one around it stays closed.
            ray = LocalRay(cpus or max(LEAST_CPUS, usable_cpus()), temp / "r")
            # Only now: Ray puts handlers of its own in place while it starts.
            for sign in (signal.SIGTERM, signal.SIGINT):
                signal.signal(sign, lambda *_: ended.set())
            cluster = _describe(state, ray)
            reason = _serve(state, cluster, ended, idle_seconds())
            print(f"ending: {reason}", flush=True)
            _end_jobs(state, cluster, reason)
        finally:
            state.record.unlink(missing_ok=True)
            _end_ray(ray, reaper)
            shutil.rmtree(temp, ignore_errors=True)
    return 0


def fork_reaper() -> tuple[int, int]:
    """Fork the child that cleans up after this process, however it ends; returns where to write Ray's folder, and the
    child's pid.

    Must come before any lock and thread: a fork shares the first and loses the second.
    """
    reading, writing = os.pipe()
    group = os.getpgrp()
    if child := os.fork():
        os.close(reading)
        return writing, child
    os.close(writing)
    os.setsid()
    with os.fdopen(reading) as pipe:
        temp = pipe.read()  # to the end of the file: the keeper is gone
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    if temp:
        shutil.rmtree(temp, ignore_errors=True)
    os._exit(0)


def set_environment(environ: MutableMapping[str, str], token: Path) -> None:
    """What must be set before Ray is imported; its children and every job inherit it."""
    for name in FOREIGN:
        environ.pop(name, None)
    fixed = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    environ.update(fixed | ONE_MACHINE)
    for name in ("no_proxy", "NO_PROXY"):
        known = [part for part in environ.get(name, "").split(",") if part]
        environ[name] = ",".join(dict.fromkeys([*known, "127.0.0.1", "localhost"]))


def idle_seconds() -> float:
    """How long the cluster stays without a job: `GAN_DIST_IDLE_MINUTES`, or ten minutes."""
    text = os.environ.get("GAN_DIST_IDLE_MINUTES", "")
    try:
        return 60 * float(text or IDLE_MINUTES)
    except ValueError:
        print(f"GAN_DIST_IDLE_MINUTES={text!r} is no number; {IDLE_MINUTES:g} is used", file=sys.stderr)
        return 60 * IDLE_MINUTES


@contextlib.contextmanager
def _hold(path: Path) -> Iterator[int | None]:
    """Hold the keeper's lock for the life of this process; None when another keeper has it.

    Somebody who only looks holds it for an instant (shared), hence the few tries.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for _ in range(20):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.1)
                continue
            yield descriptor
            return
        yield None
    finally:
        os.close(descriptor)


def _temp_folder(state: LocalClusterState, lock: int) -> Path:
    """A short private folder for Ray (a socket path has at most 107 bytes); a killed keeper's is removed."""
    prefix = f"gd-{os.getuid()}-"
    base = "/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir()
    old = Path((read_json(state.keeper) or {}).get("temp", ""))
    if old.name.startswith(prefix):
        shutil.rmtree(old, ignore_errors=True)
    temp = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    os.truncate(lock, 0)
    os.pwrite(lock, json.dumps({"pid": os.getpid(), "temp": str(temp)}).encode(), 0)
    return temp


def _describe(state: LocalClusterState, ray: LocalRay) -> Cluster:
    """How commands reach the local Ray."""
    return Cluster(
        address=f"http://{ray.dashboard}",
        token_path=str(state.token),
        local=True,
        gcs=ray.gcs,
        python=sys.executable,
    )


def _serve(state: LocalClusterState, cluster: Cluster, ended: threading.Event, idle_s: float) -> str:
    """Publish the cluster and wait until it is idle for `idle_s` seconds, has lost a process, or is asked to end;
    returns which."""
    jobs, parts = JobsClient(cluster), _parts()
    _await_answer(jobs, ended)
    _publish(state, cluster)
    last_use = last_answer = last_asked = time.monotonic()
    while not ended.wait(min(LOOK_S, idle_s / 4)):
        if (lost := find_lost(parts)) is not None:
            return f"it lost its {lost}"
        if time.monotonic() - last_asked < min(ASK_S, idle_s / 4):
            continue
        busy, now = _busy(jobs), time.monotonic()
        last_asked = now
        if busy is None:
            if now - last_answer > SILENT_S:
                return f"it has not answered for {SILENT_S:.0f} s"
            continue
        last_answer = now
        if busy:
            last_use = now
        elif now - last_use > idle_s:
            # First out of sight, then a last look: a job submitted in this instant is not lost.
            state.record.unlink(missing_ok=True)
            if ended.wait(1.0) or not _busy(jobs):
                return f"idle for {idle_s:.0f} s"
            last_use = time.monotonic()
            _publish(state, cluster)
    return "it was asked to end (`gan-dist down`)"


def _parts() -> dict[psutil.Process, str]:
    """Ray's own processes that live as long as the cluster, with their names: what this process started, without the
    child that waits for its end. The agents are children of the raylet, which ends when one of them does."""
    found = {}
    for child in psutil.Process().children():
        words = " ".join(child.cmdline())
        name = next((name for word, name in PARTS.items() if word in words), None)
        if name is not None:
            found[child] = name
    return found


def find_lost(parts: Mapping[psutil.Process, str]) -> str | None:
    """The name of a process that has ended; None while all live."""
    return next((name for process, name in parts.items() if not _is_alive(process)), None)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _publish(state: LocalClusterState, cluster: Cluster) -> None:
    if (read_json(state.ended) or {}).get("address") == cluster.address:
        state.ended.unlink()  # of an earlier Ray that had the same port
    write_private(state.record, json.dumps(asdict(cluster)))


def _await_answer(jobs: JobsClient, ended: threading.Event) -> None:
    deadline = time.monotonic() + ANSWER_S
    while True:
        try:
            jobs.version()
            return
        except ClusterError:
            if time.monotonic() > deadline or ended.wait(0.2):
                raise


def _busy(jobs: JobsClient) -> bool | None:
    """Whether anyone has a job here; None where the cluster does not say."""
    try:
        found: list[dict[str, Any]] = jobs.list()
    except ClusterError as error:
        print(f"the cluster does not answer: {error}", file=sys.stderr, flush=True)
        return None
    return any(job["status"] in ("PENDING", "RUNNING") for job in found)


def _end_jobs(state: LocalClusterState, cluster: Cluster, reason: str) -> None:
    """Ask the drivers of all jobs to save and end, and wait for as long as they were given."""
    drivers = [process for process in psutil.Process().children(recursive=True) if _is_driver(process)]
    grace = max((_grace(driver) for driver in drivers), default=0.0)
    told = {"address": cluster.address, "reason": reason, "keeper": os.getpid(), "jobs_end_by": time.time() + grace}
    write_private(state.ended, json.dumps(told))
    state.record.unlink(missing_ok=True)
    for driver in drivers:
        with contextlib.suppress(psutil.NoSuchProcess):
            driver.terminate()
    psutil.wait_procs(drivers, grace)


def _is_driver(process: psutil.Process) -> bool:
    """Whether a process is a job's driver, and not the shell that Ray starts it by."""
    try:
        return bool(process.cmdline()[-1:] == [DRIVER])
    except psutil.Error:
        return False


def _grace(driver: psutil.Process) -> float:
    try:
        return float(driver.environ().get(GRACE_VARIABLE, 0))
    except psutil.Error:
        return 0.0


def _end_ray(ray: LocalRay | None, reaper: int) -> None:
    """End Ray and what is left of its processes; a Ray that lost some may never end by itself."""
    left = psutil.Process().children(recursive=True)
    if ray is not None:
        ending = threading.Thread(target=ray.end, daemon=True)
        ending.start()
        ending.join(SHUTDOWN_S)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.pid != reaper:
                process.kill()


if __name__ == "__main__":
    code = main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
    sys.stdout.flush()
    sys.stderr.flush()
    # A shutdown of Ray that hangs still runs in a thread.
    os._exit(code)
