"""The sections of a job that are plain keys and values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from gan_dist.spec.amounts import Amount, AmountField, AmountOrZero
from gan_dist.spec.fields import AutoOr, Number, Section, Whole, WorkerRange, parse_workers, plain_workers
from gan_dist.spec.problems import show_value
from gan_dist.spec.schedules import Schedule, parse_schedule, schedule_schema

COUNTS = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}


def _half_life(written: object) -> Amount | Schedule:
    if isinstance(written, Schedule):
        return written
    if isinstance(written, Mapping):
        return parse_schedule(written, counts=True)
    return Amount.parse(written, zero=True)


def _plain(value: Amount | Schedule) -> int | str | dict[str, Any]:
    return value.plain()


HalfLife = Annotated[
    Amount | Schedule,
    PlainValidator(_half_life),
    PlainSerializer(_plain),
    WithJsonSchema({"anyOf": [*COUNTS["anyOf"], schedule_schema(COUNTS)]}),
]


class EmaSpec(Section):
    """A moving average of the generator's weights; samples and metrics then use it."""

    half_life: HalfLife = Field(
        description="After how many samples a weight counts half; 0 follows at once; may be a schedule.",
        json_schema_extra={"unit": "samples"},
    )
    ramp_up: Annotated[Number, Field(gt=0)] | None = Field(
        default=None,
        description="Limits the half-life to this fraction of the samples seen; StyleGAN2 has 0.05.",
        json_schema_extra={"unit": "fraction"},
    )
    start: AmountOrZero = Field(
        default=Amount(0),
        description="Until then the average is a copy of the weights.",
        json_schema_extra={"unit": "samples"},
    )


class StandingSpec(Section):
    """Standing statistics: G's batch normalisation is estimated anew whenever samples are made or stored."""

    batches: Whole = Field(
        default=16,
        ge=1,
        description="Batches of fresh noise whose statistics are averaged.",
        json_schema_extra={"unit": "batches"},
    )
    batch: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None,
        description="Samples in each of them; null for the job's `batch`.",
        json_schema_extra={"unit": "samples"},
    )


class EverySpec(Section):
    """How often something is written."""

    report: AmountField = Field(
        default=Amount(16_000),
        description="Losses and rates to TensorBoard and the log.",
        json_schema_extra={"unit": "samples"},
    )
    grid: AmountField = Field(
        default=Amount(128_000),
        description="A grid of samples on fixed noise; the first come earlier.",
        json_schema_extra={"unit": "samples"},
    )
    checkpoint: AmountField = Field(
        default=Amount(256_000),
        description="Everything needed to resume; at least every 15 minutes in any case.",
        json_schema_extra={"unit": "samples"},
    )
    metrics: AmountField = Field(
        default=Amount(128_000),
        description="The job's `metrics`; the last time at the end.",
        json_schema_extra={"unit": "samples"},
    )


class StopSpec(Section):
    """Ends a run early, once a metric is good enough."""

    metric: str = Field(description="One of the job's metrics: its exact name, or the beginning of one.")
    below: Number | None = Field(default=None, description="Stop once the metric is lower.")
    above: Number | None = Field(default=None, description="Stop once the metric is higher.")

    @model_validator(mode="after")
    def _one_limit(self) -> StopSpec:
        if (self.below is None) == (self.above is None):
            raise ValueError("give either `below` or `above`, the value at which the run is to stop")
        return self

    def reached(self, value: float) -> bool:
        """Whether the metric's value ends the run."""
        return value < self.below if self.below is not None else self.above is not None and value > self.above


class KeepSpec(Section):
    """Which checkpoints stay."""

    last: Whole = Field(default=2, ge=1, description="Newest to keep.", json_schema_extra={"unit": "checkpoints"})
    best: Whole = Field(
        default=0,
        ge=0,
        description="Best by `metric` to keep besides.",
        json_schema_extra={"unit": "checkpoints"},
    )
    metric: str | None = Field(
        default=None,
        description="What decides what is best: one of the job's metrics, or any logged number by its tag.",
    )
    mode: Literal["min", "max"] = Field(default="min", description="Whether the lowest or highest metric is best.")

    @model_validator(mode="after")
    def _best_by_metric(self) -> KeepSpec:
        if self.best > 0 and not self.metric:
            raise ValueError(f"best: {self.best} needs `metric`, the metric that decides what is best")
        return self


class ResourcesSpec(Section):
    """What the run asks of the cluster."""

    workers: Annotated[
        int | Literal["auto"] | WorkerRange,
        PlainValidator(parse_workers, json_schema_input_type=int | Literal["auto"] | WorkerRange),
        PlainSerializer(plain_workers),
    ] = Field(
        default="auto",
        description="Training processes: a count, {min, max}, or auto (one per GPU, else two on CPU; "
        "fewer where batch is small).",
        json_schema_extra={"unit": "workers"},
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto takes GPUs where the cluster has any."
    )
    cpus_per_worker: Annotated[float | Literal["auto"], AutoOr(ge=0.1, whole=False)] = Field(
        default="auto",
        description="CPUs reserved for each worker; auto is one each.",
        json_schema_extra={"unit": "CPUs"},
    )
    data_cpus: Annotated[int | Literal["auto"], AutoOr(ge=1)] = Field(
        default="auto",
        description="Most CPUs of the cluster that decode data at a time; auto is all.",
        json_schema_extra={"unit": "CPUs"},
    )
    max_failures: Whole = Field(
        default=3, ge=0, description="Restarts after a lost worker.", json_schema_extra={"unit": "restarts"}
    )
    start_deadline: Whole = Field(
        default=300,
        ge=1,
        description="How long to wait for the workers before giving up.",
        json_schema_extra={"unit": "seconds"},
    )


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"{show_value(name)} is no name of an environment variable (names only, no values)")
    return name


class EnvironmentSpec(Section):
    """What the workers need besides gan-dist."""

    code: str | None = Field(default=None, description="Folder with your own modules, shipped with the run.")
    pip: tuple[str, ...] = Field(default=(), description="Packages to install on the workers, as pip writes them.")
    image: str | None = Field(default=None, description="Container image to run in, where the cluster can.")
    env: tuple[Annotated[str, AfterValidator(_variable)], ...] = Field(
        default=(), description="Names of your environment variables that the workers get too."
    )
