"""The `optimizer` section: one recipe for all networks, and what single networks do otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from gan_dist.spec.amounts import Amount, AmountOrZero
from gan_dist.spec.component_specs import as_argument
from gan_dist.spec.fields import OWN_NAME, Number, Section, is_own_name
from gan_dist.spec.job_file import merge_values
from gan_dist.spec.problems import show_value, suggestion
from gan_dist.spec.schedules import BoundedNumber, Schedule, Scheduled, is_schedule, plain_scheduled, schedule_schema

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
Beta = Annotated[Number, Field(ge=0, lt=1)]
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
BETAS = "Decay rates of the two moving averages."
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
    return merge_values(dict(job), dict(stage)) if use == before or {use, before} <= {*OURS} else dict(stage)


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
        """What follows a schedule beside the learning rate."""
        values = {"weight_decay": self.weight_decay} if self.is_ours else self.args
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
