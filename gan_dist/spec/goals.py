"""What a sweep makes best: one metric or several, each to its lowest or highest."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from gan_dist.spec.errors import shown, suggestion

MODES = ("min", "max")


def _metric(written: object) -> str | list[str]:
    """The name of one metric, or those of several. Raises ValueError."""
    several = isinstance(written, list | tuple)
    names = list(written) if isinstance(written, list | tuple) else [written]
    if not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{shown(written)} must be the name of a metric, or a list of some")
    if len(set(names)) < len(names) or (several and len(names) < 2):
        raise ValueError(f"{shown(written)}: a list gives two different metrics or more")
    return [str(name) for name in names] if several else str(names[0])


def _mode(written: object) -> str | list[str]:
    """`min`, `max`, or one of them for each metric. Raises ValueError."""
    for word in written if isinstance(written, list | tuple) else (written,):
        if word not in MODES:
            raise ValueError(f"{shown(word)} is not allowed{suggestion(str(word), MODES)}")
    return list(written) if isinstance(written, list | tuple) else str(written)


def _one_or_list(one: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [one, {"type": "array", "items": one, "minItems": 2}]})


MetricNames = Annotated[str | list[str], PlainValidator(_metric), _one_or_list({"type": "string"})]
Modes = Annotated[str | list[str], PlainValidator(_mode), _one_or_list({"enum": ["min", "max"]})]
