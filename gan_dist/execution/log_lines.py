"""The driver's events in a job's log, and the lines around them that are worth showing."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import cast

from gan_dist.events import Emit, Event

MARK = "@gan-dist "
PROGRESS_S = 2.0

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ACTOR = re.compile(r"^\((?P<name>[\w.<>()]+)(?: \+[\dhms]+)?(?: pid=\d+)?(?:, ip=[^)]*)?\) ?")
_RAYS_OWN = {
    "DatasetManager",
    "JobSupervisor",
    "PlacementGroupCleaner",
    "PreemptionWatcher",
    "SplitCoordinator",
    "SynchronizationActor",
    "TrainController",
    "TrainStateActor",
    "TuneStateActor",
    "_AutoscalingCoordinatorActor",
    "_StatsActor",
    "autoscaler",
    "raylet",
}
_REPEATED = re.compile(r" \[repeated \d+x across cluster\].*$")
_NOISE = re.compile(
    r"""^\s*$
    | ^\d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d,\d+\s+(?:DEBUG|INFO|WARNING|ERROR)\ \S+:\d+\ --    # Ray's logger
    | ^\[\d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d,\d+\ [DIWEF]\ \d+\ \d+\]                         # Ray's C++ logger
    | ^(?:\[rank\d+\]:)?\[[IWE]\d{4}\ [\d:.]+\ \S+\]                                        # PyTorch's
    | ^Running\ entrypoint\ for\ job
    | \bRayDeprecationWarning:
    """,
    re.VERBOSE,
)


def print_event(event: Event) -> None:
    """An event as one line of a job's log."""
    print(MARK + json.dumps(event), flush=True)


def preparation_progress(emit: Emit) -> Callable[[int, int], None]:
    """Tells how many shards of how many are done, every other second."""
    return _told_now_and_then(emit, "preparing data: {:,} of {:,} shards")


def encoding_progress(emit: Emit) -> Callable[[int, int], None]:
    """The same of pictures that become latents."""
    return _told_now_and_then(emit, "encoding data: {:,} of {:,} images")


def _told_now_and_then(emit: Emit, text: str) -> Callable[[int, int], None]:
    told = float("-inf")

    def progress(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= PROGRESS_S:
            told = time.monotonic()
            emit({"event": "stage", "text": text.format(done, total)})

    return progress


def parse_event(line: str) -> Event | None:
    """The event a log line carries, or None. A line cut short is no event."""
    if not line.startswith(MARK):
        return None
    try:
        found = json.loads(line[len(MARK) :])
    except ValueError:
        return None
    return cast(Event, found) if isinstance(found, dict) and isinstance(found.get("event"), str) else None


def printed_by_user(line: str) -> str | None:
    """What the user's code printed: the line without Ray's prefix, or None for Ray's own talk."""
    text = _ANSI.sub("", line.rsplit("\r", 1)[-1]).rstrip()
    actor = _ACTOR.match(text)
    if actor is not None and actor["name"] in _RAYS_OWN:
        return None
    text = _REPEATED.sub("", _ACTOR.sub("", text) if actor is not None and "pid=" in actor[0] else text)
    return None if _NOISE.search(text) or text.startswith(MARK) else text
