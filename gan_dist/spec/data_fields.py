"""Values that data sections share: colours, and weights of classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from gan_dist.spec.errors import shown, suggestion
from gan_dist.spec.fields import number

Held = Literal["test", "validation"]
HELD: tuple[Held, ...] = get_args(Held)
NUMBER = {"type": "number", "minimum": 0}
LARGEST_SHARE = 0.5


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
                raise ValueError(f"{name}: {shown(weight)} is no weight; must be a number from 0 on")
            found[str(name)] = float(weight)
        return found
    if written not in ("data", "equal"):
        near = suggestion(str(written), ("data", "equal"))
        raise ValueError(f"{shown(written)} is not allowed{near}, or a mapping of class names to weights")
    return str(written)


def _kept(written: object) -> str | float:
    """A file, or a share of the sentences in [0, 0.5). Raises ValueError."""
    if isinstance(written, str) and written:
        return written
    if not 0 <= (share := number(written)) < LARGEST_SHARE:
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
