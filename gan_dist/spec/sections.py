"""The sections of a job: components by `use: NAME` with every other key an argument of it, the optimiser, and plain
values."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from gan_dist.spec.amounts import Amount, AmountField, AmountOrZero, CountField
from gan_dist.spec.fields import (
    OWN_NAME,
    AutoOr,
    Number,
    Section,
    Truth,
    Whole,
    WorkerRange,
    is_own_name,
    parse_workers,
    plain_workers,
)
from gan_dist.spec.job_file import merge_values
from gan_dist.spec.paths import absolute_path
from gan_dist.spec.power_average import exponent_of
from gan_dist.spec.problems import show_value, suggestion
from gan_dist.spec.schedules import (
    BoundedNumber,
    Schedule,
    Scheduled,
    is_schedule,
    parse_schedule,
    plain_scheduled,
    schedule_schema,
)

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
    """A moving average of the generator's weights, by `half_life` or by `sigma`; samples and metrics then use it."""

    half_life: HalfLife | None = Field(
        default=None,
        description="After how many samples a weight counts half; 0 follows at once; may be a schedule.",
        json_schema_extra={"unit": "samples"},
    )
    sigma: Annotated[Number, Field(gt=0)] | None = Field(
        default=None,
        description="Width of the average as a part of the samples seen, at most 0.2887; 0.05 and 0.1 are usual.",
        json_schema_extra={"unit": "fraction"},
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

    @model_validator(mode="after")
    def _one_kind(self) -> EmaSpec:
        if (self.half_life is None) == (self.sigma is None):
            raise ValueError("give either `half_life` or `sigma`, the width of the average")
        if self.sigma is not None:
            exponent_of(self.sigma)
            if self.ramp_up is not None or self.start != Amount(0):
                raise ValueError("ramp_up and start are for half_life; an average by sigma grows with the run")
        return self


def _one_or_more_averages(written: object) -> object:
    return [written] if isinstance(written, Mapping | EmaSpec) else written


def _told_apart(averages: tuple[EmaSpec, ...] | None) -> tuple[EmaSpec, ...] | None:
    sigmas = [one.sigma for one in averages or ()]
    if None in sigmas[1:]:
        raise ValueError("of several averages only the first may have a half_life; others are told apart by sigma")
    if len(set(sigmas)) < len(sigmas):
        raise ValueError(f"sigmas must differ, not {', '.join(f'{one:g}' for one in sigmas if one is not None)}")
    return averages


def _one_as_mapping(averages: tuple[EmaSpec, ...] | None, info: SerializationInfo) -> Any:
    """A lone average is written as a mapping, as people write it, so that `ema.half_life` names its key."""
    chosen = {"by_alias": bool(info.by_alias), "exclude_defaults": info.exclude_defaults, "mode": info.mode}
    dumped = [one.model_dump(**chosen) for one in averages or ()]  # type: ignore[arg-type]
    return dumped[0] if len(dumped) == 1 else dumped or None


Averages = Annotated[
    Annotated[tuple[EmaSpec, ...], Field(min_length=1)] | None,
    BeforeValidator(_one_or_more_averages, json_schema_input_type=EmaSpec | tuple[EmaSpec, ...] | None),
    AfterValidator(_told_apart),
    PlainSerializer(_one_as_mapping),
]


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
    snapshot: AmountField | None = Field(
        default=None,
        description="Averages by sigma kept in float16, of which any width can be made afterwards; null for none.",
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


STOP_GRACE_S = 30


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
    gpus_per_worker: Number = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of a GPU for each worker where it trains on GPUs. Less than 1 lets several runs of one "
        "worker, such as the trials of a sweep, share a GPU.",
        json_schema_extra={"unit": "GPUs"},
    )
    accelerator: str | None = Field(
        default=None, description="Kind of GPU, as Ray calls it: H100, A100-80G. By default any."
    )
    memory: Number | None = Field(
        default=None, gt=0, description="Memory reserved for each worker.", json_schema_extra={"unit": "GiB"}
    )
    custom: dict[str, Annotated[Number, Field(gt=0)]] = Field(
        default_factory=dict, description="Custom resources of Ray that each worker reserves, such as {licence: 1}."
    )
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="Labels that a worker's node must have, as Ray writes them: {zone: eu-1}, {zone: '!eu-2'}.",
    )
    placement: Literal["pack", "spread", "one_node", "one_per_node"] = Field(
        default="pack",
        description="Which nodes the workers take: pack (few), spread (many), one_node, or one_per_node.",
    )
    autoscale: Truth = Field(
        default=False,
        description="An autoscaler starts nodes for this run: what the cluster has not got yet is waited for.",
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
        description="How long to wait for the workers before giving up, from when it is the run's turn.",
        json_schema_extra={"unit": "seconds"},
    )
    priority: Whole = Field(
        default=0,
        ge=-100,
        description="Runs that wait for a cluster go by it, the highest first; those of one priority as they came.",
    )
    stop_grace: Whole = Field(
        default=STOP_GRACE_S,
        ge=1,
        description="How long a run that is to stop has for its checkpoint, before it is ended without.",
        json_schema_extra={"unit": "seconds"},
    )

    @model_validator(mode="after")
    def _says_what_nodes_are_started_for(self) -> ResourcesSpec:
        if self.autoscale and "auto" in (self.workers, self.device):
            raise ValueError(
                "autoscale: nothing is known yet of the nodes that will be started; say how many `workers`, and "
                "`device: cuda` or `device: cpu`"
            )
        return self

    @model_validator(mode="after")
    def _one_worker_to_a_shared_gpu(self) -> ResourcesSpec:
        most = self.workers.max if isinstance(self.workers, WorkerRange) else self.workers
        if self.gpus_per_worker < 1 and most != 1 and self.device != "cpu":
            raise ValueError(
                f"gpus_per_worker: {self.gpus_per_worker:g} needs `workers: 1`, not {most}: workers of one run that "
                "share a GPU cannot join (NCCL refuses it)"
            )
        return self


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"{show_value(name)} is no name of an environment variable (names only, no values)")
    return name


