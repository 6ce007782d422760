"""What every section of a job shares: frozen, no unknown keys, and types whose errors name the value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from gan_dist.spec.errors import shown, unknown_key


class Section(BaseModel):
    """A mapping of the job file. Frozen; unknown keys are refused; JSON gives back an equal section."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        serialize_by_alias=True,
        validate_by_name=True,
        validate_by_alias=True,
        protected_namespaces=(),
        ser_json_inf_nan="constants",
    )


def whole(written: object) -> int:
    """A whole number; 1e3 is one, true and "64" are not. Raises ValueError."""
    if isinstance(written, bool) or not isinstance(written, int | float) or written != written // 1:
        raise ValueError(f"{shown(written)} is not a whole number")
    return int(written)


def number(written: object) -> float:
    """A finite number; true and "0.5" are none. Raises ValueError."""
    if isinstance(written, bool) or not isinstance(written, int | float):
        raise ValueError(f"{shown(written)} is not a number")
    if not math.isfinite(written):
        raise ValueError(f"{shown(written)} is not a finite number")
    return float(written)


Whole = Annotated[int, BeforeValidator(whole)]
Number = Annotated[float, BeforeValidator(number)]
Truth = Annotated[bool, Field(strict=True)]


@dataclass(frozen=True)
class AutoOr:
    """Annotation of a field that takes `auto` or a number of at least `ge`, whole if its type says int."""

    ge: float
    whole: bool = True

    def check(self, written: object) -> int | float | str:
        """The number, or "auto"; raises ValueError."""
        if written == "auto":
            return "auto"
        if isinstance(written, str):
            raise ValueError(f"{shown(written)} is neither a number nor 'auto'")
        value = whole(written) if self.whole else number(written)
        if value < self.ge:
            raise ValueError(f"{value:g} is out of range; must be at least {self.ge:g}, or 'auto'")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        kind = "integer" if self.whole else "number"
        return {"anyOf": [{"const": "auto"}, {"type": kind, "minimum": self.ge}]}


class WorkerRange(Section):
    """As many workers as the cluster has room for, between two limits."""

    min: int = Field(description="Fewest workers to start with.", ge=1, json_schema_extra={"unit": "workers"})
    max: int = Field(description="Most workers to use.", ge=1, json_schema_extra={"unit": "workers"})


def plain_workers(value: int | str | WorkerRange) -> int | str | dict[str, int]:
    """What JSON holds for `resources.workers`."""
    return {"min": value.min, "max": value.max} if isinstance(value, WorkerRange) else value


def parse_workers(written: object) -> int | str | WorkerRange:
    """`resources.workers`: a count, `auto`, or `{min, max}`. Raises ValueError."""
    if isinstance(written, WorkerRange):
        return written
    if not isinstance(written, Mapping):
        return int(count) if (count := AutoOr(ge=1).check(written)) != "auto" else "auto"
    for key in written:
        if key not in ("min", "max"):
            raise ValueError(f"{key}: {unknown_key(str(key), ('min', 'max'))}")
    if len(written) < 2:
        raise ValueError(f"{shown(dict(written))} must give both min and max")
    low, high = whole(written["min"]), whole(written["max"])
    if not 1 <= low <= high:
        raise ValueError(f"min {low} and max {high} are out of range; must be 1 <= min <= max")
    return WorkerRange(min=low, max=high)
