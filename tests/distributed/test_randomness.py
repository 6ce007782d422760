"""Lanes: every sample of a batch belongs to one worker, and its numbers depend on its place alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gan_dist.distributed.lanes import lane_size, lanes_of, lanes_of_rank, seed_of
from gan_dist.distributed.randomness import Rng, single_lane_rng
from tests.helpers import CPU


@pytest.mark.parametrize("batch", [*range(1, 34), 127, 128, 129, 255, 256, 257, 1000, 4097])
def test_lanes_cover_the_batch_for_any_world(batch: int) -> None:
    lanes = lanes_of(batch)
    for world in {*range(1, min(33, len(lanes)) + 1), len(lanes)}:
        shares = [lanes_of_rank(batch, rank, world) for rank in range(world)]
        assert [sample for share in shares for lane in share for sample in lane] == list(range(batch))
        counts = [len(share) for share in shares]
        assert min(counts) >= 1 and max(counts) - min(counts) <= 1


@given(st.integers(1, 10**6))
def test_lanes_are_few_and_of_one_size(batch: int) -> None:
    lanes, size = lanes_of(batch), lane_size(batch)
    assert len(lanes) <= 4096 and size >= 4
    assert len(lanes) >= min(64, -(-batch // 4)), "a worker for each group of four, and never fewer than 64"
    assert {len(lane) for lane in lanes[:-1]} <= {size} and 1 <= len(lanes[-1]) <= size


@pytest.mark.parametrize(
    ("batch", "size", "count"), [(256, 4, 64), (512, 4, 128), (2048, 8, 256), (65_536, 64, 1024), (1 << 20, 256, 4096)]
)
def test_lanes_grow_with_the_root_of_the_batch(batch: int, size: int, count: int) -> None:
    assert (lane_size(batch), len(lanes_of(batch))) == (size, count)


def test_more_workers_than_lanes_are_refused() -> None:
    with pytest.raises(ValueError) as caught:
        lanes_of_rank(64, 0, 17)
    assert str(caught.value) == (
        "batch: 64 gives work to at most 16 workers, not 17 (one lane of 4 samples each); "
        "raise batch or lower resources.workers"
    )


def numbers(lanes: list[range], key: tuple[object, ...] = (7, "noise")) -> tuple[Tensor, Tensor, Tensor]:
    numbered = [(lane.start // len(lanes_of(26)[0]), len(lane)) for lane in lanes]
    rng = Rng(key, numbered, CPU, torch.float64)
    assert rng.n == sum(map(len, lanes))
    return rng.normal(3), rng.uniform(2, 2), rng.integers(10)


@pytest.mark.parametrize("world", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("micro", [1, 2, 100])
def test_numbers_do_not_depend_on_the_split(world: int, micro: int) -> None:
    whole = numbers(lanes_of(26))
    pieces = []
    for rank in range(world):
        share = lanes_of_rank(26, rank, world)
        pieces += [numbers(share[start : start + micro]) for start in range(0, len(share), micro)]
    for kind, expected in enumerate(whole):
        assert torch.equal(torch.cat([piece[kind] for piece in pieces]), expected)


def test_successive_draws_differ() -> None:
    rng = single_lane_rng(("key",), 8, CPU)
    assert not torch.equal(rng.normal(4), rng.normal(4))


@given(st.lists(st.tuples(st.integers(0, 10**9), st.sampled_from(["D", "G", "noise"])), min_size=2, unique=True))
def test_different_keys_give_different_seeds(keys: list[tuple[int, str]]) -> None:
    assert len({seed_of(*key) for key in keys}) == len(keys)


def test_keys_are_not_run_together() -> None:
    assert len({seed_of(1, 23), seed_of(12, 3), seed_of(123), seed_of("1", 23)}) == 4


def test_seeds_are_the_same_on_every_machine() -> None:
    # Another value would make every stored run go on with other numbers.
    assert seed_of(0, 64, "D", 0, "noise", 3) == 1619985787215364712


def test_lanes_and_keys_are_independent_of_each_other() -> None:
    one = Rng((1,), [(0, 4), (1, 4)], CPU).normal(2)
    assert not torch.equal(one[:4], one[4:])
    assert not torch.equal(one, Rng((2,), [(0, 4), (1, 4)], CPU).normal(2))


def test_numbers_are_standard_normal_uniform_and_below_the_bound() -> None:
    rng = single_lane_rng(("statistics",), 4096, CPU)
    normal, uniform, integers = rng.normal(4), rng.uniform(4), rng.integers(5, 4)
    assert normal.mean().abs() < 0.05 and (normal.std() - 1).abs() < 0.05
    assert uniform.min() >= 0 and uniform.max() < 1 and (uniform.mean() - 0.5).abs() < 0.02
    assert integers.unique().tolist() == [0, 1, 2, 3, 4]


@given(st.integers(1, 60), st.integers(1, 70))
def test_parts_have_the_numbers_of_their_place(n: int, most: int) -> None:
    whole = single_lane_rng(("parts",), n, CPU).uniform(3)
    parts = list(single_lane_rng(("parts",), n, CPU).parts(most))
    assert torch.equal(torch.cat([rng.uniform(3) for _, rng in parts]), whole)
    assert [place for part, _ in parts for place in range(part.start, part.stop)] == list(range(n))
    assert all(rng.n == part.stop - part.start <= max(most, lane_size(n)) for part, rng in parts)
