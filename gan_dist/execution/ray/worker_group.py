"""A group of workers by Ray Train, joined by `torch.distributed`.

Ray Train's controller loads this module, and no torch with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ray.train.backend import Backend, BackendConfig

from gan_dist.errors import ProcessLost
from gan_dist.execution.ray.private import (
    data_parallel_trainer,
    start_on_all_workers,
    start_on_each_worker,
    workers_have_gpus,
)
from gan_dist.execution.ray.resources import ResolvedResources
from gan_dist.runs.storage import Folder


def make_trainer(
    worker: Callable[[dict[str, Any]], Any],
    config: dict[str, Any],
    *,
    ask: ResolvedResources,
    folder: Folder,
    name: str,
    max_failures: int = 0,
) -> Any:
    """A trainer of Ray Train whose `fit()` runs `worker(config)` on each worker; the result is rank 0's.

    Args:
        folder: where Ray Train keeps its own records, seen by every node.
        name: of this group among others there.
        max_failures: how often the workers are started again when one is lost.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    system, path = folder.open()
    scaling: Any = ScalingConfig  # its types are narrower than what it takes
    return data_parallel_trainer()(
        worker,
        train_loop_config=config | {"threads": max(1, int(ask.cpus_per_worker))},
        backend_config=ProcessGroup(),
        scaling_config=scaling(
            num_workers=ask.workers,
            use_gpu=ask.gpu,
            resources_per_worker=ask.per_worker,
            placement_strategy=ask.strategy,
            accelerator_type=ask.accelerator,
            label_selector=dict(ask.labels) or None,
        ),
        run_config=RunConfig(
            name=f"{name}-{time.time_ns()}",
            storage_path=path,
            storage_filesystem=system,
            failure_config=FailureConfig(max_failures=max_failures),
        ),
    )


@dataclass
class ProcessGroup(BackendConfig):
    """How the workers find each other: NCCL with GPUs, else gloo.

    Workers of one machine meet through a file and speak over the loopback device, where torch's own store would listen
    on every network interface. Workers of several meet at rank 0, by the address that Ray knows its node by.

    Ray's `TorchConfig` does the second, and imports torch in the driver and in Ray Train's controller, which need none.

    Args:
        timeout_s: how long one waits for another in an operation.
    """

    timeout_s: int = 1800

    @property
    def backend_cls(self) -> type[Backend]:
        return _Rendezvous

    @property
    def train_func_context(self) -> type[AbstractContextManager[None]]:
        return OwnDevice


class OwnDevice(AbstractContextManager[None]):
    """Inside, torch's current GPU is the one that Ray Train has given to this worker."""

    def __enter__(self) -> None:
        import torch
        from ray.train.torch import get_device

        if (device := get_device()).type == "cuda":
            torch.cuda.set_device(device)

    def __exit__(self, *raised: object) -> None:
        return None


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


class _Rendezvous(Backend):
    share_cuda_visible_devices = True

    def __init__(self) -> None:
        self._folders: list[Path] = []

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        import ray

        backend = "nccl" if workers_have_gpus(worker_group) else "gloo"
        nodes = set(ray.get(start_on_each_worker(worker_group, node_id)))
        if nodes == {node_id(0, 1)}:
            self._folders.append(rendezvous_folder())
            where = f"file://{self._folders[-1] / 'rendezvous'}"
        else:
            where = f"tcp://{ray.get(start_on_each_worker(worker_group, free_address)[0])}"
        ray.get(start_on_each_worker(worker_group, _join, where, backend, backend_config.timeout_s))

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        try:
            start_on_all_workers(worker_group, _leave)
        finally:
            while self._folders:
                shutil.rmtree(self._folders.pop(), ignore_errors=True)


def free_address(rank: int, world: int) -> str:
    """HOST:PORT where rank 0 can be met; empty for the others."""
    if rank:
        return ""
    host = node_address()
    family, shown = (socket.AF_INET6, f"[{host}]") if ":" in host else (socket.AF_INET, host)
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.bind(("", 0))
        return f"{shown}:{tried.getsockname()[1]}"


def node_id(rank: int, world: int) -> str:
    """The node that this process runs on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def node_address() -> str:
    """The address that Ray knows this node by."""
    import ray.util

    asked: Any = ray.util
    return str(asked.get_node_ip_address())


def interface_of(address: str) -> str | None:
    """The network interface of this machine that has an address; None where none has, as behind a translation of
    addresses."""
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address.partition("%")[0] == address for one in addresses):
            return str(name)
    return None


INTERFACES = {"gloo": "GLOO_SOCKET_IFNAME", "nccl": "NCCL_SOCKET_IFNAME"}  # what torch's backends listen on
LOOPBACK_INTERFACE = "lo"


def _join(rank: int, world: int, where: str, backend: str, timeout_s: int) -> None:
    import torch.distributed as dist

    variable = INTERFACES[backend]
    if sys.platform == "linux":
        if where.startswith("file:"):
            os.environ |= dict.fromkeys(INTERFACES.values(), LOOPBACK_INTERFACE)
        elif variable not in os.environ and (chosen := interface_of(node_address())):
            # By itself torch takes the interface of this host's name, which may be 127.0.1.1 or in no name server.
            os.environ[variable] = chosen
    try:
        dist.init_process_group(
            backend, init_method=where, rank=rank, world_size=world, timeout=timedelta(seconds=timeout_s)
        )
    except Exception as error:
        raise ProcessLost(
            f"worker {rank} of {world} did not meet the others at {where} by {variable}="
            f"{os.environ.get(variable, '')}; set {variable} on the nodes for another interface: {error}"
        ) from error


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
