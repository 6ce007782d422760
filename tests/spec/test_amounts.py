"""Counts of samples, epochs and steps."""

from __future__ import annotations

import random
from typing import Any

import pytest

from gan_dist.spec.amounts import Amount


@pytest.mark.parametrize(
    ("written", "amount", "text"),
    [
        (2000, Amount(2000), "2k"),
        (1.5e6, Amount(1_500_000), "1.5M"),
        ("1.5e6", Amount(1_500_000), "1.5M"),
        ("64k", Amount(64_000), "64k"),
        ("20M", Amount(20_000_000), "20M"),
        ("1G", Amount(1_000_000_000), "1G"),
        ("1.5k", Amount(1500), "1.5k"),
        ("0.1k", Amount(100), "100"),
        (16384, Amount(16384), "16384"),
        ("500 samples", Amount(500), "500"),
        ("150 epochs", Amount(150, "epochs"), "150 epochs"),
        ("1 epoch", Amount(1, "epochs"), "1 epoch"),
        ("0.5 epochs", Amount(0.5, "epochs"), "0.5 epochs"),
        ("2000 steps", Amount(2000, "steps"), "2000 steps"),
    ],
)
def test_parse_and_text(written: Any, amount: Amount, text: str) -> None:
    assert Amount.parse(written) == amount
    assert str(amount) == text
    assert Amount.parse(text) == amount


FORMS = "write samples as 2000, 64k, 20M or 1G, or '150 epochs', or '2000 steps'"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("64K", "unknown unit 'K' in '64K'; did you mean 'k'? (allowed: k, M, G, samples, epochs, steps)"),
        (
            "3 epoks",
            "unknown unit 'epoks' in '3 epoks'; did you mean 'epochs'? (allowed: k, M, G, samples, epochs, steps)",
        ),
        ("10 minutes", "unknown unit 'minutes' in '10 minutes' (allowed: k, M, G, samples, epochs, steps)"),
        (1.5, "1.5 is not a whole number of samples"),
        ("1.5 steps", "'1.5 steps' is not a whole number of steps"),
        (0, "0 is out of range; must be more than 0"),
        (-5, "-5 is out of range; must be more than 0"),
        (float("inf"), "inf is too large for an amount; at most 9007199254740992"),
        (float("nan"), "nan is too large for an amount; at most 9007199254740992"),
        ("1e300", "'1e300' is too large for an amount; at most 9007199254740992"),
        ("soon", f"'soon' is no amount; {FORMS}"),
        ("", f"'' is no amount; {FORMS}"),
        (True, f"true is no amount; {FORMS}"),
        (None, f"null is no amount; {FORMS}"),
        ([1], f"[1] is no amount; {FORMS}"),
    ],
)
def test_refused(written: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        Amount.parse(written)
    assert str(error.value) == message


def test_zero_only_where_it_makes_sense() -> None:
    assert Amount.parse(0, zero=True) == Amount(0)
    with pytest.raises(ValueError, match="-1 is out of range; must be at least 0"):
        Amount.parse(-1, zero=True)


def test_in_samples() -> None:
    assert Amount(64_000).samples(batch=64, epoch=1792) == 64_000
    assert Amount(2000, "steps").samples(batch=64, epoch=1792) == 128_000
    assert Amount(150, "epochs").samples(batch=64, epoch=1792) == 268_800
    assert Amount(0.5, "epochs").samples(batch=64, epoch=1792) == 896


def test_any_amount_survives_its_text_and_json() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        unit = rng.choice(["samples", "epochs", "steps"])
        value = rng.randrange(1, 10 ** rng.randrange(1, 15))
        amount = Amount(value, unit)  # type: ignore[arg-type]
        assert Amount.parse(str(amount)) == amount
        assert Amount.parse(amount.plain()) == amount
        assert hash(Amount.parse(str(amount))) == hash(amount)
