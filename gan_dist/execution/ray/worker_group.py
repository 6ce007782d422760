"""A group of workers by Ray Train, joined by `torch.distributed`."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.train.backend import Backend
from ray.train.torch import TorchConfig

from gan_dist.execution.ray.private import start_on_all_workers, start_on_each_worker, workers_have_gpus
from gan_dist.execution.ray.resources import ResolvedResources
from gan_dist.runs.storage import Folder

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer


def make_torch_trainer(
    worker: Callable[[dict[str, Any]], Any],
    config: dict[str, Any],
    *,
    ask: ResolvedResources,
    folder: Folder,
    name: str,
    max_failures: int = 0,
) -> TorchTrainer:
    """What runs `worker(config)` on each of the workers asked for; its result is that of rank 0.

    Args:
        folder: where Ray Train keeps its own records, seen by every node.
        name: of this group among others there.
        max_failures: how often the workers are started again when one is lost.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    system, path = folder.open()
    workers: Any = ask.workers
    return TorchTrainer(
        worker,
        train_loop_config=config | {"threads": max(1, int(ask.cpus_per_worker))},
        torch_config=OneMachine() if ask.nodes == 1 else TorchConfig(),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=ask.gpu, resources_per_worker=ask.per_worker),
        run_config=RunConfig(
            name=f"{name}-{time.time_ns()}",
            storage_path=path,
            storage_filesystem=system,
            failure_config=FailureConfig(max_failures=max_failures),
        ),
    )


@dataclass
class OneMachine(TorchConfig):
    """How the workers of one machine find each other: through a file, where torch's own store would listen on every
    network interface.

    `TorchConfig` for workers that share one machine; NCCL with GPUs, else gloo, both on the loopback device.
    """

    @property
    def backend_cls(self) -> type[Backend]:
        return _FileRendezvous


RENDEZVOUS = "gan-dist-rendezvous-"
FORGOTTEN_S = 3600.0


def rendezvous_folder() -> Path:
    """A new folder of this process, which names it; those of processes that were killed are removed."""
    import psutil

    for left in Path(tempfile.gettempdir()).glob(f"{RENDEZVOUS}*"):
        pid = left.name.removeprefix(RENDEZVOUS).partition("-")[0]
        # Containers may share the folder and not the numbers of their processes: what is young may be in use.
        with contextlib.suppress(OSError):
            if pid.isdecimal() and not psutil.pid_exists(int(pid)) and time.time() - left.stat().st_mtime > FORGOTTEN_S:
                shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{RENDEZVOUS}{os.getpid()}-"))


class _FileRendezvous(Backend):
    share_cuda_visible_devices = True

    def __init__(self) -> None:
        self._folders: list[Path] = []

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        import ray

        backend = backend_config.backend or ("nccl" if workers_have_gpus(worker_group) else "gloo")
        self._folders.append(rendezvous_folder())
        path = self._folders[-1] / "rendezvous"
        ray.get(start_on_each_worker(worker_group, _join, str(path), backend, backend_config.timeout_s))

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        try:
            start_on_all_workers(worker_group, _leave)
        finally:
            while self._folders:
                shutil.rmtree(self._folders.pop(), ignore_errors=True)


def _join(rank: int, world: int, path: str, backend: str, timeout_s: int) -> None:
    import torch.distributed as dist

    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        backend,
        init_method=f"file://{path}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=timeout_s),
    )


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
