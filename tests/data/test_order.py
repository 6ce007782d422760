"""The plan of what is served when: exact, new each epoch, and whole over the workers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan_dist.contracts import Phase
from gan_dist.data import order
from gan_dist.data.encoding.image import encode
from gan_dist.data.order import ServingOrder, epoch_samples
from gan_dist.distributed.runtime import LocalRuntime
from gan_dist.training.batches import BatchFactory, StepKey
from tests.helpers import CPU, never, rows_of, small

sizes = st.integers(1, 200).flatmap(lambda batch: st.tuples(st.just(batch), st.integers(batch, 700)))


shards_of = st.lists(st.integers(1, 60), min_size=1, max_size=12).map(tuple)


def global_plan(seed: int, count: int, batch: int) -> ServingOrder:
    return ServingOrder(seed, batch, (count,))


def epoch_of(plan: ServingOrder, epoch: int) -> list[int]:
    whole = epoch_samples(plan.count, plan.batch)
    starts = range(epoch * whole, (epoch + 1) * whole, plan.batch)
    return [int(one) for start in starts for one in plan.positions(start)]


@given(sizes, st.integers(0, 5), st.integers(0, 3))
def test_each_sample_comes_once_per_epoch(size: tuple[int, int], seed: int, epoch: int) -> None:
    batch, count = size
    served = epoch_of(global_plan(seed, count, batch), epoch)
    assert len(served) == len(set(served)) == count // batch * batch
    assert set(served) <= set(range(count))


@given(shards_of, st.integers(1, 30), st.integers(0, 13), st.integers(0, 5), st.integers(0, 3))
def test_windows_serve_each_sample_once_per_epoch(
    shards: tuple[int, ...], batch: int, window: int, seed: int, epoch: int
) -> None:
    plan = ServingOrder(seed, min(batch, sum(shards)), shards, window)
    served = epoch_of(plan, epoch)
    assert len(served) == len(set(served)) == plan.count // plan.batch * plan.batch
    assert set(served) <= set(range(plan.count))


@given(shards_of, st.integers(1, 30), st.integers(1, 5), st.integers(0, 30))
def test_a_batch_lies_in_the_shards_that_were_sent_for(
    shards: tuple[int, ...], batch: int, window: int, iteration: int
) -> None:
    plan = ServingOrder(3, min(batch, min(shards)), shards, window)
    drawn = iteration * plan.batch
    positions = plan.positions(drawn)
    needed = set(np.searchsorted(np.cumsum(shards), positions, side="right").tolist())
    assert needed <= set(plan.shards_from(drawn, 2))
    assert len(plan.shards_from(drawn, 2)) <= 2 * window


def test_a_window_mixes_its_shards_and_no_others() -> None:
    plan = ServingOrder(0, 10, (100,) * 8, window=2)
    whole = [set(plan.positions(drawn) // 100) for drawn in range(0, 800, 10)]
    assert all(len(shards) == 2 for shards in whole)
    assert [whole[start] for start in range(0, 80, 20)] == [whole[start + 19] for start in range(0, 80, 20)]
    within = plan.positions(0)
    assert sorted(within.tolist()) != within.tolist()


def test_what_one_epoch_leaves_out_another_serves() -> None:
    served = [set(epoch_of(global_plan(0, 30, 8), epoch)) for epoch in range(6)]
    assert all(len(one) == 24 for one in served) and set().union(*served) == set(range(30))


@pytest.mark.parametrize("window", [0, 2])
def test_each_epoch_has_a_new_order_and_each_seed_its_own(window: int) -> None:
    orders = {
        tuple(epoch_of(ServingOrder(seed, 5, (10,) * 5, window), epoch)) for seed in range(4) for epoch in range(4)
    }
    assert len(orders) == 16


@given(st.integers(0, 60), st.integers(0, 2**40), st.integers(0, 3))
def test_position_is_exact_from_anywhere(iteration: int, seed: int, window: int) -> None:
    plan = ServingOrder(seed, 8, (9, 20, 1, 15), window)
    in_turn = [plan.positions(earlier * 8) for earlier in range(iteration + 1)]
    order.shuffle.cache_clear()
    assert np.array_equal(ServingOrder(seed, 8, (9, 20, 1, 15), window).positions(iteration * 8), in_turn[-1])


def test_fewer_samples_than_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^batch: 64 is larger than the data \(63 samples\)$"):
        global_plan(0, 63, 64).positions(0)


class Worker(LocalRuntime):
    """One of several, as far as the data go."""

    def __init__(self, rank: int, world: int) -> None:
        super().__init__(CPU, lambda event: None, never)
        self.rank, self.world = rank, world  # type: ignore[misc]


def served_to(rank: int, world: int, micro: int, drawn: int) -> torch.Tensor:
    spec = small(batch=26, data={"source": "digits", "size": 8, "labels": "source"})
    rows, run = rows_of(spec), Worker(rank, world)
    from gan_dist.registry.build import build_networks

    wired = run.wire(build_networks(spec, rows.facts)["generator"], False, torch.no_grad)
    feed = BatchFactory(
        rows=rows,
        generator=wired,
        run=run,
        seed=0,
        batch=26,
        micro_batch=micro,
        dtype=torch.float64,
        encode=lambda pixels, _: (encode(pixels, run.device, torch.float64), None),
    )
    batches = list(feed.draw(StepKey(0, drawn, "D", 0), Phase("D", ("discriminator",))))
    assert len(batches) == feed.micros and all(len(batch.real) == batch.n for batch in batches)
    return torch.cat([torch.cat([b.real.flatten(1), b.cond[:, None], b.noise], 1) for b in batches])


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("micro", [4, 8, 26])
def test_the_workers_together_get_the_global_batch(world: int, micro: int) -> None:
    spec = small(batch=26, data={"source": "digits", "size": 8, "labels": "source"})
    rows = rows_of(spec)
    pixels, labels = rows.rows(rows.positions(52))
    together = torch.cat([served_to(rank, world, micro, 52) for rank in range(world)])
    assert torch.equal(together[:, :64], (pixels.double() / 127.5 - 1).flatten(1))
    assert torch.equal(together[:, 64], labels.double())
    assert torch.equal(together, served_to(0, 1, 26, 52))  # the noise as well


class Many(tuple[int, ...]):
    """Shards of which there are too many to look at each for every batch."""

    def __hash__(self) -> int:
        raise AssertionError("all shards were read for a batch")


def test_what_is_remembered_is_found_without_reading_all_shards() -> None:
    order = ServingOrder(0, 4, Many((8, 8, 8)), 2)
    assert order.positions(0).tolist() != order.positions(4).tolist()
    assert order.shards_from(0, 1) == order.shards_from(4, 1)
