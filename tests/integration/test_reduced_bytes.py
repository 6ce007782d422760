"""What is reduced in an iteration: the gradients of the networks that are stepped, once each, and nothing else but a
flag for each parameter and the three flags of the control reduction."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from gan_dist.distributed.runtime import DistributedRuntime, WrappedNetwork
from tests.integration.gang import Training, leave, start, train_one
from tests.integration.test_rank_equality import job

pytestmark = pytest.mark.dist
STEPS, CONTROL = 3, 3
JOBS = {
    "plain": job(every={"report": "1G"}),
    "two D steps, accumulated, r1": job(
        objective={"use": "hinge", "d_steps": 2}, micro_batch=4, penalties=[{"use": "r1"}], every={"report": "1G"}
    ),
}


class CountingRun(DistributedRuntime):
    """Notes how many numbers and tensors each network trains."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sizes: list[tuple[int, int]] = []

    def wire(self, *args: Any) -> WrappedNetwork:
        net = super().wire(*args)
        parameters = list(net.module.parameters())
        self.sizes.append((sum(p.numel() for p in parameters), len(parameters)))
        return net


def _member(rank: int, rendezvous: str, results: str) -> None:
    torch.set_num_threads(1)
    reduce, counted = dist.all_reduce, {}
    sent: list[int] = []

    def counting(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        sent.append(tensor.numel())
        return reduce(tensor, *args, **kwargs)

    dist.all_reduce = counting
    for number, (case, one) in enumerate(JOBS.items()):
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}{number}", rank=rank, world_size=2)
        sent.clear()
        run = CountingRun(torch.device("cpu"), lambda event: None, lambda: False)
        train_one(Training(one, f"{results}/{case}"), run)
        counted[case] = (list(sent), run.sizes)
        dist.destroy_process_group()
    if rank == 0:
        torch.save(counted, f"{results}/counted.pt")
    leave()


def test_what_is_reduced_is_the_gradients_of_the_stepped_networks(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        start(_member, (f"{folder}/rendezvous", str(tmp_path)), 2)
    counted = torch.load(tmp_path / "counted.pt")
    for case, d_steps in (("plain", 1), ("two D steps, accumulated, r1", 2)):
        (_first_grid, *sent), (generator, discriminator) = counted[case]
        iteration = [sum(discriminator)] * d_steps + [sum(generator), CONTROL]
        assert sent[: STEPS * len(iteration)] == iteration * STEPS, case
