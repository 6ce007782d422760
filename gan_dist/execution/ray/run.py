"""A run inside the cluster, seen from its driver.

It reads the data with Ray Data, starts the workers with Ray Train, passes their events on, and records the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gan_dist.data.executors import blocks_of
from gan_dist.data.facts import DataFacts
from gan_dist.data.ingest import choose_ingest
from gan_dist.data.prepare import Prepared
from gan_dist.distributed.lanes import lanes_of
from gan_dist.errors import (
    OutOfMemory,
    PreflightError,
    ProcessLost,
    RunStopped,
    TrainingDiverged,
    UsageError,
    UserCodeError,
)
from gan_dist.execution.attempt import Attempt
from gan_dist.execution.preflight import data_problems, describe, earlier_window
from gan_dist.execution.ray.losses import first_line, telling_losses
from gan_dist.execution.ray.prepare_ahead import BackgroundPreparation
from gan_dist.execution.ray.resources import ResolvedResources, resolve_resources, resource_problems
from gan_dist.execution.smoke import Rehearsal, rehearse, with_stand_in_networks
from gan_dist.runs.checkpoint import newest_described
from gan_dist.runs.request import installed_versions, version_differences
from gan_dist.spec.job import JobSpec

DRAIN_S = 0.3
FATAL: dict[str, type[Exception]] = {
    "user": UserCodeError,
    "diverged": TrainingDiverged,
    "memory": OutOfMemory,
    "ours": ValueError,
}


@dataclass(frozen=True)
class PreparedData:
    """What the workers are given: references to blocks and labels in the object store, or shards to stream."""

    found: Prepared
    blocks: list[Any] | None
    labels: Any = None

    @property
    def facts(self) -> DataFacts:
        return self.found.facts


def run_job(attempt: Attempt, reading: BackgroundPreparation) -> dict[str, Any]:
    """Run an attempt to its end, or until its stop is asked for; the result of rank 0. Ray is up."""
    try:
        with telling_losses():
            return run_attempt_on_ray(attempt, reading)
    except ProcessLost as error:
        if not is_complete(attempt):
            raise
        attempt.emit({"event": "warning", "text": f"{error}, but the last checkpoint was written before"})
        return {"ending": "finished", "seen": attempt.until, "values": {}}


def is_complete(attempt: Attempt) -> bool:
    """Whether a run has stored its last checkpoint, so that nothing is left to go on with."""
    if attempt.request.mode != "train" or not attempt.until:
        return False
    found = newest_described(attempt.folder.checkpoints())
    return found is not None and found.seen >= attempt.until


def run_attempt_on_ray(attempt: Attempt, reading: BackgroundPreparation) -> dict[str, Any]:
    """Everything between the lease and the record of the end.

    Raises:
        PreflightError: preflight found what would fail later.
        RunStopped: a stop came before training began.
    """
    import ray

    cluster: Any = ray

    def read() -> PreparedData:
        attempt.emit({"event": "stage", "text": "reading data"})
        return load_into_object_store(
            reading.result(),
            attempt.spec,
            nodes=cluster.nodes(),
            before=earlier_window(attempt.folder),
            emit=attempt.emit,
        )

    return run_with_data(attempt, attempt.spec, read)


def run_with_data(attempt: Attempt, spec: JobSpec, read: Callable[[], PreparedData]) -> dict[str, Any]:
    """Like `run_attempt_on_ray`, with the data that `read` gives and a job that may be shorter. Raises what it
    raises."""
    import ray

    smoke = attempt.request.mode == "smoke"
    spec = with_stand_in_networks(spec, attempt.emit) if smoke else spec
    cluster: Any = ray
    ask = resolve_resources(spec.resources, len(lanes_of(spec.batch)), cluster.cluster_resources(), cluster.nodes())
    problems = resource_problems(spec.resources, ask, attempt.folder.folder)
    if problems:
        raise PreflightError("\n".join(problems))

    for text in version_differences(attempt.request.versions, installed_versions()):
        attempt.emit({"event": "warning", "text": text})

    def prepare() -> PreparedData:
        data = read()
        if problems := data_problems(spec, data.facts, ask.most, attempt.folder):
            raise PreflightError("\n".join(problems))
        attempt.emit({"event": "preflight", "lines": describe(spec, data.facts, ask.most, ask.words)})
        return data

    if not smoke:
        return train_with_workers(attempt, spec, ask, prepare)
    data = prepare()
    rehearsal = Rehearsal(spec, data.facts, attempt.folder, attempt.emit)
    return rehearse(rehearsal, lambda short: train_with_workers(attempt, short, ask, lambda: data))


def load_into_object_store(
    found: Prepared, spec: JobSpec, *, nodes: list[dict[str, Any]], before: int | None, emit: Callable[..., None]
) -> PreparedData:
    """Decide how the data are served, and put them where the workers find them."""
    import ray

    room = min(int(node["Resources"].get("object_store_memory", 0)) for node in nodes if node["Alive"])
    chosen = choose_ingest(spec.data, found.bytes, room, before)
    emit({"event": "stage", "text": f"data come from {chosen.kind}: {chosen.why}"})
    if chosen.kind == "stream":
        return PreparedData(found.served(chosen.window), None)
    return PreparedData(found, blocks_of(found), ray.put(found.column("label")))


def train_with_workers(
    attempt: Attempt, spec: JobSpec, ask: ResolvedResources, prepare: Callable[[], PreparedData]
) -> dict[str, Any]:
    """One Ray Train run; the result of rank 0. The data are prepared while the workers start.

    Raises:
        ValueError: the workers could not start in time, or failed for good.
        UserCodeError: a person's own code raised.
    """
    import ray

    from gan_dist.execution.ray.mailbox import DriverMailbox

    mailbox: Any = ray.remote(num_cpus=0)(DriverMailbox).remote()
    fit = _TrainerThread(attempt, spec, ask, mailbox)
    thread = threading.Thread(target=fit.go, daemon=True)
    thread.start()
    deadline = time.monotonic() + spec.resources.start_deadline
    data = prepare()
    offered = ray.put({"found": data.found, "blocks": data.blocks, "labels": data.labels})
    ray.get(mailbox.offer.remote([offered]))
    started = told = False
    while thread.is_alive():
        for event in ray.get(mailbox.take.remote()):
            attempt.on_event(event)
            if event["event"] != "workers":
                continue
            if started:
                again = "the workers were started again, from the newest checkpoint: one was lost, or more joined"
                attempt.emit({"event": "warning", "text": again})
            started = True
        if attempt.stop.is_set() and not told:
            told = True
            if not started:
                raise RunStopped
            ray.get(mailbox.stop.remote())
            attempt.emit({"event": "stage", "text": "stopping: saving a checkpoint"})
        if not started and time.monotonic() > deadline:
            raise UsageError(_start_deadline_message(spec, ask))
        thread.join(DRAIN_S)
    for event in ray.get(mailbox.take.remote()):
        attempt.on_event(event)
    fatal = ray.get(mailbox.fatal.remote())
    ray.kill(mailbox)
    attempt.folder.folder.delete("ray")
    return fit.outcome(fatal)


class _TrainerThread:
    """`TorchTrainer.fit()` off the main thread, where Train installs no signal handler of its own."""

    def __init__(self, attempt: Attempt, spec: JobSpec, ask: ResolvedResources, mailbox: Any) -> None:
        self.attempt, self.spec, self.ask, self.mailbox = attempt, spec, ask, mailbox
        self.result: dict[str, Any] | None = None
        self.error: Exception | None = None

    def go(self) -> None:
        from gan_dist.execution.ray.worker import train_on_worker
        from gan_dist.execution.ray.worker_group import make_trainer

        config = {
            "request": self.attempt.request.to_json(),
            "spec": self.spec.model_dump_json(by_alias=True),
            "mailbox": self.mailbox,
        }
        folder, name = self.attempt.folder.folder.child("ray"), self.attempt.request.submission_id
        trainer = make_trainer(
            train_on_worker,
            config,
            ask=self.ask,
            folder=folder,
            name=name,
            max_failures=self.spec.resources.max_failures,
        )
        try:
            result: Any = trainer.fit()
            self.result = result.return_value
        except Exception as error:
            self.error = error

    def outcome(self, fatal: dict[str, str] | None) -> dict[str, Any]:
        from ray.exceptions import RayError

        if fatal is not None:
            raise FATAL[fatal["kind"]](fatal["text"])
        if isinstance(self.error, RayError):
            raise self.error
        if self.error is not None:
            raise UsageError(f"the workers failed for good: {first_line(self.error)}") from self.error
        assert self.result is not None
        return self.result


def _start_deadline_message(spec: JobSpec, ask: ResolvedResources) -> str:
    return (
        f"resources.start_deadline: after {spec.resources.start_deadline} s the cluster has not given "
        f"{ask.asked}; it has {ask.available}"
    )
