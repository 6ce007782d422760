"""The places of a job where a component is named: `use: NAME`, every other key an argument of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from gan_dist.spec.amounts import Amount, CountField
from gan_dist.spec.fields import Section, Whole
from gan_dist.spec.problems import show_value
from gan_dist.spec.schedules import BoundedNumber, Scheduled, is_schedule, parse_schedule

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
        paths = {key: Path(value).expanduser().absolute() for key, value in named.items() if value != RANDOM}
        there = {key: path for key, path in paths.items() if (path.is_dir() if key == "folder" else path.is_file())}
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
