"""A job in this process, with no Ray at all: the same reading, the same worker, the same records."""

from __future__ import annotations

import signal
from bdb import BdbQuit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.ingest import Memory, Stream, choose_ingest, load_into_memory
from gan_dist.distributed.machine import available_memory
from gan_dist.distributed.runtime import LocalRuntime, pick_device
from gan_dist.errors import OutOfMemory, PreflightError
from gan_dist.events import Emit
from gan_dist.execution.attempt import Attempt
from gan_dist.execution.log_lines import encoding_progress, preparation_progress
from gan_dist.execution.preflight import data_problems, describe, earlier_window
from gan_dist.execution.signals import asking_to_stop
from gan_dist.execution.smoke import Rehearsal, rehearse, with_stand_in_networks
from gan_dist.execution.user_code import is_out_of_memory, user_error
from gan_dist.generation.codec_source import prepare_for_job
from gan_dist.generation.model import load_generator
from gan_dist.registry.lookup import add_import_roots
from gan_dist.registry.trust import own_code
from gan_dist.runs.request import RunRequest
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.training.trainer import train_run


def run_local(
    request: RunRequest,
    on_event: Emit,
    job: Callable[[Attempt], dict[str, Any]] | None = None,
) -> int:
    """Run a request to its end; the exit code. Ctrl-C, `kill` and a closed terminal save a checkpoint and stop.

    Args:
        job: what is run; by default the request's job is trained.
    """
    return run_attempt_here(Attempt(request, on_event, local=True), job)


def run_attempt_here(attempt: Attempt, job: Callable[[Attempt], dict[str, Any]] | None = None) -> int:
    """Run an attempt in this process to its end; the exit code. Ctrl-C saves a checkpoint and stops."""
    with _stop_on_signals(attempt):
        return attempt.run(job or (lambda attempt: train_here(attempt, attempt.spec)))


def train_here(
    attempt: Attempt, spec: JobSpec, shorten: Callable[[JobSpec, int], JobSpec] | None = None
) -> dict[str, Any]:
    """Read the data and train a job.

    Args:
        shorten: what is trained of the job, given how many samples an epoch may have; by default all of it.

    Raises:
        PreflightError: preflight found what would fail later.
    """
    try:
        device = pick_device(spec.resources.device)
    except ValueError as error:
        raise PreflightError(str(error)) from error
    attempt.emit({"event": "stage", "text": "reading data"})
    smoke = attempt.request.mode == "smoke"
    spec = with_stand_in_networks(spec, attempt.emit) if smoke else spec
    before = earlier_window(attempt.folder)
    rows = read_rows(spec, attempt.folder.prepared(), smoke=smoke, emit=attempt.emit, before=before)
    if problems := data_problems(spec, rows.facts, 1, attempt.folder):
        raise PreflightError("\n".join(problems))
    attempt.emit({"event": "preflight", "lines": describe(spec, rows.facts, 1, str(device))})
    run = LocalRuntime(device, attempt.on_event, attempt.stop.is_set)

    def once(one: JobSpec) -> dict[str, Any]:
        try:
            return train_run(
                one,
                run=run,
                rows=rows,
                folder=attempt.folder,
                attempt=attempt.request.attempt,
                start_from=attempt.request.start_from,
            )
        except BdbQuit:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                told = f"the networks and a batch of {one.batch} do not fit into this machine's memory"
                raise OutOfMemory(f"{told}; set micro_batch, or make them smaller") from error
            if (theirs := user_error(error, own_code(one))) is not None:
                raise theirs from error
            raise

    if smoke:
        return rehearse(Rehearsal(spec, rows.facts, attempt.folder, attempt.emit), once)
    return once(spec if shorten is None else shorten(spec, rows.facts.pass_length))


def read_rows(
    spec: JobSpec,
    cache: Folder,
    *,
    smoke: bool,
    emit: Emit,
    before: int | None = None,
) -> Memory | Stream:
    """The job's data, prepared and read in this process.

    Args:
        before: how many shards an earlier attempt's order mixed at a time; None for a fresh run.

    Raises:
        DataError: they cannot be used; under `smoke` a missing source gets a stand-in instead.
    """
    add_import_roots([spec.environment.code or "."])
    found = prepare_for_job(
        spec.data,
        cache,
        load_generator,
        executor=write_shards_on_processes,
        progress=preparation_progress(emit),
        encoding=encoding_progress(emit),
        stand_in_of=spec.batch if smoke else None,
    )
    chosen = choose_ingest(spec.data, found.bytes, available_memory(), before)
    emit({"event": "stage", "text": f"data come from {chosen.kind}: {chosen.why}"})
    if chosen.kind == "stream":
        return Stream(found.served(chosen.window), chosen.window, spec.seed, spec.batch)
    return load_into_memory(found, spec.seed, spec.batch)


@contextmanager
def _stop_on_signals(attempt: Attempt) -> Iterator[None]:
    """A signal asks for a stop with a checkpoint; a second Ctrl-C ends at once, and of the other signals each gives
    `resources.stop_grace` seconds."""

    def ask(received: signal.Signals) -> None:
        if attempt.stop.is_set():
            if received is signal.SIGINT:
                raise KeyboardInterrupt
            return
        attempt.stop.set()
        if received is not signal.SIGINT:  # a person waits, and may press again; a scheduler kills
            attempt.hurry.set()
        text = f"stopping on {received.name}: saving a checkpoint (Ctrl-C again ends at once)"
        attempt.emit({"event": "warning", "text": text})

    with asking_to_stop(ask):
        yield