def _file_of_a_node(path: str) -> str:
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError(f"{show_value(path)} is no absolute path of a file, such as /run/secrets/hf_token")
    return path


class EnvironmentSpec(Section):
    """What the workers need besides gan-dist."""

    code: str | None = Field(default=None, description="Folder with your own modules, shipped with the run.")
    pip: tuple[str, ...] = Field(default=(), description="Packages to install on the workers, as pip writes them.")
    image: str | None = Field(default=None, description="Container image to run in, where the cluster can.")
    env: tuple[Annotated[str, AfterValidator(_variable)], ...] = Field(
        default=(), description="Names of your environment variables that the workers get too."
    )
    secrets: dict[Annotated[str, AfterValidator(_variable)], Annotated[str, AfterValidator(_file_of_a_node)]] = Field(
        default_factory=dict,
        description="Variables that driver, workers and data tasks take from a file of their node, such as a mounted "
        "secret: {HF_TOKEN: /run/secrets/hf_token}. The values are sent nowhere.",
    )

    @model_validator(mode="after")
    def _one_way_to_a_variable(self) -> EnvironmentSpec:
        if both := sorted({*self.env} & {*self.secrets}):
            raise ValueError(f"secrets: {both[0]!r} is in `env` too; a variable is sent or read on the nodes")
        return self


PATHS = ("folder", "weights")  # arguments of components that name what lies on the user's machine
RANDOM = "random"  # weights that are no file
_OF_METRICS = "A name from `gan-dist help metrics`, or your own as `package.module:Name`."


