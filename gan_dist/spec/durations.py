"""Lengths of time: as a person writes them, and in words."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from gan_dist.spec.fields import parse_number
from gan_dist.spec.problems import show_value, suggestion

UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}


def parse_duration(written: object) -> float:
    """Seconds in 600, '30 min', '20m', '2 h' or '1.5 d'. Raises ValueError."""
    form = "write seconds, or '30 min', '2 h', '1 d'"
    value = written
    if isinstance(written, str):
        match = re.fullmatch(r"\s*([0-9.]+)\s*([a-z]*)\s*", written)
        if not match:
            raise ValueError(f"{show_value(written)} is no duration; {form}")
        if match[2] and match[2] not in UNITS:
            raise ValueError(f"unknown unit '{match[2]}' in {show_value(written)}{suggestion(match[2], list(UNITS))}")
        try:
            value = float(match[1]) * UNITS.get(match[2], 1)
        except ValueError:
            raise ValueError(f"{show_value(written)} is no duration; {form}") from None
    if parse_number(value) <= 0:
        raise ValueError(f"{show_value(written)} is out of range; must be more than 0")
    return parse_number(value)


def duration_words(seconds: float) -> str:
    """A length of time as it is read: `45 s`, `35 min`, `3 h 20 min`, `2.5 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.1f} days"


def duration_text(seconds: float) -> str:
    """A length of time as `parse_duration` reads it, in the largest unit that divides it: `2h`, `90min`."""
    unit = next((one for one in ("d", "h", "min") if seconds % UNITS[one] == 0), "s")
    return f"{seconds / UNITS[unit]:.15g}{unit}"


Duration = Annotated[
    float,
    PlainValidator(parse_duration),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]}),
]
