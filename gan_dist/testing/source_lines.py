"""Where in a person's code a problem of a component is: the file and line of the method that it names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gan_dist.execution.user_code import told, user_error
from gan_dist.registry import lookup
from gan_dist.registry.trust import is_own


def located(problem: str, kind: lookup.Kind, use: str, roots: Iterable[str | Path]) -> str:
    """A problem followed by the file and line of the method that it begins with, else of the class.

    What names a line already, or is about a shipped component, stays as it is.
    """
    if not is_own(use) or re.search(r"\(\S.*:\d+\)", problem):
        return problem
    factory = lookup.load_object(lookup.resolve_target(kind, use), tuple(roots))
    method = re.match(r"\w+", problem)
    named = getattr(factory, method[0], None) if method else None
    place = _source(named) or _source(factory)
    return f"{problem} ({place})" if place else problem


def _source(thing: Any) -> str | None:
    """`file:line` of a function or class that has a source file."""
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return None
    try:
        return f"{inspect.getsourcefile(thing)}:{inspect.getsourcelines(thing)[1]}"
    except (OSError, TypeError):
        return None


def raised(error: Exception, use: str) -> str:
    """What an exception of a component says: its line in a person's code, and what usually is behind it."""
    theirs = user_error(error, [use] if is_own(use) else [])
    return f"raised {told(error) if theirs is None else theirs}"
