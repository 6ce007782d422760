"""The driver's events in a job's log, and the lines around them that are worth showing."""

from __future__ import annotations

import json
import re
from typing import Any

MARK = "@gan-dist "

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_WORKER = re.compile(r"^\((?P<actor>[\w.<>]+) pid=\d+(?:, ip=[^)]*)?\) ?")
_REPEATED = re.compile(r" \[repeated \d+x across cluster\].*$")
_NOISE = re.compile(
    r"""^\s*$
    | ^\[?\d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d,\d+.*?\ --\ | ^\[\d{4}-\d\d-\d\d\ [^]]*\]    # Ray's log formats
    | ^\d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d,\d+\s+(?:INFO|WARNING)
    | ^Running\ entrypoint\ for\ job | ^Tip:\ | ^View\ detailed\ results | ^Some\ workers\ of
    | ^✔️?\ | ^[╭│╰─]                                                                  # tables
    | ^(?:-\ )?(?:Running|Dataset|Map|Read|Shuffle|Limit|Sort)[\w.()>-]*.*?(?:row|it|bundle|B)/s
    | ^Running\ Dataset | ^\d+%\| | RAY_DEDUP_LOGS | PreemptionWatcher
    | \[c10d\]|\[W\d+\ .*\]|socket\.cpp
    """,
    re.VERBOSE,
)


def parse(line: str) -> dict[str, Any] | None:
    """The event a log line carries, or None. A line cut short is no event."""
    if not line.startswith(MARK):
        return None
    try:
        found = json.loads(line[len(MARK) :])
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("event"), str) else None


def own_print(line: str) -> str | None:
    """What the user's code printed: the line without Ray's prefix, or None for Ray's own talk."""
    text = _ANSI.sub("", line.rsplit("\r", 1)[-1]).rstrip()
    text = _REPEATED.sub("", _WORKER.sub("", text))
    return None if _NOISE.search(text) or text.startswith(MARK) else text
