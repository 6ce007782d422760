"""What happens to a run while it goes on, one type for each kind of event.

The same dicts reach `on_event` of `gan_dist.train`, the lines of `gan-dist logs --raw`, and the log in the run's
folder.

Example:
    >>> def on_event(event: gan_dist.events.Event) -> None:
    ...     if event["event"] == "progress":
    ...         print(event["seen"], event["losses"])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NotRequired, TypedDict

REFUSED = 2  # the exit code of what was refused before anything was made


class StageEvent(TypedDict):
    """What is being done now, where that is no training."""

    event: Literal["stage"]
    text: str


class PreflightEvent(TypedDict):
    """The plan of a run, or what a rehearsal found, in lines for people."""

    event: Literal["preflight"]
    lines: list[str]


class WarningEvent(TypedDict):
    """Something to be known, after which the run goes on; `about` says of what kind, where others are told of it."""

    event: Literal["warning"]
    text: str
    about: NotRequired[Literal["restart", "collapse"]]


class WorkersEvent(TypedDict):
    """The workers have started: how many, and when (epoch seconds)."""

    event: Literal["workers"]
    count: int
    time: float


class MicroBatchEvent(TypedDict):
    """The micro-batch that fits: samples in it, and in this worker's share of a global batch."""

    event: Literal["micro_batch"]
    samples: int
    share: int


class ProgressEvent(TypedDict):
    """A report: `seen` of `until` samples, `rate` in samples a second, `eta` in seconds, and the logged numbers.

    Between reports `losses` is empty. `eta` is that of the stage, which ends at `stage_until`.

    `workers` is None and `table` there where the run is a sweep.
    """

    event: Literal["progress"]
    seen: int
    until: int
    rate: float
    eta: float | None
    losses: Mapping[str, float]
    metrics: Mapping[str, float]
    workers: int | None
    stage: str
    stage_until: NotRequired[int]
    warnings: NotRequired[list[str]]
    table: NotRequired[list[Any]]


class GridEvent(TypedDict):
    """A sheet of samples was written."""

    event: Literal["grid"]
    path: str
    seen: int


class CheckpointEvent(TypedDict):
    """A checkpoint was written, whole."""

    event: Literal["checkpoint"]
    path: str
    seen: int


class TrialEvent(TypedDict):
    """A trial of a sweep began or ended, in words."""

    event: Literal["trial"]
    text: str


class EndEvent(TypedDict):
    """The run has ended: `succeeded`, `failed` or `stopped`, with its exit code and what to do next."""

    event: Literal["end"]
    status: str
    exit_code: int
    message: str
    summary: list[str]


Event = (
    StageEvent
    | PreflightEvent
    | WarningEvent
    | WorkersEvent
    | MicroBatchEvent
    | ProgressEvent
    | GridEvent
    | CheckpointEvent
    | TrialEvent
    | EndEvent
)
Emit = Callable[[Event], None]
