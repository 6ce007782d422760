"""A worker inside Ray Train: the process group is there; this connects it to the driver and trains."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from gan_dist.events import Emit, Event

if TYPE_CHECKING:
    from gan_dist.data.ingest import Memory, Stream
    from gan_dist.spec.job import JobSpec

# Ray Train's controller loads this module before it starts the workers: what only they need is imported in them.

POLL_S = 0.5
# What a worker sees when another one dies is no fault of the job: Ray Train starts the workers again.
LOST_PEER = (
    "Connection closed by peer",
    "Connection reset by peer",
    "gloo",
    "NCCL",
    "ProcessGroup",
    "Broken pipe",
)


def train_on_worker(config: dict[str, Any]) -> dict[str, Any]:
    """What Ray Train runs on each worker; rank 0's return value becomes the result."""
    import ray
    import torch
    from ray.train import get_context
    from ray.train.torch import get_device

    from gan_dist.distributed.runtime import DistributedRuntime
    from gan_dist.execution.node_secrets import read_secrets
    from gan_dist.registry.trust import own_code
    from gan_dist.runs.request import RunRequest
    from gan_dist.runs.run_folder import RunFolder
    from gan_dist.runs.storage import Folder
    from gan_dist.spec.job import JobSpec
    from gan_dist.training.trainer import train_run

    mailbox = config["mailbox"]
    if ray.get(mailbox.fatal.remote()) is not None:
        return {"ending": "failed", "seen": 0, "values": {}}
    request = RunRequest.from_json(config["request"])
    spec = JobSpec.model_validate_json(config["spec"])
    if problems := read_secrets(spec.environment.secrets):  # of a node that came when the others had been looked at
        ray.get(mailbox.fail.remote({"text": "\n".join(problems), "kind": "ours"}))
        return {"ending": "failed", "seen": 0, "values": {}}
    torch.set_num_threads(config["threads"])
    rank = get_context().get_world_rank()
    wishes = _Wishes(mailbox, rank)
    emit = _emitter(mailbox, request.run_id)
    run = DistributedRuntime(get_device(), emit=emit, stopping=wishes.stop, saving=wishes.save)
    if rank == 0:
        run.emit({"event": "workers", "count": run.world, "time": time.time()})
    folder = RunFolder(Folder(request.uri, config["lease"].check))
    try:
        (data,) = ray.get(mailbox.data.remote())
        rows = _rows(ray.get(data), spec)
        return train_run(
            spec, run=run, rows=rows, folder=folder, attempt=request.attempt, start_from=request.start_from
        )
    except Exception as raised:
        # A task's own exception, such as that of a damaged shard, comes wrapped.
        error = raised.cause if isinstance(raised, ray.exceptions.RayTaskError) else raised
        if not _infrastructure(error):
            ray.get(mailbox.fail.remote(describe_error(error, own_code(spec))))
        # The driver tells what happened; Ray Train would print the traceback of each worker besides.
        logging.getLogger("ray.train").setLevel(logging.CRITICAL)
        raise


def _rows(data: dict[str, Any], spec: JobSpec) -> Memory | Stream:
    """The ingest that the driver decided on."""
    import ray

    from gan_dist.data.ingest import Memory, Stream

    found = data["found"]
    if data["blocks"] is None:
        return Stream(found, found.facts.window, spec.seed, spec.batch)
    return Memory(
        blocks=ray.get(data["blocks"]),
        labels=ray.get(data["labels"]),
        facts=found.facts,
        seed=spec.seed,
        batch=spec.batch,
        vectors=found.vectors,
    )


def describe_error(error: Exception, own: Collection[str] = ()) -> dict[str, str]:
    """An error as the driver shows it: a person's own code with its traceback, ours as its text.

    Args:
        own: what the job names of the person's own.
    """
    from gan_dist.errors import TrainingDiverged
    from gan_dist.execution.user_code import is_out_of_memory, user_error

    if is_out_of_memory(error):
        return {"text": f"out of memory: {error}; lower micro_batch, or leave it at auto", "kind": "memory"}
    if (theirs := user_error(error, own)) is not None:
        return {"text": theirs.text, "kind": "user"}
    if isinstance(error, ValueError):
        return {"text": str(error), "kind": "diverged" if isinstance(error, TrainingDiverged) else "ours"}
    return {"text": f"{type(error).__name__}: {error}", "kind": "ours"}


def _infrastructure(error: Exception) -> bool:
    """Whether an error came from a lost process or node, so that another try may succeed."""
    import ray
    import torch.distributed as dist

    if isinstance(error, (ray.exceptions.RayError, dist.DistError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in LOST_PEER)


def _emitter(mailbox: Any, run_id: str) -> Emit:
    """Sends events to the driver; the numbers of progress also go to Ray's own dashboards."""
    from gan_dist.execution.ray.gauges import RunGauges

    gauges = RunGauges(run_id)

    def emit(event: Event) -> None:
        mailbox.put.remote(event)
        if event["event"] == "progress":
            gauges.progress(event)

    return emit


class _Wishes:
    """What the driver asks for. Rank 0 hears of it through a thread that asks the mailbox; the loop's control reduction
    tells the others."""

    def __init__(self, mailbox: Any, rank: int) -> None:
        self._mailbox = mailbox
        self._stop, self._save = threading.Event(), threading.Event()
        if rank == 0:
            threading.Thread(target=self._listen, daemon=True).start()

    def stop(self) -> bool:
        return self._stop.is_set()

    def save(self) -> bool:
        """Whether a checkpoint was asked for since the last call."""
        asked = self._save.is_set()
        self._save.clear()
        return asked

    def _listen(self) -> None:
        import ray

        heard = 0
        while not self._stop.is_set():
            time.sleep(POLL_S)
            try:
                stop, saves = ray.get(self._mailbox.wishes.remote())
            except ray.exceptions.RayError:
                continue  # the mailbox is being started again
            if saves > heard:
                self._save.set()
            if stop:
                self._stop.set()
            heard = saves
