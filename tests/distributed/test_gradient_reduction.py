"""Our sum of gradients against DistributedDataParallel, and where that one needs care."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gan_dist.distributed import gradient_reduction
from gan_dist.distributed.gradient_reduction import GradientSum, reduce_gradients
from tests.integration.gang import leave, start

WORLD = 3
BUCKETS = {"one each": 1, "some": 600, "one for all": 1 << 20}  # bytes


class Net(nn.Module):
    """Layers of two layouts, one of which a caller may leave out."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3).to(memory_format=torch.channels_last)
        self.second = nn.Conv2d(4, 3, 3)
        self.extra = nn.Linear(3, 1)

    def forward(self, x: Tensor, with_extra: bool) -> Tensor:
        features = self.second(torch.relu(self.first(x))).mean((2, 3))
        return self.extra(features).sum() if with_extra else features.sum()

    def aside(self, x: Tensor) -> Tensor:
        return self.first(x).square().sum()


def net() -> Net:
    torch.manual_seed(0)
    return Net().double()


def data(rank: int, number: int = 0) -> Tensor:
    return torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(10 * number + rank), dtype=torch.float64)


def gradients(module: nn.Module) -> dict[str, Tensor | None]:
    return {name: None if p.grad is None else p.grad.clone() for name, p in module.named_parameters()}


def _cases(rank: int) -> dict[str, list[dict[str, Tensor | None]]]:
    found: dict[str, list[dict[str, Tensor | None]]] = {}
    ours, sums = net(), []
    sums.append(GradientSum(list(ours.parameters())))
    theirs = net()
    parallel = DistributedDataParallel(theirs, find_unused_parameters=True)
    for case, uses in (("all", [True] * WORLD), ("unused", [False] * WORLD), ("on one worker", [True, False, False])):
        ours.zero_grad()
        theirs.zero_grad()
        with reduce_gradients(sums):
            ours(data(rank), uses[rank]).backward()
        (WORLD * parallel(data(rank), uses[rank])).backward()
        found[case] = [gradients(ours), gradients(theirs)]
    ours.zero_grad()
    for number in range(3):
        if number < 2:
            ours(data(rank, number), number == 0).backward()
        else:
            with reduce_gradients(sums):
                ours(data(rank, number), False).backward()
    alone = net()
    for other in range(WORLD):
        for number in range(3):
            alone(data(other, number), number == 0).backward()
    found["accumulated"] = [gradients(ours), gradients(alone)]
    ours.zero_grad()
    with reduce_gradients(sums):
        x = data(rank).requires_grad_()
        (slope,) = torch.autograd.grad(ours(x, True), x, create_graph=True)
        (slope.square().sum() + ours.aside(x)).backward()
    alone = net()
    for other in range(WORLD):
        x = data(other).requires_grad_()
        (slope,) = torch.autograd.grad(alone(x, True), x, create_graph=True)
        (slope.square().sum() + alone.aside(x)).backward()
    found["penalty, and another method"] = [gradients(ours), gradients(alone)]
    one, other = net(), net()
    each = [GradientSum(list(one.parameters())), GradientSum(list(other.parameters()))]
    with reduce_gradients(each):
        (one(data(rank), rank != 1) + other(data(rank, 7), rank == 1)).backward()
    alone, another = net(), net()
    for worker in range(WORLD):
        (alone(data(worker), worker != 1) + another(data(worker, 7), worker == 1)).backward()
    found["two networks at once, the first"] = [gradients(one), gradients(alone)]
    found["two networks at once, the second"] = [gradients(other), gradients(another)]
    return found


def _member(rank: int, rendezvous: str, results: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=WORLD)
    for size in BUCKETS.values():
        gradient_reduction.FIRST_BYTES = gradient_reduction.BUCKET_BYTES = size
        torch.save(_cases(rank), f"{results}/{size}-{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    leave()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sums")
    start(_member, (str(folder / "rendezvous"), str(folder)), WORLD)
    return folder


@pytest.mark.dist
@pytest.mark.parametrize("buckets", BUCKETS)
def test_sums_are_those_of_ddp_and_of_one_process(results: Path, buckets: str) -> None:
    ranks = [torch.load(results / f"{BUCKETS[buckets]}-{rank}.pt") for rank in range(WORLD)]
    assert ranks[0]["unused"][0]["extra.weight"] is None
    for case, (ours, expected) in ranks[0].items():
        for name, value in ours.items():
            for other in ranks[1:]:
                same = other[case][0][name]
                assert (value is None) == (same is None), (case, name)
                assert value is None or torch.equal(value, same), (case, name)
            if expected[name] is None:
                assert value is None, (case, name)
            elif value is not None or expected[name].any():
                torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=1e-12, msg=f"{case}: {name}")


def test_a_gradient_that_is_completed_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Linear(3, 1)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor, async_op: object())
    with (
        pytest.raises(ValueError, match="use_reentrant=False"),
        reduce_gradients([GradientSum(list(module.parameters()))]),
    ):
        module(torch.ones(1, 3)).sum().backward()
        module(torch.ones(1, 3)).sum().backward()


def test_buckets_follow_backward_and_are_cut_by_size_and_type() -> None:
    sizes = [torch.zeros(300), torch.zeros(10, dtype=torch.float64), torch.zeros(400_000), torch.zeros(5)]
    parameters = [nn.Parameter(values) for values in sizes]
    groups = gradient_reduction._groups(parameters)
    assert [[p.numel() for p in group] for group in groups] == [[5], [400_000], [10], [300]]
    assert [id(p) for group in groups for p in group] == [id(p) for p in reversed(parameters)]
