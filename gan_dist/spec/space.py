"""The values that a sweep tries for one key of the job, as written in `sweep.space`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from gan_dist.spec.amounts import Amount
from gan_dist.spec.fields import parse_number
from gan_dist.spec.problems import show_value, suggestion, unknown_key

Kind = Literal["choice", "grid", "uniform", "loguniform", "int", "logint", "normal", "same_as"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LISTS, RANGES, WHOLE = ("choice", "grid"), ("uniform", "loguniform", "int", "logint"), ("int", "logint")
# Beyond this many deviations a normal value is drawn again, so that its ends can be checked too.
DEVIATIONS = 3.0
DIGITS = 6


@dataclass(frozen=True)
class Parameter:
    """What is tried for one key.

    Attributes:
        kind: how values come about.
        values: those of `choice` and `grid`.
        low: least value of a range; the mean of `normal`.
        high: greatest value of a range; the deviation of `normal`.
        tied: the key whose value `same_as` takes.
        times: factor of a tied value; None takes it as it is, whatever it is.
        when: other keys of the space, with the values at which this one is there at all.
    """

    kind: Kind
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    tied: str = ""
    times: float | None = None
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that stand for all when a job is checked: each choice, or both ends of a range; none of a tied key."""
        if self.kind in LISTS:
            return self.values
        if self.kind == "same_as":
            return ()
        low, high = self.limits
        return (int(low), int(high)) if self.kind in WHOLE else (low, high)

    @property
    def limits(self) -> tuple[float, float]:
        """Least and greatest value of what is no list."""
        if self.kind == "normal":
            return rounded(self.low - DEVIATIONS * self.high), rounded(self.low + DEVIATIONS * self.high)
        return self.low, self.high

    def plain(self) -> dict[str, Any]:
        """The mapping it is written as."""
        tail: dict[str, Any] = {} if self.times is None else {"times": self.times}
        if self.when:
            tail["when"] = {key: list(values) for key, values in self.when}
        if self.kind == "same_as":
            return {"same_as": self.tied, **tail}
        ends = [int(self.low), int(self.high)] if self.kind in WHOLE else [self.low, self.high]
        return {self.kind: list(self.values) if self.kind in LISTS else ends, **tail}


def rounded(value: float) -> float:
    """A drawn value with as many digits as people read."""
    return float(f"{value:.{DIGITS}g}")


def parse_parameter(written: object) -> Parameter:
    """A parameter from its mapping.

    Args:
        written: `{loguniform: [1e-5, 1e-2]}`, `{choice: [relu, silu], when: {generator.use: dcgan}}`,
            `{same_as: optimizer.lr, times: 2}`, ...

    Raises:
        ValueError: with what is wrong and what is allowed.
    """
    if isinstance(written, Parameter):
        return written
    if not isinstance(written, Mapping):
        form = "{loguniform: [1e-5, 1e-2]} or {choice: [16, 32]}"
        raise ValueError(f"{show_value(written)} says not what to try; write {form}")
    given = [key for key in written if key not in ("when", "times")]
    if len(given) != 1:
        raise ValueError(f"{show_value(dict(written))} must give exactly one of {', '.join(KINDS)}")
    if given[0] not in KINDS:
        raise ValueError(f"unknown kind of values '{given[0]}'{suggestion(str(given[0]), KINDS)}")
    kind = cast(Kind, given[0])
    if "times" in written and kind != "same_as":
        raise ValueError(f"times: {unknown_key('times', (kind, 'when'))}")
    when = _conditions(written.get("when", {}))
    body = written[kind]
    if kind == "same_as":
        if not isinstance(body, str) or not body:
            raise ValueError(f"same_as: {show_value(body)} must be another key of the space")
        times = None if written.get("times") is None else parse_number(written["times"])
        return Parameter(kind, tied=body, times=times, when=when)
    if not isinstance(body, list | tuple) or not body:
        raise ValueError(f"{kind}: {show_value(body)} must be a list{'' if kind in LISTS else ' of two numbers'}")
    if kind in LISTS:
        return Parameter(kind, values=_different(kind, tuple(body)), when=when)
    low, high = _pair(kind, list(body))
    return Parameter(kind, low=low, high=high, when=when)


def _conditions(written: object) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    if not isinstance(written, Mapping):
        raise ValueError(f"when: {show_value(written)} must be a mapping from keys of the space to values")
    listed = {key: value if isinstance(value, list | tuple) else [value] for key, value in written.items()}
    return tuple((str(key), tuple(values)) for key, values in listed.items())


def _different(kind: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"{kind}: {show_value(value)} is given twice")
    return values


def _pair(kind: str, body: list[Any]) -> tuple[float, float]:
    if len(body) != 2:
        raise ValueError(f"{kind}: {show_value(body)} must be two numbers, {_meaning(kind)}")
    low, high = (_count(value) if isinstance(value, str) else parse_number(value) for value in body)
    if kind == "normal":
        if high <= 0:
            raise ValueError(f"normal: the deviation {high:g} is out of range; must be more than 0")
        return low, high
    if low >= high:
        raise ValueError(
            f"{kind}: {show_value(body)} must be two numbers, {_meaning(kind)}, the first less than the second"
        )
    if kind in ("loguniform", "logint") and low <= 0:
        raise ValueError(f"{kind}: {low:g} is out of range; both ends must be more than 0")
    if kind in WHOLE and (low != math.floor(low) or high != math.floor(high)):
        raise ValueError(f"{kind}: {show_value(body)} must be whole numbers")
    return low, high


def _meaning(kind: str) -> str:
    return "mean and deviation" if kind == "normal" else "least and greatest"


def _count(text: str) -> float:
    amount = Amount.parse(text)
    if amount.unit != "samples":
        raise ValueError(f"{show_value(text)}: in a space a count is in samples, such as 5k")
    return amount.value


MEANINGS: dict[Kind, str] = {
    "choice": "One of a list.",
    "grid": "One of a list, gone through in turn.",
    "uniform": "A number between two.",
    "loguniform": "A number between two, evenly over orders of magnitude.",
    "int": "A whole number between two, both included.",
    "logint": "A whole number between two, evenly over orders of magnitude.",
    "normal": "Mean and deviation of a number.",
    "same_as": "Another key of the space, whose value this one takes.",
}


def _schema() -> dict[str, Any]:
    several: dict[str, Any] = {"type": "array", "minItems": 1}
    two: dict[str, Any] = {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": ["number", "string"]}}
    keys: dict[str, Any] = {}
    for kind in KINDS:
        form = {"type": "string"} if kind == "same_as" else several if kind in LISTS else two
        keys[kind] = {"description": MEANINGS[kind], **form}
    keys["times"] = {"description": "Factor of a tied value.", "type": "number"}
    keys["when"] = {"description": "Values of other keys of the space with which this key is there.", "type": "object"}
    return {
        "type": "object",
        "properties": keys,
        "additionalProperties": False,
        "description": f"What to try: one of {', '.join(KINDS)}.",
    }


ParameterField = Annotated[
    Parameter, PlainValidator(parse_parameter), PlainSerializer(Parameter.plain), WithJsonSchema(_schema())
]