class ComponentSpec(Section):
    """A component and its arguments."""

    model_config = ConfigDict(extra="allow")

    use: str = Field(description="A name from `gan-dist help networks`, or your own as `package.module:Name`.")

    @property
    def args(self) -> dict[str, Any]:
        """The arguments; a schedule among them is a `Schedule`."""
        return {key: as_argument(value) for key, value in (self.model_extra or {}).items()}

    def with_absolute_paths(self) -> Self:
        """The same as another process finds it, that runs in another folder: files and folders that are here."""
        named = {key: value for key in PATHS if isinstance(value := (self.model_extra or {}).get(key), str)}
        paths = {key: absolute_path(value) for key, value in named.items() if value != RANDOM}
        is_there = {key: os.path.isdir if key == "folder" else os.path.isfile for key in PATHS}
        there = {key: path for key, path in paths.items() if is_there[key](path)}
        return self.model_copy(update={key: str(path) for key, path in there.items()})

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, written: object) -> object:
        """Lets `generator: dcgan` stand for `generator: {use: dcgan}`."""
        return {"use": written} if isinstance(written, str) else written


class ObjectiveSpec(ComponentSpec):
    """A term of what is minimised."""

    weight: Annotated[Scheduled, BoundedNumber(ge=0)] = Field(
        default=1.0, description="Factor of this objective in the sum."
    )


class PenaltySpec(ComponentSpec):
    """A regularising term beside the objective."""

    every: Whole = Field(
        default=1,
        ge=1,
        le=1024,
        description="Apply only in each n-th step, n times as strongly (lazy regularisation).",
        json_schema_extra={"unit": "steps"},
    )


TENSORBOARD = "tensorboard"


Told = Literal["failed", "finished", "stopped", "collapsed", "restarted"]


class NotifySpec(Section):
    """Whom to tell what becomes of the run."""

    url: str = Field(
        description="Address that gets a JSON document by POST, such as a chat's webhook; or $NAME, the environment "
        "variable that holds it where the run is driven (name it in environment.env)."
    )
    on: Annotated[tuple[Told, ...], Field(min_length=1)] = Field(
        default=("failed", "finished"), description=f"What is told: {', '.join(get_args(Told))}."
    )

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        if url.startswith("$"):
            _variable(url[1:])
        elif not re.match(r"https?://[^/]", url):
            raise ValueError(f"{show_value(url)} is neither an http(s) address nor $NAME of a variable")
        return url


class TrackerSpec(ComponentSpec):
    """Where else a run is shown while it trains."""

    use: str = Field(description="wandb, mlflow, or your own as `package.module:Name` (`gan-dist help tensorboard`).")


def other_trackers(written: object) -> object:
    """Leaves out TensorBoard, whose files are part of every run: naming it changes nothing."""
    if not isinstance(written, Sequence) or isinstance(written, str):
        return written
    return [one for one in written if not is_tensorboard(one)]


def is_tensorboard(written: object) -> bool:
    """Whether TensorBoard is named, which is no tracker."""
    return written in (TENSORBOARD, {"use": TENSORBOARD})


class FeaturesSpec(ComponentSpec):
    """What images are compared by, and its arguments."""

    use: str = Field(description=_OF_METRICS)


class MetricSpec(ComponentSpec):
    """A metric and its arguments."""

    use: str = Field(description=_OF_METRICS)
    features: FeaturesSpec = Field(
        default="random",
        validate_default=True,
        description="What images are compared by: a name, or a mapping with `use`.",
    )
    samples: CountField = Field(
        default=Amount(5000),
        description="How many generated samples are looked at.",
        json_schema_extra={"unit": "samples"},
    )


def as_argument(value: Any) -> Any:
    """A component's argument as it is used: a mapping that is a schedule becomes one. Raises ValueError."""
    return parse_schedule(value) if is_schedule(value) else value


def one_or_more(written: object) -> object:
    """Lets one objective stand for a list of one."""
    if written is None or (isinstance(written, Sequence) and not isinstance(written, str)):
        return written
    if isinstance(written, str | Mapping | ObjectiveSpec):
        return [written]
    raise ValueError(f"{show_value(written)} must be a mapping with `use`, or a list of them")


OURS = ("adam", "adamw")


