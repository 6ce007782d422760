"""Numbers that may change over a run, as written in a job; their value at a position; and when things that recur are
due."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, cast, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from gan_dist.spec.amounts import Amount
from gan_dist.spec.problems import show_value, suggestion, unknown_key

Kind = Literal["cosine", "linear", "exponential", "bridge", "inverse_root", "piecewise"]
KINDS: tuple[Kind, ...] = get_args(Kind)
KEYS: dict[Kind, tuple[str, ...]] = {
    "cosine": ("from", "to", "over"),
    "linear": ("from", "to", "over"),
    "exponential": ("from", "to", "over"),
    "bridge": ("from", "to", "over", "after", "steepness"),
    "inverse_root": ("from", "after"),
}
FORMS = {"from": "A", "to": "B", "over": "AMOUNT", "after": "AMOUNT", "steepness": "NUMBER"}


@dataclass(frozen=True)
class Schedule:
    """A number over the samples seen since the stage began.

    Attributes:
        kind: `cosine`, `linear` and `exponential` go from `start` to `end` and stay there; `bridge` goes down so too,
            and ends with the slope that `inverse_root` begins with; `inverse_root` falls to nothing in the end;
            `piecewise` has the value of each of its points until the next one.
        start: first value of a ramp (unused by `piecewise`).
        end: last value of a ramp; 0 of `inverse_root` (unused by `piecewise`).
        over: how long the ramp takes; None for `inverse_root` and `piecewise`.
        after: when `inverse_root` has fallen to 1/sqrt(2); of a bridge, the same of what follows it.
        steepness: of a bridge, how many times as steep as a line it begins.
        points: (at, value) of `piecewise`, the first at 0; a value may be a schedule from there on.
    """

    kind: Kind
    start: float = 0.0
    end: float = 0.0
    over: Amount | None = None
    points: tuple[tuple[Amount, float | Schedule], ...] = ()
    after: Amount | None = None
    steepness: float = 1.0

    @property
    def values(self) -> tuple[float, ...]:
        """The numbers it was written with; all others lie between them. The first is where it starts."""
        if self.kind != "piecewise":
            return self.start, self.end
        pieces = [value.values if isinstance(value, Schedule) else (value,) for _, value in self.points]
        return tuple(value for piece in pieces for value in piece)

    def plain(self) -> dict[str, Any]:
        """The mapping it is written as."""
        if self.kind == "piecewise":
            return {self.kind: [[at.plain(), plain_scheduled(value)] for at, value in self.points]}
        written: dict[str, Any] = {"from": self.start, "to": self.end, "steepness": self.steepness}
        written |= {key: at.plain() for key, at in (("over", self.over), ("after", self.after)) if at is not None}
        return {self.kind: {key: written[key] for key in KEYS[self.kind]}}


Scheduled = float | Schedule


def is_schedule(value: object) -> bool:
    """Whether a mapping is meant as a schedule: its only key is a kind of schedule."""
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in KINDS


def parse_schedule(written: Mapping[str, Any], *, counts: bool = False) -> Schedule:
    """A schedule from its mapping.

    Args:
        written: `{cosine: {from: 2e-4, to: 5e-5, over: 2M}}` or `{piecewise: [[0, 1e-3], [1M, 1e-4]]}`, whose values
            may be schedules too.
        counts: whether its values are counts of samples, so that `500k` is a value too.

    Raises:
        ValueError: with what is wrong and what is allowed.
    """
    if len(written) != 1:
        raise ValueError(f"{show_value(dict(written))} is no schedule; give exactly one of {', '.join(KINDS)}")
    kind, body = next(iter(written.items()))
    if kind not in KINDS:
        raise ValueError(f"unknown schedule '{kind}'{suggestion(str(kind), KINDS)}")
    if kind == "piecewise":
        return Schedule("piecewise", points=_points(body, counts))
    return _ramp(cast(Kind, kind), body, counts)


def parse_scheduled(written: object, *, counts: bool = False) -> Scheduled:
    """A plain number, or a schedule of numbers. Raises ValueError."""
    if isinstance(written, Schedule):
        return written
    if isinstance(written, Mapping):
        return parse_schedule(written, counts=counts)
    return _value(written, counts)


def _ramp(kind: Kind, body: object, counts: bool) -> Schedule:
    keys = KEYS[kind]
    if not isinstance(body, Mapping):
        form = ", ".join(f"{key}: {FORMS[key]}" for key in keys)
        raise ValueError(f"{kind}: {show_value(body)} must be a mapping {{{form}}}")
    for key in body:
        if key not in keys:
            raise ValueError(f"{kind}.{key}: {unknown_key(str(key), keys)}")
    missing = [key for key in keys if key not in body]
    if missing:
        raise ValueError(f"{kind}: missing {', '.join(missing)} (needs {', '.join(keys)})")
    start, end = _value(body["from"], counts), _value(body.get("to", 0), counts)
    if kind == "exponential" and min(start, end) <= 0:
        raise ValueError(f"exponential: from and to must be more than 0, not {start:g} and {end:g}")
    amounts = {key: Amount.parse(body[key]) for key in ("over", "after") if key in keys}
    steepness = _value(body.get("steepness", 1), counts=False)
    if kind == "bridge" and (start <= end or steepness <= 1):
        raise ValueError(
            f"bridge: from must be more than to, and steepness more than 1, not {start:g}, {end:g} and {steepness:g}"
        )
    return Schedule(kind, start, end, amounts.get("over"), after=amounts.get("after"), steepness=steepness)


def _points(body: object, counts: bool) -> tuple[tuple[Amount, float | Schedule], ...]:
    form = "piecewise: must be a list of [at, value] pairs, such as [[0, 1e-3], [1M, 1e-4]]"
    if not _is_list(body) or not body:
        raise ValueError(f"{form}, not {show_value(body)}")
    points = []
    for pair in cast(Sequence[Any], body):
        if not _is_list(pair) or len(pair) != 2:
            raise ValueError(f"{form}; {show_value(pair)} is no pair")
        points.append((Amount.parse(pair[0], zero=True), _piece(pair[1], counts)))
    _check_order([at for at, _ in points])
    return tuple(points)


def _piece(written: object, counts: bool) -> float | Schedule:
    """The value of a point, or how it changes from there on."""
    if not isinstance(written, Mapping):
        return _value(written, counts)
    if "piecewise" in written:
        raise ValueError("piecewise: a value is a number or another kind of schedule; write its points in this list")
    return parse_schedule(written, counts=counts)


def _check_order(times: list[Amount]) -> None:
    if times[0].value != 0:
        raise ValueError(f"piecewise: the first point must be at 0, not {times[0]}")
    if len({time.unit for time in times[1:]}) > 1:
        raise ValueError("piecewise: the points must share one unit (samples, epochs or steps)")
    for before, after in pairwise(times):
        if after.value <= before.value:
            raise ValueError(f"piecewise: points must come in increasing order, but {after} follows {before}")


def _value(written: object, counts: bool) -> float:
    if counts:
        amount = Amount.parse(written, zero=True)
        if amount.unit != "samples":
            raise ValueError(f"{show_value(written)}: inside a schedule a count is in samples, such as 500k")
        return amount.value
    if isinstance(written, bool) or not isinstance(written, int | float):
        raise ValueError(f"{show_value(written)} is not a number")
    if not math.isfinite(written):
        raise ValueError(f"{show_value(written)} is not a finite number")
    return float(written)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


@dataclass(frozen=True)
class BoundedNumber:
    """Annotation of a pydantic field: a number or a schedule, all of whose values lie in a range."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def check(self, written: object) -> Scheduled:
        """The number or schedule; raises ValueError when one of its values is out of range."""
        parsed = parse_scheduled(written)
        for value in parsed.values if isinstance(parsed, Schedule) else (parsed,):
            if not self._holds(value):
                where = " (a value of its schedule)" if isinstance(parsed, Schedule) else ""
                raise ValueError(f"{value:g}{where} is out of range; must be {self.words}")
        return parsed

    @property
    def words(self) -> str:
        """The range in words."""
        limits = (("at least", self.ge), ("more than", self.gt), ("at most", self.le), ("less than", self.lt))
        return " and ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None)

    def _holds(self, value: float) -> bool:
        lowest = (self.ge is None or value >= self.ge) and (self.gt is None or value > self.gt)
        return lowest and (self.le is None or value <= self.le) and (self.lt is None or value < self.lt)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        as_json = core_schema.plain_serializer_function_ser_schema(plain_scheduled)
        return core_schema.no_info_plain_validator_function(self.check, serialization=as_json)

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        limits = {"minimum": self.ge, "exclusiveMinimum": self.gt, "maximum": self.le, "exclusiveMaximum": self.lt}
        number = {"type": "number", **{key: limit for key, limit in limits.items() if limit is not None}}
        return {"anyOf": [number, schedule_schema(number)]}


