"""What every section of a job shares: frozen, no unknown keys, and types whose errors name the value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from gan_dist.spec.problems import show_value, suggestion, unknown_key

# A person's own class or function: `package.module:Name`.
OWN_NAME = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"


def is_own_name(text: str) -> bool:
    """Whether a text is of the form `package.module:Name`."""
    return re.fullmatch(OWN_NAME, text) is not None


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


def parse_whole_number(written: object) -> int:
    """A whole number; 1e3 is one, true and "64" are not. Raises ValueError."""
    if isinstance(written, bool) or not isinstance(written, int | float) or written != written // 1:
        raise ValueError(f"{show_value(written)} is not a whole number")
    return int(written)


def parse_number(written: object) -> float:
    """A finite number; true and "0.5" are none. Raises ValueError."""
    if isinstance(written, bool) or not isinstance(written, int | float):
        raise ValueError(f"{show_value(written)} is not a number")
    if not math.isfinite(written):
        raise ValueError(f"{show_value(written)} is not a finite number")
    return float(written)


Whole = Annotated[int, BeforeValidator(parse_whole_number)]
Number = Annotated[float, BeforeValidator(parse_number)]
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
            raise ValueError(f"{show_value(written)} is neither a number nor 'auto'")
        value = parse_whole_number(written) if self.whole else parse_number(written)
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
        raise ValueError(f"{show_value(dict(written))} must give both min and max")
    low, high = parse_whole_number(written["min"]), parse_whole_number(written["max"])
    if not 1 <= low <= high:
        raise ValueError(f"min {low} and max {high} are out of range; must be 1 <= min <= max")
    return WorkerRange(min=low, max=high)


Held = Literal["test", "validation"]
HELD: tuple[Held, ...] = get_args(Held)
WAYS = ("words", "blanks", "characters", "treebank")  # of cutting text into tokens
BYTE_PAIRS = "bpe"
NUMBER = {"type": "number", "minimum": 0}
LARGEST_SHARE = 0.5


_FIRST = re.compile(r"(\d+) (sentence|question|word|character)s?")


def _first(written: object) -> str:
    """`1 sentence`, `2 sentences`, and of questions, words and characters alike. Raises ValueError."""
    match = _FIRST.fullmatch(written) if isinstance(written, str) else None
    if match is None or int(match[1]) < 1:
        raise ValueError(f"{show_value(written)} is no beginning of a text; write 1 sentence, 1 question, or 6 words")
    return str(written)


class PromptCut(Section):
    """A prompt that is the beginning of each text."""

    first: Annotated[str, BeforeValidator(_first)] = Field(
        description="How much of a text is its prompt: `1 sentence`, `1 question`, `6 words` or `4 characters`; texts "
        "with nothing after it are passed over."
    )

    @property
    def count(self) -> int:
        """How many."""
        return int(self.first.split()[0])

    @property
    def unit(self) -> str:
        """Of what: sentence, question, word or character."""
        return self.first.split()[1].removesuffix("s")


def _colour(written: str) -> str:
    from PIL import ImageColor

    ImageColor.getrgb(written)
    return written


def _class_weights(written: object) -> str | dict[str, float]:
    """`data`, `equal`, or a mapping of class names to numbers from 0 on. Raises ValueError."""
    if isinstance(written, Mapping) and written:
        found = {}
        for name, weight in written.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise ValueError(f"{name}: {show_value(weight)} is no weight; must be a number from 0 on")
            found[str(name)] = float(weight)
        return found
    if written not in ("data", "equal"):
        near = suggestion(str(written), ("data", "equal"))
        raise ValueError(f"{show_value(written)} is not allowed{near}, or a mapping of class names to weights")
    return str(written)


def _kept(written: object) -> str | float:
    """A file, or a share of the sentences in [0, 0.5). Raises ValueError."""
    if isinstance(written, str) and written:
        return written
    if not 0 <= (share := parse_number(written)) < LARGEST_SHARE:
        raise ValueError(f"{share:g} is out of range; a share must be in [0, {LARGEST_SHARE:g}), or name a file")
    return share


Colour = Annotated[str, AfterValidator(_colour)]
ClassWeights = Annotated[
    str | dict[str, float],
    PlainValidator(_class_weights),
    WithJsonSchema(
        {"anyOf": [{"enum": ["data", "equal"]}, {"type": "object", "additionalProperties": {"minimum": 0}}]}
    ),
]
Kept = Annotated[
    str | float,
    PlainValidator(_kept),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, NUMBER | {"exclusiveMaximum": LARGEST_SHARE}]}),
]
WEIGHTS = Field(
    default="data",
    description="How often each class is served and generated: data (as the data have it), equal, or a mapping of "
    "names to weights, 1 for those it leaves out.",
)


MODES = ("min", "max")


def _metric(written: object) -> str | list[str]:
    """The name of one metric, or those of several. Raises ValueError."""
    several = isinstance(written, list | tuple)
    names = list(written) if isinstance(written, list | tuple) else [written]
    if not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{show_value(written)} must be the name of a metric, or a list of some")
    if len(set(names)) < len(names) or (several and len(names) < 2):
        raise ValueError(f"{show_value(written)}: a list gives two different metrics or more")
    return [str(name) for name in names] if several else str(names[0])


def _mode(written: object) -> str | list[str]:
    """`min`, `max`, or one of them for each metric. Raises ValueError."""
    for word in written if isinstance(written, list | tuple) else (written,):
        if word not in MODES:
            raise ValueError(f"{show_value(word)} is not allowed{suggestion(str(word), MODES)}")
    return list(written) if isinstance(written, list | tuple) else str(written)


def _one_or_list(one: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [one, {"type": "array", "items": one, "minItems": 2}]})


MetricNames = Annotated[str | list[str], PlainValidator(_metric), _one_or_list({"type": "string"})]
Modes = Annotated[str | list[str], PlainValidator(_mode), _one_or_list({"enum": ["min", "max"]})]