def _known(use: str) -> str:
    if use not in OURS and not is_own_name(use):
        raise ValueError(
            f"{show_value(use)} is not allowed{suggestion(use, OURS)}, or any other as 'package.module:Name'"
        )
    return use


def _is_network(written: object) -> bool:
    return isinstance(written, NetworkOptimizer) or (isinstance(written, Mapping) and not is_schedule(written))


Use = Annotated[
    str,
    AfterValidator(_known),
    WithJsonSchema({"anyOf": [{"enum": list(OURS)}, {"type": "string", "pattern": f"^{OWN_NAME}$"}]}),
]
Rate = Annotated[Scheduled, BoundedNumber(ge=0)]
Beta = Annotated[Scheduled, BoundedNumber(ge=0, lt=1)]
Betas = tuple[Beta, Beta]
Epsilon = Annotated[Number, Field(gt=0)]
Decay = Annotated[Scheduled, BoundedNumber(ge=0)]
Clip = Annotated[Number, Field(gt=0)]
ARGUMENT_SCHEMA: dict[str, Any] = {
    "description": "An argument of an optimiser of your own.",
    "anyOf": [{"type": ["number", "string", "boolean", "array", "null"]}, schedule_schema({"type": "number"})],
}
Argument = Annotated[
    Any, PlainValidator(as_argument), PlainSerializer(plain_scheduled, return_type=Any), WithJsonSchema(ARGUMENT_SCHEMA)
]

LR = "Learning rate; may be a schedule."
BETAS = "Decay rates of the two moving averages; each may be a schedule."
EPS = "Added to the denominator of the step."
WEIGHT_DECAY = "Decay of the weights per step, times the learning rate; decoupled with adamw; may be a schedule."
WARMUP = "The learning rate grows linearly from 0 over this much of the run (of each stage)."
CLIP = "Largest norm of all gradients of one network together; null for no clipping."
NETWORK_KEYS = ("lr", "betas", "eps", "weight_decay", "warmup", "clip")
# What an optimiser that is not ours gets only where it is written: else its own defaults hold.
IF_WRITTEN = ("betas", "eps", "weight_decay")


