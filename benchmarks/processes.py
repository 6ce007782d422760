"""Iterations/s of R3GAN by processes that reduce gradients, beside one process that has none to reduce.

    python -m benchmarks.processes [--device cuda] [--seconds 10]

One process in a group of one, by NCCL on a GPU and gloo on a CPU, shows what hooks and buckets cost: wanted is at least
0.95 of the process without a group. Two processes share the batch, by gloo in both cases, for NCCL takes no two on one
GPU: on a GPU that only shows that it works, for gloo copies every gradient through the machine's memory, and on two
cores at least 1.5 is wanted. Rates are by the clock, so that nothing else should run.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from gan_dist.distributed.runtime import DistributedRuntime, LocalRuntime
from gan_dist.execution.local import read_rows
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.training.trainer import train_run

WIDTHS = {"cpu": (48, 32), "cuda": (384, 256)}  # and the batch
WARM_S = 5.0


def job(device: str) -> JobSpec:
    width, batch = WIDTHS[device]
    network = {"use": "r3gan", "width": width}
    never = dict.fromkeys(("report", "grid", "checkpoint", "metrics"), "1G")
    return JobSpec.model_validate(
        {
            "version": 1,
            "name": "processes",
            "data": {"source": "digits", "size": 32, "channels": 3},
            "generator": network,
            "discriminator": network,
            "objective": "relativistic",
            "penalties": [{"use": "r1", "gamma": 0.5}, {"use": "r2", "gamma": 0.5}],
            "batch": batch,
            "until": "1G",
            "metrics": [],
            "every": never,
        }
    )


class Clocked:
    """Asks for a stop after so many seconds, and counts iterations once it is warm."""

    def __init__(self, seconds: float) -> None:
        self.began, self.seconds = time.perf_counter(), seconds
        self.warm, self.last, self.counted = 0.0, 0.0, -1

    def __call__(self) -> bool:
        now = time.perf_counter()
        if now - self.began > WARM_S:
            self.warm, self.last, self.counted = self.warm or now, now, self.counted + 1
        return now - self.began > WARM_S + self.seconds

    def rate(self) -> float:
        return self.counted / (self.last - self.warm)


def trained(rank: int, world: int, backend: str, device: str, seconds: float, root: str, port: int) -> None:
    """One process; the first one leaves its rate in `root`."""
    torch.set_num_threads(1)
    clocked, where = Clocked(seconds), torch.device(device)
    if backend:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        dist.init_process_group(backend, rank=rank, world_size=world)
        run: Any = DistributedRuntime(where, lambda event: None, clocked)
    else:
        run = LocalRuntime(where, lambda event: None, clocked)
    spec = job(device)
    rows = read_rows(spec, Folder.at(f"{root}/data-{rank}"), smoke=False, emit=lambda event: None)
    clocked.began = time.perf_counter()
    train_run(spec, run=run, rows=rows, folder=RunFolder(Folder.at(f"{root}/run")), attempt=1)
    if rank == 0:
        Path(root, "rate").write_text(str(clocked.rate()))
    if backend:
        dist.destroy_process_group()


def rate(world: int, backend: str, device: str, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as root, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        mp.spawn(trained, args=(world, backend, device, seconds, root, port), nprocs=world)
        return float(Path(root, "rate").read_text())


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    asked.add_argument("--seconds", type=float, default=10.0)
    options = asked.parse_args()
    alone = rate(1, "", options.device, options.seconds)
    print(f"alone: {alone:.3g} iterations/s", flush=True)
    for world, backend in ((1, "nccl" if options.device == "cuda" else "gloo"), (2, "gloo")):
        found = rate(world, backend, options.device, options.seconds)
        name = f"{world} by {backend}"
        print(f"{name} 1: ours {found:.4g} iterations/s, other {alone:.4g} iterations/s, ratio {found / alone:.3f}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
