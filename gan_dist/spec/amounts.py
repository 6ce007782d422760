"""Counts of a run: samples seen (`64k`), passes over the data (`150 epochs`) or iterations (`2000 steps`)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from gan_dist.spec.problems import nearest_name, show_value

Unit = Literal["samples", "epochs", "steps"]

MULTIPLES = {"k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
PATTERN = r"^\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,3}))?\s*([A-Za-z]*)\s*$"
LARGEST = 2**53  # beyond it a float no longer holds every whole number
FORMS = "write samples as 2000, 64k, 20M or 1G, or '150 epochs', or '2000 steps'"


@dataclass(frozen=True)
class Amount:
    """How long, or how often. `value` counts `unit`; samples and steps are whole numbers."""

    value: float
    unit: Unit = "samples"

    @classmethod
    def parse(cls, written: object, *, zero: bool = False) -> Amount:
        """The amount a user wrote as a number or text.

        Args:
            written: 2000, 1.5e6, "64k", "150 epochs", "2000 steps", or an Amount.
            zero: whether 0 is allowed.

        Raises:
            ValueError: it is no amount, not whole, negative, or zero where that makes no sense.
        """
        if isinstance(written, Amount):
            return written
        if isinstance(written, str):
            value, unit = _from_text(written)
        elif isinstance(written, int | float) and not isinstance(written, bool):
            value, unit = float(written), get_args(Unit)[0]
        else:
            raise ValueError(f"{show_value(written)} is no amount; {FORMS}")
        _check(value, unit, written, zero)
        return cls(value, unit)

    def samples(self, batch: int, epoch: int) -> int:
        """This amount in samples.

        Args:
            batch: samples in one iteration, over all workers.
            epoch: samples in one pass over the data.
        """
        size = {"samples": 1, "epochs": epoch, "steps": batch}[self.unit]
        return round(self.value * size)

    @property
    def twice(self) -> Amount:
        """As much again."""
        return Amount(2 * self.value, self.unit)

    def plain(self) -> int | str:
        """What JSON holds: a number of samples, or text with the unit."""
        return int(self.value) if self.unit == "samples" else str(self)

    def __str__(self) -> str:
        if self.unit != "samples":
            return f"{_number(self.value)} {self.unit.removesuffix('s') if self.value == 1 else self.unit}"
        count = int(self.value)
        for letter, size in reversed(MULTIPLES.items()):
            tenths, rest = divmod(count * 10, size)
            if count >= size and rest == 0:
                return f"{_number(tenths / 10)}{letter}"
        return str(count)


def _from_text(text: str) -> tuple[float, Unit]:
    match = re.match(PATTERN, text)
    if not match:
        raise ValueError(f"{show_value(text)} is no amount; {FORMS}")
    digits, exponent, word = match.groups()
    value = float(f"{digits}e{exponent or 0}")
    if word in MULTIPLES or not word:
        return round(value * MULTIPLES.get(word, 1), 6), "samples"
    for unit in get_args(Unit):
        if word in (unit, unit.removesuffix("s")):
            return value, unit
    raise ValueError(_unknown_unit(text, word))


def _unknown_unit(text: str, word: str) -> str:
    other_case = {"K": "k", "m": "M", "g": "G", "B": "G", "b": "G"}.get(word)
    near = other_case or nearest_name(word, get_args(Unit))
    guess = f"; did you mean '{near}'?" if near else ""
    return f"unknown unit '{word}' in {show_value(text)}{guess} (allowed: k, M, G, samples, epochs, steps)"


def _check(value: float, unit: Unit, written: object, zero: bool) -> None:
    if not math.isfinite(value) or value > LARGEST:
        raise ValueError(f"{show_value(written)} is too large for an amount; at most {LARGEST}")
    if value < 0 or (value == 0 and not zero):
        limit = "at least 0" if zero else "more than 0"
        raise ValueError(f"{show_value(written)} is out of range; must be {limit}")
    if unit != "epochs" and value != int(value):
        raise ValueError(f"{show_value(written)} is not a whole number of {unit}")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _or_zero(written: object) -> Amount:
    return Amount.parse(written, zero=True)


def _count(written: object) -> Amount:
    amount = Amount.parse(written)
    if amount.unit != "samples":
        raise ValueError(f"{show_value(written)} must be a number of samples, such as 5000 or 5k")
    return amount


def _schema(lowest: dict[str, int]) -> dict[str, Any]:
    text = r"^\s*[0-9.]+([eE][+-]?[0-9]+)?\s*(k|M|G|samples?|epochs?|steps?)?\s*$"
    return {
        "anyOf": [{"type": "number", **lowest}, {"type": "string", "pattern": text}],
        "description": f"An amount: {FORMS}.",
    }


_AS_JSON = PlainSerializer(Amount.plain, return_type=int | str)

AmountField = Annotated[
    Amount, PlainValidator(Amount.parse), _AS_JSON, WithJsonSchema(_schema({"exclusiveMinimum": 0}))
]
AmountOrZero = Annotated[Amount, PlainValidator(_or_zero), _AS_JSON, WithJsonSchema(_schema({"minimum": 0}))]
CountField = Annotated[
    Amount,
    PlainValidator(_count),
    _AS_JSON,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^\s*[0-9.]+([eE][+-]?[0-9]+)?\s*(k|M|G|samples?)?\s*$"},
            ]
        }
    ),
]
