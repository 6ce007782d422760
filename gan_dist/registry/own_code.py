"""Which files a person's own components are made of: the modules that a job names, what these import from the same
folder, and small files beside them."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from gan_dist.spec.data import is_own_data
from gan_dist.spec.fields import is_own_name
from gan_dist.spec.job import JobSpec
from gan_dist.spec.problems import flatten_keys

INSTALLED = ("gan_dist", "torch", "torchvision")  # whose components are no code of a person
SMALL_BYTES, SMALL_BYTES_IN_ALL = 1 << 20, 10 << 20


def own_modules(spec: JobSpec) -> list[str]:
    """The modules that a job names as `module:Name`, in order."""
    values = flatten_keys(spec.model_dump(mode="json", by_alias=True))
    named = {str(value) for key, value in values.items() if key.split(".")[-1] == "use" and is_own_name(str(value))}
    named |= {spec.data.source} if is_own_data(spec.data.source) else set()
    modules = {name.partition(":")[0] for name in named}
    return sorted(module for module in modules if module.partition(".")[0] not in INSTALLED)


def own_files(folder: Path, modules: Iterable[str]) -> dict[str, Path]:
    """Name below `folder` -> file, of all that these modules are made of; empty where none of them is there.

    What is imported by a computed name is not seen.
    """
    found: dict[str, Path] = {}
    waiting = list(modules)
    seen: set[str] = set(INSTALLED)
    while waiting:
        name = waiting.pop()
        if name in seen or name.partition(".")[0] in INSTALLED:
            continue
        seen.add(name)
        for module, file in _files_of(folder, name):
            place = file.relative_to(folder).as_posix()
            if place not in found:
                found[place] = file
                waiting += _imported(module, file)
    return found | _small_files(found, folder)


def _files_of(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """A module, and each package that it is in, with their files."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        place = folder.joinpath(*parts[:depth])
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if os.path.isfile(file):
                yield ".".join(parts[:depth]), file
                break


def _imported(module: str, file: Path) -> Iterator[str]:
    """What a file imports; of `from a import b`, where `b` may be a module, both."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, OSError):
        return  # whoever checks the job says so
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _small_files(modules: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Files beside the modules that are no code, such as a palette; none where they are many or large."""
    beside = {path.parent for path in modules.values()}
    others = [path for place in sorted(beside) for path in sorted(place.iterdir()) if _is_small(path)]
    if sum(path.stat().st_size for path in others) > SMALL_BYTES_IN_ALL:
        return {}
    return {path.relative_to(folder).as_posix(): path for path in others}


def _is_small(path: Path) -> bool:
    hidden = path.name.startswith(".") or path.suffix in (".py", ".pyc")
    return not hidden and path.is_file() and path.stat().st_size <= SMALL_BYTES
