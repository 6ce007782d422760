"""Exceptions that a person's own code caused, told as such: where, and what usually is behind them."""

from __future__ import annotations

import inspect
import os
import sysconfig
import traceback
from collections.abc import Collection, Sequence
from pathlib import Path

import gan_dist
from gan_dist.errors import UserCodeError
from gan_dist.runs.code import path_as_written

OURS = f"{Path(gan_dist.__file__).parent}{os.sep}"
LIBRARIES = (*{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}, OURS, "<frozen ")
INSTALLED = ("/site-packages/", "/dist-packages/")
# What torch says -> what usually is behind it. Backward runs in torch alone, so that no line of a person's is in it.
CAUSES = {
    "modified by an inplace operation": "an in-place operation (`+=`, `relu_()`, `x[...] = `) on a tensor that "
    "backward still needs; use the form that makes a new tensor",
    "used in an in-place operation": "an in-place operation (`+=`, `relu_()`, `x[...] = `) on a tensor whose gradient "
    "is wanted, such as the input of a penalty; use the form that makes a new tensor",
    "backward through the graph a second time": "a tensor that was kept from an earlier phase or iteration with its "
    "graph; `.detach()` it where you keep it",
    "does not require grad": "a loss that does not depend on the trained network: a `.detach()`, `.item()` or "
    "`torch.no_grad()` on the way",
    "differentiated Tensors appears to not have been used": "samples that your network does not use, or detaches",
    "on the same device": "a tensor made without `device=`; make it with `device=x.device`, or register a buffer",
    "returned an invalid gradient": "a `backward` of your own `torch.autograd.Function` that returns a gradient of "
    "another shape than its input has",
    "returned an incorrect number of gradients": "a `backward` of your own `torch.autograd.Function` that must return "
    "one gradient, or None, for each argument of its `forward`",
    "must have the same dtype": "a tensor made without `dtype=`; make it with `dtype=x.dtype`, or register a buffer",
}


def user_error(error: BaseException, own: Collection[str]) -> UserCodeError | None:
    """The exception as one of a person's own code; None where it is ours or a library's.

    It is theirs where a line of theirs is in its traceback, or where the job names code of their own and what fails is
    backward, which has no lines of its own, or fails in a way that a network or an objective causes.

    Args:
        own: what the job names of their own, as `foreign_code` gives it.
    """
    frames = _frames_of_theirs(error)
    if not frames and not (own and (_usual_cause(error) or is_in_backward(error))):
        return None
    last = _in_one_line(error, _line_of(frames) or f"in backward, of {', '.join(own)}")
    return UserCodeError("Traceback (most recent call last):\n" + "".join(traceback.format_list(frames)) + last)


def told(error: BaseException) -> str:
    """An exception in one line: type, message, and where it left a person's own code, if it did."""
    return _in_one_line(error, _line_of(_frames_of_theirs(error)))


def _in_one_line(error: BaseException, place: str) -> str:
    raised = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
    cause = _usual_cause(error) if place else ""
    return raised + (f" ({place})" if place else "") + (f"; usually: {cause}" if cause else "")


def _usual_cause(error: BaseException) -> str:
    return next((cause for words, cause in CAUSES.items() if words in str(error)), "")


def _frames_of_theirs(error: BaseException) -> list[traceback.FrameSummary]:
    """The lines of a person's own code in a traceback, named by the files that they wrote."""
    theirs = [frame for frame in traceback.extract_tb(error.__traceback__) if is_theirs(frame.filename)]
    return [
        traceback.FrameSummary(path_as_written(frame.filename), frame.lineno, frame.name, line=frame.line)
        for frame in theirs
    ]


def _line_of(frames: Sequence[traceback.FrameSummary]) -> str:
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def is_in_backward(error: BaseException) -> bool:
    """Whether torch's engine raised it, which runs backward without any line of Python."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return any(frame.name == "_engine_run_backward" for frame in last)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether networks and batch do not fit: on a CPU torch says so in words alone."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))


def source_line(thing: object) -> str | None:
    """`file:line` of a function or class of a person's own that has a source file."""
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return None
    try:
        file, line = inspect.getsourcefile(thing), inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return None
    return f"{path_as_written(file)}:{line}" if file is not None and is_theirs(file) else None


def is_theirs(file: str) -> bool:
    """Whether a file is a person's own: neither ours nor of Python or an installed package."""
    return not file.startswith(LIBRARIES) and not any(part in file for part in INSTALLED)
