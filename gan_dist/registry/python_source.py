"""Finding and reading Python source without importing it: checking a job runs no torch and no user's code."""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gan_dist.errors import UsageError
from gan_dist.spec.problems import nearest_name

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
HERE = Path(__file__).parents[2]  # where this package lies
MAX_HOPS = 20  # imports followed from one file to the next; circles end there


class Module(NamedTuple):
    """A module's source. `tree` is None where there is none to read (an extension, or a folder)."""

    name: str
    file: Path
    tree: ast.Module | None


class Found(NamedTuple):
    """What a name stands for. `node` is None where only running the code could tell."""

    module: Module
    node: Definition | None


def read_module(name: str, roots: Sequence[str | Path] = ()) -> Module:
    """The module of a dotted name, looked for in `roots` first, then where Python looks.

    Raises:
        ValueError: there is no such module (with the nearest name), or its source is not valid Python.
    """
    others = [str(HERE), *sys.path] if name.startswith("gan_dist.") else sys.path
    candidates = (_file_in(folder, name) for folder in _resolved([*roots, *others]))
    file = next(filter(None, candidates), None) or _file_of_finders(name)
    if file is None:
        near = _near_module(name, _resolved([*roots, *(others if "." in name else [])]))
        raise UsageError(f"no module '{name}'{near or '; if it is yours, name the folder that it is in: --code DIR'}")
    return Module(name, file, _parse(file, file.stat().st_mtime_ns) if file.suffix == ".py" else None)


def find_definition(module: Module, name: str, roots: Sequence[str | Path] = ()) -> Found:
    """The class or function that `name` is in a module, also where it was imported from another.

    Raises:
        ValueError: the module has no such name; with the nearest one.
    """
    for _ in range(MAX_HOPS):
        if module.tree is None:
            return Found(module, None)
        node = next((node for node in _statements(module.tree.body) if name in _bound(node)), None)
        if isinstance(node, Definition):
            return Found(module, node)
        if not isinstance(node, ast.ImportFrom):
            break
        origin = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
        try:
            module, name = read_module(_absolute(module, node), roots), origin
        except ValueError:
            return Found(module, None)
    if node is None and not _has_unseen_names(module.tree):
        raise UsageError(f"no '{name}' in module '{module.name}'{_near_name(module.tree, name)}")
    return Found(module, None)


def _resolved(folders: Iterable[str | Path]) -> Iterator[Path]:
    """Each when it is asked for: to resolve a folder takes longer than to look for a module in it."""
    return (Path(os.path.realpath(folder)) for folder in folders)


def _file_in(folder: Path, name: str) -> Path | None:
    place = folder.joinpath(*name.split("."))
    for file in (place / "__init__.py", place.with_name(place.name + ".py")):
        if os.path.isfile(file):
            return file
    if not os.path.isdir(place.parent):
        return None
    return next(iter(place.parent.glob(f"{place.name}.*.so")), None)


def _file_of_finders(name: str) -> Path | None:
    """Asks Python's import hooks (editable installs), for the top-level name only: that runs no package."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None
    folders = map(Path, spec.submodule_search_locations or ())
    return next((file for folder in folders if (file := _file_in(folder, ".".join(rest)))), None)


def _near_module(name: str, folders: Iterable[Path]) -> str:
    parent, _, last = name.rpartition(".")
    beside: set[str] = set()
    for folder in folders:
        place = folder.joinpath(*parent.split(".")) if parent else folder
        if os.path.isdir(place):
            beside |= {entry.stem for entry in place.iterdir() if entry.suffix == ".py" or entry.is_dir()}
    near = nearest_name(last, beside - {"__init__", "__pycache__"})
    return f"; did you mean '{f'{parent}.{near}' if parent else near}'?" if near else ""


@functools.lru_cache(maxsize=256)
def _parse(file: Path, _changed: int) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError, RecursionError, OSError) as error:
        line = getattr(error, "lineno", None) or 1
        raise UsageError(f"{file}:{line}: not valid Python: {getattr(error, 'msg', error)}") from None


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those inside `if` and `try` too."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _statements(node.body)
            yield from _statements(node.orelse)
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                yield from _statements(handler.body)


def _bound(node: ast.stmt) -> set[str]:
    """The names that a statement defines in its module."""
    if isinstance(node, Definition):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    """The full name of the module that `from ... import` reads."""
    if not node.level:
        return node.module or ""
    package = module.name.split(".") if module.file.name == "__init__.py" else module.name.split(".")[:-1]
    kept = package[: len(package) - node.level + 1]
    return ".".join([*kept, node.module] if node.module else kept)


def _has_unseen_names(tree: ast.Module | None) -> bool:
    """Whether a module may have names that its own source does not show."""
    names = {name for node in _statements(tree.body if tree else ()) for name in _bound(node)}
    return "*" in names or "__getattr__" in names


def _near_name(tree: ast.Module | None, name: str) -> str:
    nodes = _statements(tree.body if tree else ())
    public = sorted(node.name for node in nodes if isinstance(node, Definition) and node.name[0] != "_")
    near = nearest_name(name, public)
    guess = f"; did you mean '{near}'?" if near else ""
    return f"{guess} (it has: {', '.join(public[:20]) or 'nothing public'})"
