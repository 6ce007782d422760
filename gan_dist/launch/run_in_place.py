"""`gan-dist run`: the driver of a run in this process, for what starts processes on a cluster by itself."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gan_dist.events import Emit
from gan_dist.execution.node_secrets import sent_with_job
from gan_dist.execution.ray.connect import connect
from gan_dist.launch.load_job import load_job
from gan_dist.launch.packaging import copied_to_cluster, pack
from gan_dist.launch.plan import LaunchPlan
from gan_dist.launch.resume_rules import changed_spec, progress_of
from gan_dist.launch.submit import FIXED, TRAIN_PAGE
from gan_dist.runs.index import remember_run, storage_root
from gan_dist.runs.lease import LEASE_S
from gan_dist.runs.run_folder import RunFolder

PAUSE_S = 1.0


def run_in_place(plan: LaunchPlan, emit: Emit) -> int:
    """Train a planned run on the Ray that `RAY_ADDRESS` names or that runs on this machine, else on one that is started
    here and ends with this process; the exit code is that of `submit`."""
    from gan_dist.launch.driver import drive

    # Before Ray is imported, which reads most of them once.
    os.environ.update({**FIXED, TRAIN_PAGE: os.environ.get(TRAIN_PAGE, "0")})
    with _archive(plan) as archive:

        def join() -> None:
            connect(_needs(plan, archive))
            remember_run(plan.run, attempt=plan.request.attempt, mode=plan.request.mode, code=plan.request.code or None)

        return drive(plan.request, emit, join)


@contextmanager
def _archive(plan: LaunchPlan) -> Iterator[Path]:
    """What other nodes need of this machine: this very gan_dist, and the job's own code."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "code.zip"
        pack(plan.environment, target)
        yield target


def _needs(plan: LaunchPlan, archive: Path) -> dict[str, Any]:
    """The runtime environment of the workers."""
    environment = sent_with_job(plan.environment.secrets)
    environment["env_vars"] = (
        FIXED | copied_to_cluster(plan.environment.env, os.environ) | environment.get("env_vars", {})
    )
    environment["working_dir"] = str(archive)
    if plan.environment.pip:
        environment["pip"] = list(plan.environment.pip)
    return environment


def begun_run(job: str, name: str, overrides: Sequence[str], storage: str | None) -> RunFolder | None:
    """The run of that name in the storage that the job is to be stored in; None where it has not begun.

    Raises:
        JobError: the job is wrong.
    """
    of_job = None if storage else load_job(job, overrides).storage
    run = RunFolder(storage_root(storage, of_job).child(name))
    return run if run.folder.exists("request.json") else None


def is_finished(run: RunFolder, overrides: Sequence[str], code: str | None) -> bool:
    """Whether a run has stored the last checkpoint of its job, with what is changed of that, if it could say so or not.

    Raises:
        UsageError: the changes are not allowed.
    """
    seen, ends = progress_of(run, changed_spec(run, overrides, None if code is None else [code]))
    return seen >= ends


def wait_until_free(run: RunFolder, say: Callable[[str], None], patience_s: float = 3 * LEASE_S) -> None:
    """Wait while a run has a writer that may be gone: a scheduler starts a process again at once, and a machine that
    was lost has given nothing back. Returns when it is free, or after `patience_s` seconds."""
    end = time.monotonic() + patience_s
    holder = run.lease_holder()
    if holder is not None:
        say(f"run {run.id} is held by attempt {holder['attempt']} on {holder['host']}: waiting until that is over")
    while run.lease_holder() is not None and time.monotonic() < end:
        time.sleep(PAUSE_S)
