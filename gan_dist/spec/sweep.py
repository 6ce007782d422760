"""The `sweep` section: what is searched, by which rule, and by which metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from gan_dist.spec.amounts import Amount, AmountField
from gan_dist.spec.durations import Duration
from gan_dist.spec.fields import MetricNames, Modes, Number, Section, Whole, parse_number
from gan_dist.spec.problems import nearest_name, show_value, suggestion, unknown_key

# What a member of a population may change while it trains: anything else would make its weights another network's.
MAY_MUTATE = ("optimizer", "penalties", "objective", "ema", "stages")


class SchedulerSpec(Section):
    """How training time is shared out among the trials. Keys that the rule does not use are refused."""

    use: Literal["none", "asha", "median", "pbt"] = Field(
        default="none",
        description="none trains each to its end; asha goes on with the best part of each rung; median ends what is "
        "worse than half of the others; pbt lets the worst go on from the best, with other values.",
    )
    first: AmountField | None = Field(
        default=None,
        description="asha: where the first rung is; median: where trials are first compared. null: a ninth of the job.",
        json_schema_extra={"unit": "samples"},
    )
    factor: Whole = Field(default=3, ge=2, description="asha: one in so many goes on to a rung so many times as far.")
    interval: AmountField | None = Field(
        default=None,
        description="pbt: how often members are compared. null: a tenth of the job.",
        json_schema_extra={"unit": "samples"},
    )
    quantile: Number = Field(
        default=0.25,
        gt=0,
        le=0.5,
        description="pbt: the share of the population that takes over from as many of the best.",
        json_schema_extra={"unit": "fraction"},
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, written: object) -> object:
        """Lets `scheduler: asha` stand for `scheduler: {use: asha}`."""
        return {"use": written} if isinstance(written, str) else written

    @model_validator(mode="after")
    def _uses_its_keys(self) -> SchedulerSpec:
        uses = {
            "none": (),
            "asha": ("first", "factor"),
            "median": ("first",),
            "pbt": ("interval", "quantile"),
        }
        for key in sorted(self.model_fields_set - {"use", *uses[self.use]}):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(
                    f"{key}: scheduler '{self.use}' has no such key; it has {', '.join(uses[self.use]) or 'none'}"
                )
        return self


def _filled(written: object) -> object:
    if isinstance(written, Mapping) and not written:
        raise ValueError("{} is empty; give at least one key of the job with the values to try")
    return written


class SweepSpec(Section):
    """A search over jobs that differ from this one in some keys."""

    metric: MetricNames = Field(
        description="What is made best: one of the job's metrics, or any logged number by its tag, as `loss/D`; or a "
        "list, of which the Pareto front is sought.",
    )
    mode: Modes = Field(
        default="min", description="Whether the lowest or highest metric is best; a list says it of each metric."
    )
    space: Annotated[dict[str, ParameterField], BeforeValidator(_filled)] = Field(
        description="Values to try, by dotted key of the job: `gan-dist help sweeps`."
    )
    search: Literal["grid", "random", "optuna"] = Field(
        default="random",
        description="grid tries every combination of its keys' {grid: [...]}, random draws, optuna learns from the "
        "results (TPE).",
    )
    start_from: str | None = Field(
        default=None, description="optuna: an earlier sweep, by id or folder, whose results it begins with."
    )
    trials: Annotated[Whole, Field(ge=1, le=10_000)] | None = Field(
        default=None,
        description="How many configurations are tried; null is all of a grid, else 20.",
        json_schema_extra={"unit": "configurations"},
    )
    seeds: Whole = Field(
        default=1,
        ge=1,
        le=100,
        description="How often each is trained, from seeds one apart; ranked by the mean.",
        json_schema_extra={"unit": "runs"},
    )
    seed: Whole = Field(default=0, ge=0, le=2**31 - 1, description="Decides which configurations are drawn.")
    scheduler: SchedulerSpec = Field(default=SchedulerSpec(), description="How training time is shared out.")
    concurrent: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None,
        description="How many trials train at a time; null is as many as the cluster holds.",
        json_schema_extra={"unit": "trials"},
    )
    time_budget: Duration | None = Field(
        default=None,
        description="How long the sweep may take, over all its attempts; what then trains is stopped and saved.",
        json_schema_extra={"unit": "seconds"},
    )
    keep: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None,
        description="Trials whose checkpoints stay, the best; null is all.",
        json_schema_extra={"unit": "trials"},
    )

    @property
    def wanted(self) -> int | None:
        """How many configurations are tried; None for all of a grid."""
        return self.trials if self.trials is not None or self.search == "grid" else 20

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics' names as they are written."""
        return (self.metric,) if isinstance(self.metric, str) else tuple(self.metric)

    @property
    def modes(self) -> tuple[Any, ...]:
        """`min` or `max` of each metric."""
        return (self.mode,) * len(self.metrics) if isinstance(self.mode, str) else tuple(self.mode)


