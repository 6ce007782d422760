"""What arguments a class or function takes, read from its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gan_dist.registry.python_source import Found, Module, find_definition, read_module

# Bases whose constructor takes nothing; looking into torch for that would cost half a second.
PLAIN_BASES = {"object", "nn.Module", "torch.nn.Module", "Module", "Protocol", "ABC", "abc.ABC", "Generic"}
FIELD_BASES = {"NamedTuple", "typing.NamedTuple"}


class Param(NamedTuple):
    """One keyword argument. `annotation` is its source text; `default` a literal value, or source text."""

    name: str
    annotation: str | None
    default: Any
    required: bool
    doc: str


class Signature(NamedTuple):
    """What can be passed by keyword. `open`: any further name may be right (`**kwargs`, or unreadable)."""

    params: tuple[Param, ...]
    open: bool
    doc: str


def read_signature(target: str, roots: Sequence[str | Path] = ()) -> Signature:
    """The signature of `module:Name`. Raises ValueError when there is no such module or name in it."""
    return _of(_found(target, roots), roots)


def read_constant(target: str, name: str, roots: Sequence[str | Path] = ()) -> Any:
    """The literal value that the body of class `module:Name`, or of one it inherits from, gives to `name`; None where
    none is given.

    Raises:
        ValueError: there is no such module or class in it.
    """
    for node in (node for owner in _family(_found(target, roots), roots) for node in owner.body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(one, ast.Name) and one.id == name for one in targets):
            value = _literal(getattr(node, "value", None))
            return None if isinstance(value, str) and value == ast.unparse(node.value) else value  # type: ignore[attr-defined]
    return None


def has_member(target: str, name: str, roots: Sequence[str | Path] = ()) -> bool:
    """Whether class `module:Name`, or one it inherits from, has a method `name`, or sets `self.name` in one.

    Raises:
        ValueError: there is no such module or class in it.
    """
    for owner in _family(_found(target, roots), roots):
        methods = [node for node in owner.body if isinstance(node, ast.FunctionDef)]
        inside = (node for method in methods for node in ast.walk(method) if isinstance(node, ast.Attribute))
        stored = {ast.unparse(node) for node in inside if isinstance(node.ctx, ast.Store)}
        if f"self.{name}" in stored or name in [method.name for method in methods]:
            return True
    return False


def _found(target: str, roots: Sequence[str | Path]) -> Found:
    module_name, _, name = target.partition(":")
    return find_definition(read_module(module_name, roots), name, roots)


def _family(found: Found, roots: Sequence[str | Path]) -> Iterator[ast.ClassDef]:
    """A class and those it inherits from, as far as their source is there."""
    if not isinstance(found.node, ast.ClassDef):
        return
    yield found.node
    for base in (ast.unparse(one).partition("[")[0] for one in found.node.bases):
        if base in PLAIN_BASES | FIELD_BASES:
            continue
        try:
            inherited = find_definition(found.module, base, roots)
        except ValueError:
            continue
        yield from _family(inherited, roots)


def _of(found: Found, roots: Sequence[str | Path]) -> Signature:
    if found.node is None:
        return Signature((), True, "")
    if not isinstance(found.node, ast.ClassDef):
        return _of_function(found.node, ast.get_docstring(found.node) or "", skip=0)
    return _of_class(found.node, found.module, roots)


def _of_class(node: ast.ClassDef, module: Module, roots: Sequence[str | Path]) -> Signature:
    doc = ast.get_docstring(node) or ""
    constructor = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
    if constructor is not None:
        return _of_function(constructor, f"{doc}\n{ast.get_docstring(constructor) or ''}", skip=1)
    bases = [ast.unparse(base) for base in node.bases]
    inherited = [_of_base(base, module, roots) for base in bases if base not in PLAIN_BASES | FIELD_BASES]
    if _has_fields(node) or FIELD_BASES & set(bases):
        own = {param.name: param for param in _fields(node, _documented(doc))}
        before = {param.name: param for base in inherited for param in base.params}
        return Signature(tuple({**before, **own}.values()), any(base.open for base in inherited), doc)
    taking = [base for base in inherited if base.params or base.open]
    return taking[0]._replace(doc=doc) if taking else Signature((), False, doc)


def _of_base(base: str, module: Module, roots: Sequence[str | Path]) -> Signature:
    name = base.partition("[")[0]
    if name in PLAIN_BASES:
        return Signature((), False, "")
    if "." in name:
        return Signature((), True, "")
    try:
        return _of(find_definition(module, name, roots), roots)
    except ValueError:
        return Signature((), True, "")


def _of_function(node: ast.FunctionDef | ast.AsyncFunctionDef, doc: str, skip: int) -> Signature:
    docs, arguments = _documented(doc), node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = len(positional) - len(arguments.defaults)
    defaults: list[ast.expr | None] = [*[None] * missing, *arguments.defaults]
    pairs = list(zip(positional, defaults, strict=True))[max(skip, len(arguments.posonlyargs)) :]
    pairs += list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    params = tuple(_param(one.arg, one.annotation, default, docs) for one, default in pairs)
    return Signature(params, arguments.kwarg is not None, doc.strip())


def _param(name: str, annotation: ast.expr | None, default: ast.expr | None, docs: dict[str, str]) -> Param:
    return Param(name, _source(annotation), _literal(default), default is None, docs.get(name, ""))


def _source(annotation: ast.expr | None) -> str | None:
    """An annotation as text; one written in quotes without them."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return ast.unparse(annotation) if annotation is not None else None


def _literal(default: ast.expr | None) -> Any:
    if default is None:
        return None
    try:
        return ast.literal_eval(default)
    except ValueError:
        return ast.unparse(default)


def _has_fields(node: ast.ClassDef) -> bool:
    names = [ast.unparse(one.func if isinstance(one, ast.Call) else one) for one in node.decorator_list]
    return any(name.rpartition(".")[2] == "dataclass" for name in names)


def _fields(node: ast.ClassDef, docs: dict[str, str]) -> Iterator[Param]:
    """The fields of a dataclass or named tuple that its constructor takes."""
    for one in node.body:
        if not isinstance(one, ast.AnnAssign) or not isinstance(one.target, ast.Name):
            continue
        given = _field_options(one.value)
        if "ClassVar" in ast.unparse(one.annotation) or _literal(given.get("init")) is False:
            continue
        default = given.get("default", given.get("default_factory")) if given else one.value
        yield _param(one.target.id, one.annotation, default, docs)


def _field_options(value: ast.expr | None) -> dict[str, ast.expr]:
    """The keywords of `field(...)`."""
    if not isinstance(value, ast.Call) or ast.unparse(value.func).rpartition(".")[2] != "field":
        return {}
    return {keyword.arg: keyword.value for keyword in value.keywords if keyword.arg}


def _documented(doc: str) -> dict[str, str]:
    """Argument name to its description, from the `Args:` section of a docstring."""
    match = re.search(r"^[ \t]*(?:Args|Arguments|Attributes):[ \t]*\n((?:[ \t]+\S.*\n?|[ \t]*\n)+)", doc, re.MULTILINE)
    found: dict[str, str] = {}
    name = ""
    indent = 0
    for line in match[1].splitlines() if match else ():
        depth = len(line) - len(line.lstrip())
        entry = re.match(r"\s+\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)", line)
        if entry and (not found or depth <= indent):
            name, indent = entry[1], depth
            found[name] = entry[2]
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found
