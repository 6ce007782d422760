"""Scheduled numbers at their start, middle, end and beyond; when what recurs is due."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_dist.spec.amounts import Amount
from gan_dist.spec.schedules import Clock, is_due, is_early_look, parse_schedule

CLOCK = Clock(batch=64, epoch=1000)


def value(written: dict[str, Any], elapsed: int) -> float:
    return CLOCK.value(parse_schedule(written), elapsed)


def ramp(kind: str, **changes: Any) -> dict[str, Any]:
    return {kind: {"from": 8.0, "to": 2.0, "over": 1000, **changes}}


@pytest.mark.parametrize(
    ("kind", "quarter", "middle"),
    [("linear", 6.5, 5.0), ("cosine", 5 + 3 * 2**-0.5, 5.0), ("exponential", 8 / 2**0.5, 4.0)],
)
def test_ramps(kind: str, quarter: float, middle: float) -> None:
    found = [value(ramp(kind), elapsed) for elapsed in (0, 250, 500, 1000, 1001, 10**9)]
    assert found == pytest.approx([8, quarter, middle, 2, 2, 2], rel=1e-12)


@pytest.mark.parametrize("kind", ["linear", "cosine", "exponential"])
def test_ramps_go_up_as_they_go_down(kind: str) -> None:
    up = ramp(kind, **{"from": 2.0, "to": 8.0})
    values = [value(up, elapsed) for elapsed in range(0, 1001, 50)]
    assert values == sorted(values) and (values[0], values[-1]) == pytest.approx((2, 8))


def test_piecewise_holds_each_value_until_the_next_point() -> None:
    steps = {"piecewise": [[0, 3.0], [100, 2.0], ["1k", 0.5]]}
    assert [value(steps, elapsed) for elapsed in (0, 99, 100, 999, 1000, 10**9)] == [3, 3, 2, 2, 0.5, 0.5]


def test_the_inverse_root_falls_for_ever() -> None:
    root = {"inverse_root": {"from": 6.0, "after": 1000}}
    assert [value(root, 1000 * times) for times in (0, 1, 3, 8)] == pytest.approx([6, 6 / 2**0.5, 3, 2], rel=1e-12)


def test_a_piece_may_be_a_schedule_from_its_point_on() -> None:
    """R3GAN2's learning rates: from 512k samples on 1/sqrt(n / 512k); half a cosine, then 1/sqrt(1 + (n - 20) / 20)."""
    held = {"piecewise": [[0, 1e-2], ["512k", {"inverse_root": {"from": 1e-2, "after": "512k"}}]]}
    assert value(held, 4 * 512_000) == pytest.approx(5e-3, rel=1e-12)
    tail = {"inverse_root": {"from": 2.0, "after": 1000}}
    pieces = {"piecewise": [[0, ramp("cosine")], [1000, tail]]}
    assert [value(pieces, at) for at in (0, 500, 1000, 4000)] == pytest.approx([8, 5, 2, 1], rel=1e-12)


@pytest.mark.parametrize("steepness", [3.0, 5.0, 8.0])
def test_a_bridge_joins_what_follows_without_a_bend(steepness: float) -> None:
    over, after, start, end = 190_000, 1_000_000, 1e-2, 4e-3
    bridge = {"bridge": {"from": start, "to": end, "over": over, "after": after, "steepness": steepness}}
    pieces = {"piecewise": [[0, bridge], [over, {"inverse_root": {"from": end, "after": after}}]]}
    assert value(pieces, 0) == start and value(pieces, over) == end
    before, at, behind = (value(pieces, over + step) for step in (-10, 0, 10))
    assert at - before == pytest.approx(behind - at, rel=1e-3) and at - before == pytest.approx(
        -end * 5 / after, rel=1e-3
    )
    begins = (value(pieces, 0) - value(pieces, 10)) / 10
    assert begins == pytest.approx(steepness * (start - end) / over, rel=2e-3)
    values = [value(pieces, step) for step in range(0, over, 1000)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(("over", "samples"), [("2 epochs", 2000), ("10 steps", 640), ("3k", 3000)])
def test_ramps_last_as_long_as_written(over: str, samples: int) -> None:
    line = ramp("linear", over=over)
    assert value(line, samples // 2) == pytest.approx(5) and value(line, samples - 1) > 2 == value(line, samples)


def test_a_plain_number_stays() -> None:
    assert CLOCK.value(0.25, 0) == CLOCK.value(0.25, 10**9) == 0.25


@pytest.mark.parametrize(("amount", "samples"), [("5k", 5000), ("1.5 epochs", 1500), ("7 steps", 448)])
def test_amounts_in_samples(amount: str, samples: int) -> None:
    assert CLOCK.samples(Amount.parse(amount)) == samples


def test_a_cadence_that_the_batch_does_not_divide_fires_at_the_first_iteration_past_it() -> None:
    fired = [seen for seen in range(64, 1025, 64) if is_due(seen - 64, seen, 100)]
    assert fired == [128, 256, 320, 448, 512, 640, 704, 832, 960, 1024]


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 50))
def test_every_multiple_of_a_cadence_is_met_by_one_iteration(batch: int, every: int, steps: int) -> None:
    fired = sum(is_due(step * batch, (step + 1) * batch, every) for step in range(steps))
    multiples = steps * batch // every
    assert fired == min(multiples, steps) if batch % every == 0 or every >= batch else fired <= multiples


def test_a_cadence_shorter_than_the_batch_fires_at_each_iteration() -> None:
    assert all(is_due(seen, seen + 64, 10) for seen in range(0, 640, 64))


def test_the_first_looks_come_at_1k_2k_4k_below_the_cadence() -> None:
    fired = [seen for seen in range(64, 40_000, 64) if is_early_look(seen - 64, seen, 16_000)]
    assert fired == [1024, 2048, 4032, 8000]


@pytest.mark.parametrize("every", [1, 999, 1000])
def test_no_early_looks_where_the_cadence_is_early_itself(every: int) -> None:
    assert not any(is_early_look(seen, seen + 64, every) for seen in range(0, 5000, 64))
