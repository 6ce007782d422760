"""Where in a person's code a problem of a component is: the file and line of the method that it names."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from gan_dist.execution.user_code import is_in_backward, is_theirs, source_line, told, user_error
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
    place = source_line(named) or source_line(factory)
    return f"{problem} ({place})" if place else problem


def raised(error: Exception, use: str, again: Callable[[], object]) -> str:
    """What an exception of a component says: its line in a person's code, and what usually is behind it.

    Args:
        again: repeats what raised it. Backward has no lines of Python: it is repeated where that raised, with torch's
            record of the lines of forward.
    """
    theirs = user_error(error, [use] if is_own(use) else [])
    if theirs is None:
        return f"raised {told(error)}"
    forward = _forward_line(again) if is_in_backward(error) else None
    return f"raised {theirs}" + (f"; its forward is here ({forward})" if forward else "")


def _forward_line(again: Callable[[], object]) -> str | None:
    """`file:line` of a person's code whose backward raises, by torch's anomaly mode."""
    with warnings.catch_warnings(record=True) as caught, torch.autograd.set_detect_anomaly(True, check_nan=False):
        warnings.simplefilter("always")
        with contextlib.suppress(Exception):  # the one that is being looked into
            again()
    for warning in caught:
        lines = re.findall(r'File "(.+)", line (\d+)', str(warning.message))
        if theirs := [f"{file}:{line}" for file, line in lines if is_theirs(file)]:
            return theirs[-1]
    return None
