"""How the workers of one machine find each other: through a file, where torch's own store would listen on every
network interface."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ray.train.backend import Backend
from ray.train.torch import TorchConfig


@dataclass
class OneMachine(TorchConfig):
    """`TorchConfig` for workers that share one machine; NCCL with GPUs, else gloo, both on the loopback device."""

    @property
    def backend_cls(self) -> type[Backend]:
        return _FileRendezvous


class _FileRendezvous(Backend):
    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        import ray

        gpus = worker_group.get_resources_per_worker().get("GPU", 0)
        backend = backend_config.backend or ("nccl" if gpus else "gloo")
        path = Path(tempfile.mkdtemp(prefix="gan-dist-")) / "rendezvous"
        world = len(worker_group)
        joining = [
            worker_group.execute_single_async(rank, _join, str(path), backend, rank, world, backend_config.timeout_s)
            for rank in range(world)
        ]
        ray.get(joining)

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute_async(_leave)


def _join(path: str, backend: str, rank: int, world: int, timeout_s: int) -> None:
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
