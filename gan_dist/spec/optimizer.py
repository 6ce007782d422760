"""The `optimizer` section: one recipe for all networks, and what single networks do otherwise."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gan_dist.spec.amounts import Amount, AmountOrZero
from gan_dist.spec.fields import Number, Section
from gan_dist.spec.schedules import BoundedNumber, Scheduled

Rate = Annotated[Scheduled, BoundedNumber(ge=0)]
Beta = Annotated[Number, Field(ge=0, lt=1)]
Betas = tuple[Beta, Beta]
Epsilon = Annotated[Number, Field(gt=0)]
Decay = Annotated[Number, Field(ge=0)]
Clip = Annotated[Number, Field(gt=0)]

LR = "Learning rate; may be a schedule."
BETAS = "Decay rates of the two moving averages."
EPS = "Added to the denominator of the step."
WEIGHT_DECAY = "Decay of the weights per step, times the learning rate; decoupled with adamw."
WARMUP = "The learning rate grows linearly from 0 over this much of the run (of each stage)."
CLIP = "Largest norm of all gradients of one network together; null for no clipping."
NETWORK_KEYS = ("lr", "betas", "eps", "weight_decay", "warmup", "clip")


class OptimizerSettings(Section):
    """What one network's optimiser gets, with its own overrides applied."""

    use: Literal["adam", "adamw"] = Field(description="Which optimiser.")
    lr: Rate = Field(description=LR)
    betas: Betas = Field(description=BETAS)
    eps: Epsilon = Field(description=EPS)
    weight_decay: Decay = Field(description=WEIGHT_DECAY)
    warmup: AmountOrZero = Field(description=WARMUP)
    clip: Clip | None = Field(description=CLIP)


class NetworkOptimizer(Section):
    """What one network does otherwise; every key is optional."""

    lr: Rate = Field(default=2e-4, description=LR)
    betas: Betas = Field(default=(0.5, 0.999), description=BETAS)
    eps: Epsilon = Field(default=1e-8, description=EPS)
    weight_decay: Decay = Field(default=0.0, description=WEIGHT_DECAY)
    warmup: AmountOrZero = Field(default=Amount(0), description=WARMUP, json_schema_extra={"unit": "samples"})
    clip: Clip | None = Field(default=None, description=CLIP)

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, written: object) -> object:
        """A plain value where a network's mapping should be is a mistyped key of the optimiser itself."""
        if isinstance(written, dict | NetworkOptimizer):
            return written
        raise PydanticCustomError("extra_forbidden", "unknown key")

    @model_serializer(mode="wrap")
    def _only_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keys that were not given stay away, else reading them back would override the shared ones."""
        return {key: value for key, value in dump(self).items() if key in self.model_fields_set}


class OptimizerSpec(Section):
    """How weights are stepped. Any further key is a network's name with its own settings."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, NetworkOptimizer] = Field(init=False)

    use: Literal["adam", "adamw"] = Field(default="adam", description="Which optimiser.")
    lr: Rate = Field(default=2e-4, description=LR)
    betas: Betas = Field(default=(0.5, 0.999), description=BETAS)
    eps: Epsilon = Field(default=1e-8, description=EPS)
    weight_decay: Decay = Field(default=0.0, description=WEIGHT_DECAY)
    warmup: AmountOrZero = Field(default=Amount(0), description=WARMUP, json_schema_extra={"unit": "samples"})
    clip: Clip | None = Field(default=None, description=CLIP)

    @property
    def overrides(self) -> dict[str, NetworkOptimizer]:
        """The networks with settings of their own."""
        return dict(self.__pydantic_extra__ or {})

    def settings(self, network: str) -> OptimizerSettings:
        """What the named network's optimiser gets."""
        values = {key: getattr(self, key) for key in NETWORK_KEYS}
        if own := self.overrides.get(network):
            values |= {key: getattr(own, key) for key in own.model_fields_set}
        return OptimizerSettings(use=self.use, **values)