def plain_scheduled(value: Scheduled) -> float | dict[str, Any]:
    """What JSON holds for a number or schedule."""
    return value.plain() if isinstance(value, Schedule) else value


def schedule_schema(value: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of a schedule whose values match `value`."""
    amount = {"type": ["number", "string"], "description": "Samples (2M), '9 epochs' or '2000 steps'."}
    meaning = {
        "from": {**value, "description": "First value."},
        "to": {**value, "description": "Last value."},
        "over": {**amount, "description": "How long it takes: 2M (samples), '9 epochs' or '2000 steps'."},
        "after": {**amount, "description": "When inverse_root has fallen to 1/sqrt(2)."},
        "steepness": {
            "type": "number",
            "exclusiveMinimum": 1,
            "description": "How many times as steep as a line it begins.",
        },
    }
    ramps = {
        kind: {
            "type": "object",
            "description": "Falls for ever, as 1/sqrt." if kind == "inverse_root" else "Goes there, then stays.",
            "properties": {key: meaning[key] for key in keys},
            "required": list(keys),
            "additionalProperties": False,
        }
        for kind, keys in KEYS.items()
    }
    one = {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": False}
    piece = {"anyOf": [value, {**one, "properties": ramps}]}
    pair = {"type": "array", "items": [amount, piece], "minItems": 2, "maxItems": 2}
    told = "[at, value] pairs, the first at 0; each value holds until the next, and may be a schedule from there on."
    steps = {"type": "array", "description": told, "items": pair, "minItems": 1}
    return {
        **one,
        "description": "A schedule over the samples seen since the stage began.",
        "properties": {**ramps, "piecewise": steps},
    }


@dataclass(frozen=True)
class Clock:
    """What turns amounts into samples: the global batch, and the samples of one epoch."""

    batch: int
    epoch: int

    def samples(self, amount: Amount) -> int:
        return amount.samples(self.batch, self.epoch)

    def value(self, scheduled: Scheduled, elapsed: int) -> float:
        """A number or schedule, `elapsed` samples after its stage began."""
        if not isinstance(scheduled, Schedule):
            return scheduled
        if scheduled.kind == "piecewise":
            at, value = [point for point in scheduled.points if self.samples(point[0]) <= elapsed][-1]
            return self.value(value, elapsed - self.samples(at))
        start, end = scheduled.start, scheduled.end
        after = self.samples(scheduled.after) if scheduled.after is not None else 0
        if scheduled.over is None:
            return start / math.sqrt(1 + elapsed / max(1, after))
        over = max(1, self.samples(scheduled.over))
        share = min(1.0, elapsed / over)
        if scheduled.kind == "linear":
            return start + (end - start) * share
        if scheduled.kind == "exponential":
            return float(start * (end / start) ** share)
        if scheduled.kind == "bridge":
            return _bridge(scheduled, share, over / max(1, after))
        return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _bridge(schedule: Schedule, share: float, length: float) -> float:
    """A line to the end, of the slope that `inverse_root` has there, and a power that makes up the rest (R3GAN2).

    Args:
        length: of the bridge, as a part of what follows is measured by.
    """
    depth, left = schedule.start - schedule.end, 1 - share
    line = schedule.end * length / (2 * depth)
    if line >= 1:
        return schedule.end + depth * left  # what follows is steeper than a line from here
    power = (schedule.steepness - 1) / (1 - line)
    return float(schedule.end + depth * left * (line + (1 - line) * left**power))


def is_due(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]: a cadence fires at the first iteration past it."""
    return before // every < after // every


def is_early_look(before: int, after: int, every: int) -> bool:
    """Whether 1k, 2k, 4k, ... below `every` lies in (before, after]: the first looks come early."""
    moment = 1000
    while moment < every:
        if before < moment <= after:
            return True
        moment *= 2
    return False
