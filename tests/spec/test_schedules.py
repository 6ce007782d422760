"""Schedules as written, and the ranges they must keep."""

from __future__ import annotations

from typing import Any

import pytest

from gan_dist.spec.amounts import Amount
from gan_dist.spec.schedules import BoundedNumber, Schedule, is_schedule, parse_schedule

RAMP = {"from": 2e-4, "to": 5e-5, "over": "2M"}
BRIDGE = {"from": 1e-2, "to": 4e-3, "over": "190M", "after": "1G", "steepness": 5}
PAIRS = "piecewise: must be a list of [at, value] pairs, such as [[0, 1e-3], [1M, 1e-4]]"


def test_ramp_and_points() -> None:
    ramp = parse_schedule({"cosine": RAMP})
    assert ramp == Schedule("cosine", 2e-4, 5e-5, Amount(2_000_000))
    assert ramp.values == (2e-4, 5e-5)
    steps = parse_schedule({"piecewise": [[0, 1e-3], ["1M", 1e-4]]})
    assert steps == Schedule("piecewise", points=((Amount(0), 1e-3), (Amount(1_000_000), 1e-4)))
    assert steps.values == (1e-3, 1e-4)
    pieces = parse_schedule({"piecewise": [[0, {"cosine": RAMP}], ["2M", {"inverse_root": {"from": 1, "after": 9}}]]})
    assert pieces.values == (2e-4, 5e-5, 1, 0)


@pytest.mark.parametrize(
    "written",
    [
        {"cosine": RAMP},
        {"linear": RAMP},
        {"exponential": RAMP},
        {"piecewise": [[0, 1], ["3 epochs", 2.5]]},
        {"inverse_root": {"from": 1e-2, "after": "512k"}},
        {"piecewise": [[0, {"linear": RAMP}], ["10M", {"bridge": BRIDGE}], ["200M", 3]]},
    ],
)
def test_plain_gives_back_the_schedule(written: dict[str, Any]) -> None:
    assert parse_schedule(parse_schedule(written).plain()) == parse_schedule(written)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"cosin": RAMP}, "unknown schedule 'cosin'; did you mean 'cosine'? "
                          "(allowed: cosine, linear, exponential, bridge, inverse_root, piecewise)"),
        ({}, "{} is no schedule; give exactly one of cosine, linear, exponential, bridge, inverse_root, piecewise"),
        ({"linear": {**RAMP, "too": 1}}, "linear.too: unknown key; did you mean 'to'? "
                                         "(allowed: from, over, to)"),
        ({"linear": {"from": 1}}, "linear: missing to, over (needs from, to, over)"),
        ({"linear": 3}, "linear: 3 must be a mapping {from: A, to: B, over: AMOUNT}"),
        ({"linear": {**RAMP, "to": "x"}}, "'x' is not a number"),
        ({"linear": {**RAMP, "to": float("nan")}}, "nan is not a finite number"),
        ({"linear": {**RAMP, "over": "2 weeks"}},
         "unknown unit 'weeks' in '2 weeks' (allowed: k, M, G, samples, epochs, steps)"),
        ({"exponential": {**RAMP, "to": 0}},
         "exponential: from and to must be more than 0, not 0.0002 and 0"),
        ({"inverse_root": {"from": 1, "to": 2}}, "inverse_root.to: unknown key (allowed: after, from)"),
        ({"inverse_root": 3}, "inverse_root: 3 must be a mapping {from: A, after: AMOUNT}"),
        ({"bridge": {**BRIDGE, "steepness": 0.5}},
         "bridge: from must be more than to, and steepness more than 1, not 0.01, 0.004 and 0.5"),
        ({"bridge": {**BRIDGE, "to": 1}},
         "bridge: from must be more than to, and steepness more than 1, not 0.01, 1 and 5"),
        ({"piecewise": [[0, {"piecewise": [[0, 1]]}]]},
         "piecewise: a value is a number or another kind of schedule; write its points in this list"),
        ({"piecewise": []}, f"{PAIRS}, not []"),
        ({"piecewise": [[0, 1], 5]}, f"{PAIRS}; 5 is no pair"),
        ({"piecewise": [[10, 1]]}, "piecewise: the first point must be at 0, not 10"),
        ({"piecewise": [[0, 1], ["2k", 2], ["1k", 3]]},
         "piecewise: points must come in increasing order, but 1k follows 2k"),
        ({"piecewise": [[0, 1], ["1k", 2], ["3 epochs", 3]]},
         "piecewise: the points must share one unit (samples, epochs or steps)"),
    ],
)  # fmt: skip
def test_refused(written: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_schedule(written)
    assert str(error.value) == message


def test_counts_inside_a_schedule() -> None:
    ramp = parse_schedule({"cosine": {"from": 0, "to": "500k", "over": "2M"}}, counts=True)
    assert ramp.values == (0.0, 500_000.0)
    with pytest.raises(ValueError, match="'3 epochs': inside a schedule a count is in samples, such as 500k"):
        parse_schedule({"cosine": {"from": 0, "to": "3 epochs", "over": "2M"}}, counts=True)


def test_a_range_holds_for_every_value() -> None:
    within = BoundedNumber(ge=0, le=1)
    assert within.check(0.5) == 0.5
    with pytest.raises(ValueError, match="2 is out of range; must be at least 0 and at most 1"):
        within.check(2)
    with pytest.raises(ValueError, match="-1 \\(a value of its schedule\\) is out of range"):
        within.check({"linear": {"from": 1, "to": -1, "over": "1k"}})
    with pytest.raises(ValueError, match="true is not a number"):
        within.check(True)


def test_is_schedule() -> None:
    assert is_schedule({"cosine": RAMP})
    assert not is_schedule({"use": "cosine"})
    assert not is_schedule({"cosine": 1, "linear": 2})
    assert not is_schedule([1])
