"""From plain values to a JobSpec, with pydantic's findings put in the words of the job file."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from gan_dist.errors import JobError
from gan_dist.spec.data import SECTIONS, DataSpec
from gan_dist.spec.job import CONFLICT, INHERITED, JobSpec, find_conflicts
from gan_dist.spec.job_file import Document
from gan_dist.spec.problems import NOWHERE, Keys, Origin, Problem, dotted_key, show_value, suggestion, unknown_key
from gan_dist.spec.sections import NetworkOptimizer, OptimizerSpec

Origins = Mapping[Keys, Origin]


def parse_job(document: Document) -> JobSpec:
    """The job in a merged document. Raises JobError with all its problems."""
    spec, problems = try_job(document)
    if spec is None or problems:
        raise JobError(problems)
    return spec


def try_job(document: Document) -> tuple[JobSpec | None, list[Problem]]:
    """The job, if its values allow one, and everything wrong with them."""
    found = [problem_at(document.origins, _keys(key), text) for key, text in find_conflicts(document.value)]
    try:
        return JobSpec.model_validate(document.value), found
    except ValidationError as error:
        details = error.errors(include_url=False)
        return None, [*(one for detail in details for one in _problems(detail, document.origins)), *found]


def validate_data(written: Mapping[str, Any]) -> DataSpec:
    """A `data` section on its own, as a command's options give it. Raises JobError with all its problems."""
    try:
        return TypeAdapter[DataSpec](DataSpec).validate_python(written)
    except ValidationError as error:
        found = [{**detail, "loc": ("data", *detail["loc"])} for detail in error.errors(include_url=False)]
        raise JobError(problem for detail in found for problem in _problems(detail, {})) from error  # type: ignore[arg-type]


def problem_at(origins: Origins, keys: Keys, message: str) -> Problem:
    """A problem at a key, with the line of the nearest key that was written."""
    known, origin = _written(origins, keys)
    return Problem(origin.file, origin.line, dotted_key(known), message)


def _problems(detail: ErrorDetails, origins: Origins) -> Iterator[Problem]:
    keys = _without_tags(detail["loc"])
    if detail["type"] != CONFLICT and not _is_told_elsewhere(detail, keys, origins):
        yield problem_at(origins, keys, _message(detail, keys))


def _without_tags(place: Keys) -> Keys:
    """The keys of a place in the job, without what says which of several sections one is: `[image]` after `data`. A key
    that is written so stands first, or behind one that says it."""
    return tuple(
        part
        for number, part in enumerate(place)
        if not str(part).startswith("[") or number == 0 or str(place[number - 1]).startswith("[")
    )


def _is_told_elsewhere(detail: ErrorDetails, keys: Keys, origins: Origins) -> bool:
    """Whether a list is short only for the faults in it, or a stage has its fault from the job."""
    if detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]:
        return True
    if len(keys) < 4 or keys[0] != "stages" or keys[2] not in INHERITED:
        return False
    return keys not in origins and keys[2:] in origins


def _written(origins: Origins, keys: Keys) -> tuple[Keys, Origin]:
    """The keys as the file has them (a lone objective or average has no index), and where the last of them stands."""
    known: Keys = ()
    for position, part in enumerate(keys):
        if (*known, part) in origins:
            known = (*known, part)
        elif not (part == 0 and known[-1:] in (("objective",), ("ema",))):
            return (*known, *keys[position:]), origins.get(known, NOWHERE)
    return known, origins.get(known, NOWHERE)


def _message(detail: ErrorDetails, keys: Keys) -> str:
    kind, value, limits = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        known = keys[-1] in allowed_keys(detail["loc"][:-1])  # a network's section that is none
        return _wrong("a mapping of keys")(value, limits) if known else _unknown(str(keys[-1]), detail["loc"][:-1])
    if kind == "value_error":
        return str(limits["error"])
    if kind == "literal_error":
        return f"{show_value(value)} is not allowed{_choices(value, str(limits['expected']))}"
    if kind in _WORDS:
        return _WORDS[kind](value, limits)
    return f"{show_value(value)}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"


