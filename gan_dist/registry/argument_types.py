"""Whether a value of the job fits the annotation of the argument it is meant for."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import Any

from gan_dist.spec.problems import nearest_name, show_value
from gan_dist.spec.schedules import Schedule, schedule_schema

Check = Callable[[Any], bool]

_SCALARS: dict[str, tuple[str, Check]] = {
    "int": ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "float": ("a number", lambda value: _is_number(value)),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "str": ("text", lambda value: isinstance(value, str)),
    "None": ("null", lambda value: value is None),
}
_LISTS = {"list", "tuple", "Sequence", "List", "Tuple", "set", "frozenset", "Iterable"}


def explain_mismatch(annotation: str | None, value: Any) -> str | None:
    """What is wrong with a value for an annotation, given as source; None when it fits or cannot be told."""
    if annotation is None:
        return None
    try:
        kind = ast.parse(annotation, mode="eval").body
    except SyntaxError:
        return None
    if isinstance(value, Schedule):
        return None if _takes_float(kind) else f"cannot be a schedule; it must be {_words(kind)}"
    if _fits(kind, value):
        return None
    return f"{show_value(value)} must be {_words(kind)}{_near_choice(kind, value)}"


def _fits(kind: ast.expr, value: Any) -> bool:
    name, inner = _parts(kind)
    if name in _SCALARS:
        return _SCALARS[name][1](value)
    if name == "Union":
        return any(_fits(one, value) for one in inner)
    if name == "Literal":
        return any(value == choice and type(value) is type(choice) for choice in _choices(inner))
    if name in _LISTS:
        return isinstance(value, list | tuple) and _items_fit(name, inner, list(value))
    return True


def _items_fit(name: str, inner: list[ast.expr], values: list[Any]) -> bool:
    if not inner:
        return True
    open_ended = name.lower() != "tuple" or ast.unparse(inner[-1]) == "..."
    if not open_ended and len(inner) != len(values):
        return False
    kinds = [inner[0]] * len(values) if open_ended else inner
    return all(_fits(kind, value) for kind, value in zip(kinds, values, strict=True))


def _parts(kind: ast.expr) -> tuple[str, list[ast.expr]]:
    """An annotation's name without its module, and what stands in its brackets; unions are `Union`."""
    if isinstance(kind, ast.BinOp) and isinstance(kind.op, ast.BitOr):
        return "Union", [kind.left, kind.right]
    if isinstance(kind, ast.Constant):
        return ("None", []) if kind.value is None else _quoted(kind)
    if not isinstance(kind, ast.Subscript):
        return ast.unparse(kind).rpartition(".")[2], []
    name = ast.unparse(kind.value).rpartition(".")[2]
    inner = kind.slice.elts if isinstance(kind.slice, ast.Tuple) else [kind.slice]
    return ("Union", [*inner, ast.Constant(None)]) if name == "Optional" else (name, inner)


def _quoted(kind: ast.Constant) -> tuple[str, list[ast.expr]]:
    try:
        return _parts(ast.parse(str(kind.value), mode="eval").body)
    except SyntaxError:
        return "Any", []


def _choices(inner: list[ast.expr]) -> list[Any]:
    return [one.value for one in inner if isinstance(one, ast.Constant)]


def _takes_float(kind: ast.expr) -> bool:
    name, inner = _parts(kind)
    known = name in _SCALARS or name in _LISTS or name == "Literal"
    return any(map(_takes_float, inner)) if name == "Union" else name == "float" or not known


def _words(kind: ast.expr) -> str:
    name, inner = _parts(kind)
    if name in _SCALARS:
        return _SCALARS[name][0]
    if name == "Union":
        return " or ".join(_words(one) for one in inner)
    if name == "Literal":
        return "one of " + ", ".join(show_value(choice) for choice in _choices(inner))
    if name not in _LISTS:
        return ast.unparse(kind)
    if not inner:
        return "a list"
    if name.lower() == "tuple" and ast.unparse(inner[-1]) != "...":
        return f"a list of {len(inner)} values ({', '.join(map(_words, inner))})"
    return f"a list, each {_words(inner[0])}"


def _near_choice(kind: ast.expr, value: Any) -> str:
    name, inner = _parts(kind)
    choices = [choice for choice in _choices(inner) if isinstance(choice, str)] if name == "Literal" else []
    near = nearest_name(value, choices) if isinstance(value, str) else None
    return f"; did you mean '{near}'?" if near else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def value_schema(annotation: str | None) -> dict[str, Any]:
    """JSON Schema of what fits an annotation; empty, which allows all, where it cannot be told."""
    if annotation is None:
        return {}
    try:
        return _schema(ast.parse(annotation, mode="eval").body)
    except SyntaxError:
        return {}


_SCHEMAS: dict[str, dict[str, Any]] = {
    "int": {"type": "integer"},
    "float": {"anyOf": [{"type": "number"}, schedule_schema({"type": "number"})]},
    "bool": {"type": "boolean"},
    "str": {"type": "string"},
    "None": {"type": "null"},
}


def _schema(kind: ast.expr) -> dict[str, Any]:
    name, inner = _parts(kind)
    if name in _SCHEMAS:
        return _SCHEMAS[name]
    if name == "Literal":
        return {"enum": _choices(inner)}
    if name == "Union":
        return {"anyOf": [_schema(one) for one in inner]}
    return {"type": "array"} if name in _LISTS else {}
