"""A sweep in this process, without Ray: its trials one after the other."""

from __future__ import annotations

import threading
from typing import Any

from gan_dist.data.order import epoch_samples
from gan_dist.events import Emit, Event
from gan_dist.execution.attempt import Attempt
from gan_dist.execution.local import read_rows, run_local, train_here
from gan_dist.runs.request import RunRequest
from gan_dist.spec.job import JobSpec
from gan_dist.spec.schedules import Clock
from gan_dist.sweeps.sweep import Sweep
from gan_dist.sweeps.trial import Trial, truncate_job
from gan_dist.sweeps.trial_log import Leg

LOOK_S = 0.3


def run_here(request: RunRequest, on_event: Emit) -> int:
    """Run a request, a sweep or a single run, to its end; the exit code. Ctrl-C saves and stops."""
    is_sweep = JobSpec.model_validate_json(request.spec).sweep is not None
    return run_local(request, on_event, sweep_here if is_sweep else None)


def sweep_here(attempt: Attempt) -> dict[str, Any]:
    """All trials of a sweep, one after the other.

    Raises:
        PreflightError: preflight found what would fail later.
    """
    smoke = attempt.request.mode == "smoke"
    rows = read_rows(attempt.spec, attempt.folder.prepared(), smoke=smoke, emit=attempt.emit)
    sweep = Sweep(attempt, rows.facts, lambda one: 1)
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(sweep, over), daemon=True)
    watch.start()
    try:
        while (leg := sweep.ask()) is not None:
            sweep.tell(leg, _make_trial(sweep, leg).train_leg())
    finally:
        over.set()
        watch.join()
    return sweep.result()


def _make_trial(sweep: Sweep, leg: Leg) -> Trial:
    def on_event(event: Event) -> None:
        if event["event"] == "progress":
            sweep.update(leg, event["seen"])

    def shorten(spec: JobSpec, pass_length: int) -> JobSpec:
        return truncate_job(spec, leg.until, Clock(spec.batch, epoch_samples(pass_length, spec.batch)))

    return Trial(sweep.context, leg, lambda attempt, spec: train_here(attempt, spec, shorten), on_event)


def _watch(sweep: Sweep, over: threading.Event) -> None:
    while not over.wait(LOOK_S):
        if sweep.must_stop():
            sweep.stop()
