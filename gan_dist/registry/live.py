"""Objects of this process in place of names, as `gan_dist.train(job, generator=MyNet())` gives them.

A job names one as `gan_dist.registry.live:NAME`. It lives as long as the process: nothing else can build it, so a
cluster is never sent such a job, and a run of it goes on only by `gan_dist.train(resume=run, generator=...)`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan_dist.errors import UsageError

_OBJECTS: dict[str, Any] = {}
_PLAIN = (str, int, float, bool, type(None))


def __getattr__(name: str) -> Any:
    """A registered object; the module's own `__getattr__` also says that its names cannot be read from source."""
    if name.startswith("__"):
        raise AttributeError(name)
    if name not in _OBJECTS:
        raise UsageError(
            f"{name!r} was an object of another process; give it again: gan_dist.train(resume=run, {name}=...), "
            "or put its class into a module and name it as 'module:Name'"
        )
    return _OBJECTS[name]


def is_live(use: str) -> bool:
    """Whether a component's name stands for an object of this process."""
    return use.startswith(f"{__name__}:")


def live_names(tree: Any) -> list[str]:
    """The objects of this process that a job in plain values names."""
    if isinstance(tree, Mapping):
        return [name for value in tree.values() for name in live_names(value)]
    if isinstance(tree, list | tuple):
        return [name for value in tree for name in live_names(value)]
    return [tree.partition(":")[2]] if isinstance(tree, str) and is_live(tree) else []


def replace_objects_by_names(value: Any, key: str = "") -> Any:
    """A job's values with names in place of classes and objects.

    An importable class becomes `module:Name`. Anything else is registered under its key, so that the same key finds it
    again when a run is resumed.

    Example:
        `replace_objects_by_names({"generator": MyNet})` is `{"generator": {"use": "my_nets:MyNet"}}`.
    """
    if isinstance(value, Mapping):
        return {
            part: _name(inner, key)
            if part == "use"
            else replace_objects_by_names(inner, f"{key}_{part}" if key else part)
            for part, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [replace_objects_by_names(inner, f"{key}_{place}") for place, inner in enumerate(value)]
    if isinstance(value, _PLAIN):
        return value
    return str(value) if isinstance(value, Path) else {"use": _name(value, key)}


def _name(value: Any, key: str) -> str:
    if isinstance(value, str):
        return value
    module, name = getattr(value, "__module__", ""), getattr(value, "__qualname__", "")
    # Another process finds a class by its module's file; a notebook's own and those made by `exec` have none.
    home = sys.modules.get(module) if isinstance(value, type) and module != "__main__" else None
    if getattr(home, "__file__", None) and getattr(home, name, None) is value:
        return f"{module}:{name}"
    name = re.sub(r"\W", "_", key)
    # What a job names is called to build it; an instance is there already.
    _OBJECTS[name] = value if isinstance(value, type) or hasattr(value, "__qualname__") else (lambda **_: value)
    return f"{__name__}:{name}"
