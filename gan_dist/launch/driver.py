"""The driver's entrypoint, `python -m gan_dist.launch.driver`, started by `gan-dist submit`.

It imports little at first, so that an early stop is heard, a run that waits for its turn holds little memory, and the
data are read while torch is loaded.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan_dist.events import Emit
    from gan_dist.execution.attempt import Attempt
    from gan_dist.runs.request import RunRequest


def main() -> int:
    """Run the request in the environment; the exit code."""
    from gan_dist.execution.log_lines import print_event
    from gan_dist.execution.ray.connect import connect
    from gan_dist.runs.request import RunRequest

    print_event({"event": "stage", "text": "starting"})  # from here on a stop is heard

    return drive(RunRequest.from_env(), print_event, connect)


def drive(request: RunRequest, emit: Emit, connect: Callable[[], None]) -> int:
    """Be the driver of a run; the exit code.

    Args:
        request: what is to be done.
        emit: where its events go.
        connect: joins the Ray that it runs on, or starts one.
    """
    from gan_dist.execution.signals import listen_for

    stop = threading.Event()
    listen_for(lambda _: stop.set())
    from gan_dist.execution.attempt import Attempt

    attempt = Attempt(request, emit, stop, hurry=stop)
    connect()
    logging.getLogger("ray").setLevel(logging.WARNING)  # again, as it has set up its own
    listen_for(lambda _: stop.set())  # Ray has put a handler of its own in place of ours, which saves nothing
    return attempt.run(run_in_turn)


def run_in_turn(attempt: Attempt) -> dict[str, Any]:
    """Run an attempt when the runs before it leave it room; the result of rank 0, or of the sweep."""
    from gan_dist.errors import RunStopped
    from gan_dist.execution.ray.gauges import RunGauges
    from gan_dist.execution.ray.losses import telling_losses
    from gan_dist.execution.ray.nodes import check_secrets

    gauges = RunGauges(attempt.request.run_id)

    def say_waiting(why: str) -> None:
        gauges.show("waiting", float(bool(why)))
        attempt.on_waiting(why)

    with telling_losses():
        gauges.show("waiting", 0.0)
        turn = place_in_queue(attempt)
        try:
            turn.wait(say_waiting, attempt.stop)
            if attempt.stop.is_set():
                raise RunStopped
            check_secrets(attempt.spec.environment.secrets)
            return run_attempt(attempt)
        finally:
            turn.leave()


def place_in_queue(attempt: Attempt) -> Any:
    """A run's place among those of its cluster."""
    import ray

    from gan_dist.distributed.lanes import lanes_of
    from gan_dist.execution.ray.resources import resolve_resources
    from gan_dist.execution.ray.run_queue import Place, Turn

    cluster: Any = ray
    spec = attempt.spec
    there = cluster.cluster_resources()
    ask = resolve_resources(spec.resources, len(lanes_of(spec.batch)), there, cluster.nodes())
    most = ask.most
    if spec.sweep is not None:
        places = spec.sweep.concurrent or int(max(ask.cluster_cpus, ask.cluster_gpus))
        most = places * ask.most
    least = 0 if ask.autoscale else ask.least  # nodes of its own are started for it: it waits for no other run
    return Turn(
        Place(
            key=ray.get_runtime_context().get_job_id(),
            run=attempt.request.submission_id,
            owner=attempt.request.owner,
            cpus=least * ask.cpus_per_worker,
            gpus=least * ask.gpus_per_worker,
            most_cpus=min(most * ask.cpus_per_worker, ask.cluster_cpus),
            most_gpus=min(most * ask.gpus_per_worker, ask.cluster_gpus),
            priority=spec.resources.priority,
        )
    )


def run_attempt(attempt: Attempt) -> dict[str, Any]:
    """Begin to read the data, load torch beside it, and train; the result of rank 0, or of the sweep."""
    import ray

    from gan_dist.execution.log_lines import encoding_progress, preparation_progress
    from gan_dist.execution.ray.prepare_ahead import BackgroundPreparation

    cluster: Any = ray
    spec = attempt.spec
    cpus = max(1, int(cluster.cluster_resources().get("CPU", 1)))
    if spec.resources.data_cpus != "auto":
        cpus = min(cpus, spec.resources.data_cpus)
    reading = BackgroundPreparation(
        data=spec.data,
        cache=attempt.folder.prepared(),
        cpus=cpus,
        stand_in_of=spec.batch if attempt.request.mode == "smoke" else None,
        progress=preparation_progress(attempt.emit),
        encoding=encoding_progress(attempt.emit),
    )
    # Torch comes with these imports and takes seconds, in which the data are read.
    if spec.sweep is not None:
        from gan_dist.sweeps.ray_tune import run_sweep

        return run_sweep(attempt, reading)
    from gan_dist.execution.ray.run import run_job

    return run_job(attempt, reading)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # A fit that never got its workers still runs in a thread that nothing can end; the process ends it.
    os._exit(code)