def _choices(value: object, expected: str) -> str:
    choices = [text.strip("'") for text in re.findall(r"'[^']*'|\d+", expected)]
    return suggestion(str(value), choices)


def _out_of_range(words: str, limit: str) -> Callable[[Any, dict[str, Any]], str]:
    return lambda value, limits: f"{show_value(value)} is out of range; must be {words} {limits[limit]:g}"


def _too_few(value: Any, _: dict[str, Any]) -> str:
    return f"{show_value(value)} is empty; give at least one"


def _wrong(words: str) -> Callable[[Any, dict[str, Any]], str]:
    return lambda value, _: f"{show_value(value)} must be {words}"


def _length(value: Any, limits: dict[str, Any]) -> str:
    wanted = limits.get("min_length", limits.get("max_length"))
    return _too_few(value, limits) if not value else f"{show_value(value)} must have {wanted} values"


_WORDS: dict[str, Callable[[Any, dict[str, Any]], str]] = {
    "missing": lambda _value, _limits: "required, but missing",
    "greater_than_equal": _out_of_range("at least", "ge"),
    "greater_than": _out_of_range("more than", "gt"),
    "less_than_equal": _out_of_range("at most", "le"),
    "less_than": _out_of_range("less than", "lt"),
    "string_type": _wrong("text (in quotes, if it looks like a number)"),
    "string_too_short": _too_few,
    "too_short": _length,
    "too_long": _length,
    "bool_type": _wrong("true or false"),
    "tuple_type": _wrong("a list, such as [a, b]"),
    "dict_type": _wrong("a mapping of keys"),
    "model_type": _wrong("a mapping of keys"),
}


def _unknown(key: str, section: Keys) -> str:
    """What is said of a key that a section has not; another modality's is named as such."""
    for other in SECTIONS if SECTIONS.keys() & set(section) else ():
        if other not in section and key in SECTIONS[other].model_fields:
            return f"belongs to data of `modality: {other.strip('[]')}`"
    allowed = sorted(allowed_keys(section))
    if not section and (inside := _sections_with(key)):
        return f"unknown key; did you mean '{inside[0]}'? (allowed: {', '.join(allowed)})"
    return unknown_key(key, allowed)


def _sections_with(key: str) -> list[str]:
    """The dotted keys of a job that end in this one, such as `optimizer.lr` of `lr`."""
    inner = {field.alias or name: _section_in(field.annotation) for name, field in JobSpec.model_fields.items()}
    found = {name: [section] for name, section in inner.items() if section is not None} | {"data": [*SECTIONS.values()]}
    return [f"{name}.{key}" for name, several in found.items() if any(key in one.model_fields for one in several)]


def allowed_keys(keys: Keys) -> list[str]:
    """The keys that the section at `keys` has; a part in brackets says which of several it is."""
    section: type[BaseModel] = JobSpec
    for part in keys:
        if part in SECTIONS:
            section = SECTIONS[str(part)]
        elif isinstance(part, str) and not part.startswith("["):
            section = _inner(section, part)
    names = [field.alias or name for name, field in section.model_fields.items()]
    return [*names, "generator", "discriminator"] if section is OptimizerSpec else names


def _inner(section: type[BaseModel], part: str) -> type[BaseModel]:
    fields = {field.alias or name: field for name, field in section.model_fields.items()}
    if section is OptimizerSpec and part not in fields:
        return NetworkOptimizer
    inner = _section_in(fields[part].annotation)
    assert inner is not None, f"{part} of {section.__name__} is no section"
    return inner


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section inside an annotation such as `dict[str, ComponentSpec] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_section_in(argument) for argument in typing.get_args(annotation))
    return next((section for section in inner if section is not None), None)


def _keys(text: str) -> Keys:
    return tuple(int(part) if part.isdigit() else part for part in text.split("."))
