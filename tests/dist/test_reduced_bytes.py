"""What is reduced in an iteration: the gradients of the networks that are stepped, once each, and nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from gan_dist.runtime import GroupRun, WiredNet
from tests.dist.gang import Training, train_one
from tests.dist.test_rank_equality import job

pytestmark = pytest.mark.dist
JOBS = {
    "plain": job(),
    "two D steps, accumulated, r1": job(
        objective={"use": "hinge", "d_steps": 2}, micro_batch=4, penalties=[{"use": "r1"}]
    ),
}


class CountingRun(GroupRun):
    """Counts the bytes that each network's gradients put on the wire."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.reduced: list[int] = []
        self.sizes: list[int] = []

    def wire(self, *args: Any) -> WiredNet:
        net = super().wire(*args)

        def hook(group, bucket):  # type: ignore[no-untyped-def]  # torch reads the annotations as types
            self.reduced.append(bucket.buffer().numel() * bucket.buffer().element_size())
            return allreduce_hook(group, bucket)

        net.parallel.register_comm_hook(None, hook)  # type: ignore[operator]
        self.sizes.append(sum(p.numel() * p.element_size() for p in net.module.parameters()))
        return net


def _member(rank: int, rendezvous: str, results: str) -> None:
    torch.set_num_threads(1)
    counted = {}
    for number, (case, one) in enumerate(JOBS.items()):
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}{number}", rank=rank, world_size=2)
        run = CountingRun(torch.device("cpu"), lambda event: None, lambda: False)
        train_one(Training(one, f"{results}/{case}"), run)
        counted[case] = (sum(run.reduced), run.sizes)
        dist.destroy_process_group()
    if rank == 0:
        torch.save(counted, f"{results}/counted.pt")


def test_bytes_reduced_are_those_of_the_stepped_networks(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_member, (f"{folder}/rendezvous", str(tmp_path)), nprocs=2)
    counted = torch.load(tmp_path / "counted.pt")
    steps = 3
    reduced, (generator, discriminator) = counted["plain"]
    assert reduced == steps * (generator + discriminator)
    reduced, (generator, discriminator) = counted["two D steps, accumulated, r1"]
    assert reduced == steps * (generator + 2 * discriminator)
