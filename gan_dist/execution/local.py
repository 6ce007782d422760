"""A job in this process, with no Ray at all: the same reading, the same worker, the same records."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from gan_dist.data.ingest import Memory, Stream, choose, in_memory
from gan_dist.data.on_processes import write_shards_on_processes
from gan_dist.data.prepare import prepare_or_load
from gan_dist.distributed.device import pick_device
from gan_dist.distributed.runtime import LocalRun
from gan_dist.errors import PreflightError, UserCodeError
from gan_dist.execution.attempt import Attempt, is_users, user_traceback
from gan_dist.execution.events import preparing
from gan_dist.execution.preflight import data_problems, describe, earlier_window, storage_problems
from gan_dist.execution.smoke import Rehearsal, rehearse, with_stand_in_networks
from gan_dist.registry.lookup import add_roots
from gan_dist.runs.log_file import logged
from gan_dist.runs.request import Request
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.training.trainer import train_run


def run_local(
    request: Request,
    on_event: Callable[[dict[str, Any]], None],
    job: Callable[[Attempt], dict[str, Any]] | None = None,
) -> int:
    """Run a request to its end; the exit code. Ctrl-C saves a checkpoint and stops.

    Args:
        job: what is run; by default the request's job is trained.
    """
    attempt = Attempt(request, on_event)
    problems = storage_problems(attempt.folder.folder)
    if problems:
        on_event({"event": "end", "status": "failed", "exit_code": 2, "message": problems[0], "summary": []})
        return 2
    with logged(attempt.folder, request.attempt), _stop_on_interrupt(attempt):
        return attempt.conclude(job or (lambda attempt: train_here(attempt, attempt.spec)))


def train_here(
    attempt: Attempt, spec: JobSpec, shorten: Callable[[JobSpec, int], JobSpec] | None = None
) -> dict[str, Any]:
    """Read the data and train a job.

    Args:
        shorten: what is trained of the job, given how many samples the data have; by default all of it.

    Raises:
        Refused: preflight found what would fail later.
    """
    device = pick_device(spec.resources.device)
    attempt.emit({"event": "stage", "text": "reading data"})
    smoke = attempt.request.mode == "smoke"
    spec = with_stand_in_networks(spec, attempt.emit) if smoke else spec
    before = earlier_window(attempt.folder)
    rows = read_rows(spec, attempt.folder.prepared(), smoke, attempt.emit, before)
    if problems := data_problems(spec, rows.facts, 1, attempt.folder):
        raise PreflightError("\n".join(problems))
    attempt.emit({"event": "preflight", "lines": describe(spec, rows.facts, 1, str(device))})
    run = LocalRun(device, attempt.on_event, attempt.stop.is_set)

    def once(one: JobSpec) -> dict[str, Any]:
        try:
            return train_run(one, run, rows, attempt.folder, attempt.request.attempt, attempt.request.start_from)
        except Exception as error:
            if is_users(error):
                raise UserCodeError(user_traceback(error)) from error
            raise

    if smoke:
        return rehearse(Rehearsal(spec, rows.facts, attempt.folder, attempt.emit), once)
    return once(spec if shorten is None else shorten(spec, rows.facts.count))


def read_rows(
    spec: JobSpec,
    cache: Folder,
    smoke: bool,
    emit: Callable[[dict[str, Any]], None],
    before: int | None = None,
) -> Memory | Stream:
    """The job's data, prepared and read in this process.

    Args:
        before: how many shards an earlier attempt's order mixed at a time; None for a fresh run.

    Raises:
        DataError: they cannot be used; under `smoke` a missing source gets a stand-in instead.
    """
    add_roots([spec.environment.code or "."])
    found = prepare_or_load(spec.data, cache, write_shards_on_processes, preparing(emit), spec.batch if smoke else None)
    chosen = choose(spec.data, found.bytes, psutil.virtual_memory().available, before)
    emit({"event": "stage", "text": f"data come from {chosen.kind}: {chosen.why}"})
    if chosen.kind == "stream":
        return Stream(found.served(chosen.window), chosen.window, spec.seed, spec.batch)
    return in_memory(found, spec.seed, spec.batch)


@contextmanager
def _stop_on_interrupt(attempt: Attempt) -> Iterator[None]:
    """The first Ctrl-C asks for a stop with a checkpoint; a second one ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(signum: int, frame: object) -> None:
        if attempt.stop.is_set():
            raise KeyboardInterrupt
        attempt.stop.set()
        attempt.emit({"event": "warning", "text": "stopping: saving a checkpoint (Ctrl-C again ends at once)"})

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
