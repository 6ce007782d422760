"""The keeper: a small process that owns the local Ray, and ends with it when nobody uses it any more.

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
from collections.abc import Iterator, MutableMapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gan_dist.distributed.machine import usable_cpus
from gan_dist.errors import ClusterError
from gan_dist.execution.ray.private import ONE_MACHINE, start_on_loopback
from gan_dist.launch.cluster.jobs_api import JobsClient
from gan_dist.launch.cluster.local import Cluster, LocalClusterState, read_json, write_private

IDLE_MINUTES = 10.0
LEAST_CPUS = 2  # so that two workers always fit
LOOK_S = 5.0
ANSWER_S = 60.0
# Settings of another cluster or of a surrounding job: with them `ray.init` would join that one.
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
    tell_reaper = fork_reaper()
    ended = threading.Event()
    with _hold(state.keeper) as lock:
        if lock is None:
            print("another keeper runs already", file=sys.stderr)
            return 1
        temp = _temp_folder(state, lock)
        os.write(tell_reaper, str(temp).encode())
        try:
            set_environment(os.environ, state.token)
            cluster, own_job = _start_ray(state, temp, cpus or max(LEAST_CPUS, usable_cpus()))
            # Only now: Ray puts handlers of its own in place while it starts.
            for sign in (signal.SIGTERM, signal.SIGINT):
                signal.signal(sign, lambda *_: ended.set())
            _serve(state, cluster, own_job, ended, idle_seconds())
        finally:
            state.record.unlink(missing_ok=True)
            _end_ray()
            shutil.rmtree(temp, ignore_errors=True)
    return 0


def fork_reaper() -> int:
    """Fork the child that cleans up after this process, however it ends; returns where to write Ray's folder.

    Must come before any lock and thread: a fork shares the first and loses the second.
    """
    reading, writing = os.pipe()
    group = os.getpgrp()
    if os.fork():
        os.close(reading)
        return writing
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


def _start_ray(state: LocalClusterState, temp: Path, cpus: int) -> tuple[Cluster, str]:
    """Start Ray on loopback; returns the cluster and the id of the keeper's own driver."""
    import ray

    # Ray opens its own folder to everybody; the one around it stays closed.
    context = start_on_loopback(cpus, temp / "r")
    cluster = Cluster(
        address=f"http://{context.dashboard_url}",
        token_path=str(state.token),
        local=True,
        gcs=context.address_info["gcs_address"],
        python=sys.executable,
    )
    return cluster, ray.get_runtime_context().get_job_id()


def _serve(state: LocalClusterState, cluster: Cluster, own_job: str, ended: threading.Event, idle_s: float) -> None:
    """Publish the cluster and wait until it is idle for `idle_s` seconds, or until asked to end."""
    jobs = JobsClient(cluster)
    _await_answer(jobs, ended)
    _publish(state, cluster)
    last_use = time.monotonic()
    while not ended.wait(min(LOOK_S, idle_s / 4)):
        if _busy(jobs, own_job):
            last_use = time.monotonic()
        elif time.monotonic() - last_use > idle_s:
            # First out of sight, then a last look: a job submitted in this instant is not lost.
            state.record.unlink(missing_ok=True)
            if ended.wait(1.0) or not _busy(jobs, own_job):
                print(f"idle for {idle_s:.0f} s: ending", flush=True)
                return
            last_use = time.monotonic()
            _publish(state, cluster)


def _publish(state: LocalClusterState, cluster: Cluster) -> None:
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


def _busy(jobs: JobsClient, own_job: str) -> bool:
    """Whether anyone but the keeper has a job here; no answer counts as idle: such a cluster is of no use."""
    try:
        found: list[dict[str, Any]] = jobs.list()
    except ClusterError as error:
        print(f"the cluster does not answer: {error}", file=sys.stderr, flush=True)
        return False
    return any(job["status"] in ("PENDING", "RUNNING") and job.get("job_id") != own_job for job in found)


def _end_ray() -> None:
    ray = sys.modules.get("ray")
    if ray is not None:
        ray.shutdown()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else None))