def sweep_conflicts(sweep: SweepSpec) -> list[tuple[str, str]]:
    """(key below `sweep`, message) of all that is impossible together."""
    found = [problem for key, one in sweep.space.items() for problem in _references(key, one, sweep.space)]
    if not found and (circle := _circle(sweep.space)):
        found.append((f"space.{circle}", "depends on itself, by `when` and `same_as`"))
    for key, one in sweep.space.items():
        free = one.kind not in (*LISTS, "same_as")
        if sweep.search == "grid" and free:
            found.append(
                (f"space.{key}", f"search: grid takes lists (grid, choice); {one.kind} needs random or optuna")
            )
        if sweep.search == "optuna" and one.kind == "grid":
            found.append((f"space.{key}", "search: optuna does not cover a grid; write choice"))
        if sweep.scheduler.use == "pbt" and key.split(".")[0] not in MAY_MUTATE:
            allowed = ", ".join(MAY_MUTATE)
            found.append(
                (f"space.{key}", f"scheduler: pbt changes a run while it trains; only keys of {allowed} can be")
            )
    if sweep.start_from is not None and sweep.search != "optuna":
        found.append(
            ("start_from", f"search: {sweep.search} learns nothing from results; only optuna can begin with some")
        )
    return found + _metric_conflicts(sweep) + list(_pbt_conflicts(sweep))


def _metric_conflicts(sweep: SweepSpec) -> list[tuple[str, str]]:
    """What wants one number where there are several."""
    count, found = len(sweep.metrics), []
    if len(sweep.modes) != count:
        found.append(("mode", f"{len(sweep.modes)} modes for {count} metrics; give one for all, or one for each"))
    if count > 1 and sweep.scheduler.use != "none":
        found.append(
            ("scheduler", f"{sweep.scheduler.use} compares trials by one number, not by {count} metrics; use none")
        )
    return found


def _pbt_conflicts(sweep: SweepSpec) -> list[tuple[str, str]]:
    if sweep.scheduler.use != "pbt":
        return []
    found = []
    if sweep.search != "random":
        found.append(("search", f"scheduler: pbt begins with drawn values; '{sweep.search}' is not for it, use random"))
    if sweep.seeds > 1:
        found.append(("seeds", f"scheduler: pbt is one population; {sweep.seeds} seeds are {sweep.seeds} sweeps"))
    if (sweep.wanted or 0) < 2:
        found.append(("trials", f"{sweep.wanted} is no population; scheduler: pbt needs at least 2"))
    found += [
        (f"space.{key}", "scheduler: pbt changes values while it trains, so none may come and go by `when`")
        for key, one in sweep.space.items()
        if one.when
    ]
    return found


def _references(key: str, one: Parameter, space: Mapping[str, Parameter]) -> list[tuple[str, str]]:
    """What `same_as` and `when` name must be another key of the space, and a value that it takes."""
    found = []
    for word, named in [("same_as", one.tied), *(("when", other) for other, _ in one.when)]:
        if named and (named not in space or named == key):
            near = nearest_name(named, [other for other in space if other != key])
            guess = f"; did you mean '{near}'?" if near else ""
            found.append((f"space.{key}", f"{word}: '{named}' is no other key of the space{guess}"))
    for other, values in one.when:
        takes = space[other].values if other in space and space[other].kind in LISTS else values
        found += [
            (
                f"space.{key}",
                f"when: '{other}' is never {show_value(value)}{suggestion(str(value), [*map(str, takes)])}",
            )
            for value in values
            if value not in takes
        ]
    return found


def needs(one: Parameter) -> list[str]:
    """The keys of the space that must be settled before this one."""
    return [key for key in (one.tied, *(other for other, _ in one.when)) if key]


def _circle(space: Mapping[str, Parameter]) -> str | None:
    """A key that waits for itself, or None."""
    try:
        TopologicalSorter({key: needs(one) for key, one in space.items()}).prepare()
    except CycleError as error:
        return next(key for key in space if key in error.args[1])
    return None


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