def laid_on(job: Mapping[str, Any], stage: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's section with what it takes from the job's, both as written: of another optimiser, nothing."""
    before = job.get("use", OURS[0])
    use = stage.get("use", before)
    return merge_values(dict(job), dict(stage)) if use == before or (use in OURS and before in OURS) else dict(stage)


class OptimizerSettings(Section):
    """What one network's optimiser gets, with its own overrides applied.

    Attributes:
        args: of one that is not ours, its arguments beside `lr`, as far as they are written.
    """

    use: Use = Field(description="Which optimiser.")
    lr: Rate = Field(description=LR)
    betas: Betas = Field(description=BETAS)
    eps: Epsilon = Field(description=EPS)
    weight_decay: Decay = Field(description=WEIGHT_DECAY)
    warmup: AmountOrZero = Field(description=WARMUP)
    clip: Clip | None = Field(description=CLIP)
    args: dict[str, Argument] = Field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        return self.use in OURS

    @property
    def scheduled(self) -> dict[str, Schedule]:
        """What follows a schedule beside the learning rate; one of `betas` by its place, `betas.1`."""
        values = {"weight_decay": self.weight_decay} if self.is_ours else self.args
        betas = self.betas if self.is_ours or "betas" in self.args else ()
        values = {**values, **{f"betas.{place}": beta for place, beta in enumerate(betas)}}
        return {key: value for key, value in values.items() if isinstance(value, Schedule)}


class NetworkOptimizer(Section):
    """What one network does otherwise; every key is optional."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Argument] = Field(init=False)

    lr: Rate = Field(default=2e-4, description=LR)
    betas: Betas = Field(default=(0.5, 0.999), description=BETAS)
    eps: Epsilon = Field(default=1e-8, description=EPS)
    weight_decay: Decay = Field(default=0.0, description=WEIGHT_DECAY)
    warmup: AmountOrZero = Field(default=Amount(0), description=WARMUP, json_schema_extra={"unit": "samples"})
    clip: Clip | None = Field(default=None, description=CLIP)

    @property
    def args(self) -> dict[str, Any]:
        """Further arguments of an optimiser that is not ours."""
        return dict(self.__pydantic_extra__ or {})

    @model_serializer(mode="wrap")
    def _only_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keys that were not given stay away, else reading them back would override the shared ones."""
        return {key: value for key, value in dump(self).items() if key in self.model_fields_set}


def _with_either(schema: dict[str, Any]) -> None:
    """A further key is a network's or an argument; editors need not know which, so that both may fit."""
    schema["additionalProperties"] = {"anyOf": schema["additionalProperties"]["oneOf"]}


class OptimizerSpec(Section):
    """How weights are stepped. Any further key is a network's name with its own settings, or an argument of an
    optimiser of your own."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_with_either)
    __pydantic_extra__: dict[
        str,
        Annotated[
            Annotated[NetworkOptimizer, Tag("[network]")] | Annotated[Argument, Tag("[argument]")],
            Discriminator(lambda written: "[network]" if _is_network(written) else "[argument]"),
        ],
    ] = Field(init=False)

    use: Use = Field(
        default="adam",
        description="Which optimiser: adam, adamw, or any with PyTorch's contract as `package.module:Name`.",
    )
    lr: Rate = Field(default=2e-4, description=LR)
    betas: Betas = Field(default=(0.5, 0.999), description=BETAS)
    eps: Epsilon = Field(default=1e-8, description=EPS)
    weight_decay: Decay = Field(default=0.0, description=WEIGHT_DECAY)
    warmup: AmountOrZero = Field(default=Amount(0), description=WARMUP, json_schema_extra={"unit": "samples"})
    clip: Clip | None = Field(default=None, description=CLIP)

    @property
    def overrides(self) -> dict[str, NetworkOptimizer]:
        """The networks with settings of their own."""
        further = self.__pydantic_extra__ or {}
        return {name: one for name, one in further.items() if isinstance(one, NetworkOptimizer)}

    @property
    def args(self) -> dict[str, Any]:
        """Further arguments of an optimiser that is not ours."""
        further = self.__pydantic_extra__ or {}
        return {name: one for name, one in further.items() if not isinstance(one, NetworkOptimizer)}

    def settings(self, network: str) -> OptimizerSettings:
        """What the named network's optimiser gets."""
        sections: list[OptimizerSpec | NetworkOptimizer] = [self]
        sections += [own] if (own := self.overrides.get(network)) else []
        values = {key: getattr(self, key) for key in NETWORK_KEYS}
        args: dict[str, Any] = {}
        for section in sections:
            written = section.model_fields_set
            values |= {key: getattr(section, key) for key in NETWORK_KEYS if key in written}
            args |= {key: getattr(section, key) for key in IF_WRITTEN if key in written} | section.args
        return OptimizerSettings(use=self.use, args={} if self.use in OURS else args, **values)

    @model_validator(mode="after")
    def _arguments_are_of_others(self) -> OptimizerSpec:
        if self.use in OURS and (wrong := list(self._unknown())):
            raise ValidationError.from_exception_data("optimizer", wrong)
        return self

    def _unknown(self) -> Iterator[InitErrorDetails]:
        """Every key that only an optimiser of one's own could have."""
        places: list[tuple[tuple[str, ...], Any]] = [((key,), value) for key, value in self.args.items()]
        places += [((name, key), value) for name, own in self.overrides.items() for key, value in own.args.items()]
        for place, value in places:
            error = PydanticCustomError("extra_forbidden", "unknown key")
            yield InitErrorDetails(type=error, loc=place, input=value)

    @model_serializer(mode="wrap")
    def _without_defaults_of_ours(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What another optimiser has defaults of its own for stays away unless it is written."""
        absent = set(IF_WRITTEN) - self.model_fields_set if self.use not in OURS else set()
        return {key: value for key, value in dump(self).items() if key not in absent}
