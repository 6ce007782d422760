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
    CheckpointError,
    OutOfMemory,
    PreflightError,
    ProcessLost,
    RunStopped,
    StorageError,
    TrainingDiverged,
    UsageError,
    UserCodeError,
)
from gan_dist.execution.attempt import Attempt
from gan_dist.execution.preflight import data_problems, describe, earlier_window
from gan_dist.execution.ray.gauges import RunGauges
from gan_dist.execution.ray.losses import first_line, telling_losses
from gan_dist.execution.ray.nodes import NodeWatch, on_this_node
from gan_dist.execution.ray.prepare_ahead import BackgroundPreparation
from gan_dist.execution.ray.resources import ResolvedResources, resolve_resources, resource_problems
from gan_dist.execution.smoke import Rehearsal, rehearse, with_stand_in_networks
from gan_dist.runs.checkpoint import newest_described
from gan_dist.runs.request import installed_versions, version_differences
from gan_dist.spec.job import JobSpec

DRAIN_S = 0.3
TELL_EVERY_S = 15.0
LOOK_EVERY_S = 2.0  # at the nodes
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
    there, nodes = cluster.cluster_resources(), cluster.nodes()
    ask = resolve_resources(spec.resources, len(lanes_of(spec.batch)), there, nodes)
    problems = resource_problems(ask, attempt.folder.folder, there, nodes)
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
    group = _WorkerGroup(attempt, spec, ask)
    began = time.monotonic()
    data = prepare()
    group.offer({"found": data.found, "blocks": data.blocks, "labels": data.labels})
    told, looked = False, began
    while group.thread.is_alive():
        group.pass_events_on()
        if attempt.stop.is_set() and not told:
            told = True
            if not group.starts:
                raise RunStopped
            group.stop()
            attempt.emit({"event": "stage", "text": "stopping: saving a checkpoint"})
        waited = time.monotonic() - began
        if not group.starts and waited > spec.resources.start_deadline:
            raise UsageError(
                f"resources.start_deadline: after {spec.resources.start_deadline} s the cluster has not given "
                f"{ask.asked}; it has {_what_is_there()}"
            )
        if not group.starts and time.monotonic() - looked > TELL_EVERY_S:
            looked = time.monotonic()
            attempt.emit({"event": "stage", "text": _waiting_for_workers(ask, waited)})
        group.thread.join(DRAIN_S)
    return group.end()


class _WorkerGroup:
    """The workers of an attempt, through the mailbox between them and this driver.

    The mailbox lives on this driver's node, whose loss ends the attempt anyway. One that dies alone is started again by
    Ray, and given again what it held.
    """

    def __init__(self, attempt: Attempt, spec: JobSpec, ask: ResolvedResources) -> None:
        import ray

        from gan_dist.execution.ray.mailbox import DriverMailbox

        self.attempt, self.spec = attempt, spec
        self.starts = 0
        self._nodes = NodeWatch()
        self._nodes_lost = 0
        self._gauges = RunGauges(attempt.request.run_id)
        self._show_losses()
        self._looked = time.monotonic()
        self._data: list[Any] = []
        self._stops = False
        options = on_this_node() | {"max_restarts": -1, "max_task_retries": -1}
        self._mailbox: Any = ray.remote(**options)(DriverMailbox).remote()
        self._fit = _TrainerThread(attempt, spec, ask, self._mailbox)
        self.thread = threading.Thread(target=self._fit.go, daemon=True)
        self.thread.start()

    def offer(self, data: dict[str, Any]) -> None:
        """Give the workers their data."""
        import ray

        self._data = [ray.put(data)]
        ray.get(self._mailbox.offer.remote(self._data))

    def stop(self) -> None:
        """Ask for a checkpoint and an end."""
        import ray

        self._stops = True
        ray.get(self._mailbox.stop.remote())

    def pass_events_on(self) -> None:
        """Take what the workers have said, and look at the nodes now and then."""
        import ray

        events, full = ray.get(self._mailbox.take.remote())
        if self._data and not full:
            ray.get(self._mailbox.offer.remote(self._data))
            if self._stops:
                ray.get(self._mailbox.stop.remote())
        for event in events:
            self.attempt.on_event(event)
            self.starts = self.starts or int(event["event"] != "workers")  # who speaks has started, whatever was lost
            if event["event"] == "workers":
                if self.starts:
                    told = self._restarted(event["count"])
                    self._show_losses()
                    self.attempt.emit({"event": "warning", "text": told, "about": "restart"})
                self.starts += 1
        if time.monotonic() - self._looked > LOOK_EVERY_S:
            self._looked = time.monotonic()
            for text in self._nodes.leaving():
                self.attempt.emit({"event": "warning", "text": text})
                ray.get(self._mailbox.save.remote())

    def _show_losses(self) -> None:
        self._gauges.show("restarts", self.starts)
        self._gauges.show("nodes_lost", self._nodes_lost)

    def _restarted(self, count: int) -> str:
        """Why and from where the workers were started again, in one line."""
        lost = self._nodes.lost()
        self._nodes_lost += len(lost)
        what = (
            f"node{'s' if len(lost) > 1 else ''} {', '.join(lost)} lost"
            if lost
            else "a worker was lost, or more joined"
        )
        try:
            found = newest_described(self.attempt.folder.checkpoints())
            where = f"{found.seen:,}" if found is not None else "the beginning"
        except (CheckpointError, StorageError, OSError):
            where = "its newest checkpoint"
        # Ray counts neither workers that join an elastic run nor nodes that it was warned of.
        most = self.spec.resources.max_failures
        of = f" of {most}" if isinstance(self.spec.resources.workers, int | str) and self.starts <= most else ""
        return f"{what}; restart {self.starts}{of} from {where}, with {count} workers"

    def end(self) -> dict[str, Any]:
        """The result of rank 0, once the group has ended.

        Raises:
            ValueError: the workers failed for good.
            UserCodeError: a person's own code raised.
        """
        import ray

        self.pass_events_on()
        fatal = ray.get(self._mailbox.fatal.remote())
        ray.kill(self._mailbox)
        self.attempt.folder.folder.delete("ray")
        return self._fit.outcome(fatal)


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
            "lease": self.attempt.lease,
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
            cause = _cause(self.error)
            if isinstance(cause, ProcessLost):
                raise cause from self.error
            raise UsageError(f"the workers failed for good: {first_line(cause)}") from self.error
        assert self.result is not None
        return self.result


def _cause(error: Exception) -> Exception:
    """What Ray Train's error is about: an exception of its controller, or of the first worker."""
    workers = getattr(error, "worker_failures", None) or {}
    inner = getattr(error, "controller_failure", None) or next(iter(workers.values()), None)
    inner = inner or getattr(error, "cause", None)  # of a RayTaskError
    return error if inner is None or inner is error else _cause(inner)


def _waiting_for_workers(ask: ResolvedResources, waited: float) -> str:
    nodes = ", for which nodes are started" if ask.autoscale else ""
    return f"waiting {waited:.0f} s for {ask.asked}{nodes}; the cluster has {_what_is_there()}"


def _what_is_there() -> str:
    """What the cluster has now, and how much of it nobody holds."""
    import ray

    cluster: Any = ray
    there, free = cluster.cluster_resources(), cluster.available_resources()
    parts = [f"{there.get(kind, 0):g} {kind}s, {free.get(kind, 0):g} of them free" for kind in ("CPU", "GPU")]
    return " and ".join(parts)
