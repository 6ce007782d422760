"""What is wrong with a job, and where: every problem at once, each with its file, line and key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Keys = tuple[str | int, ...]
_GUESS = re.compile(r"did you mean '([^']*)'")


class Origin(NamedTuple):
    """Where a value was written. `file` is `-o` for an override, which has no line."""

    file: str | None
    line: int | None


NOWHERE = Origin(None, None)


class Problem(NamedTuple):
    """One thing a user has to change. `key` is dotted (`penalties[0].gamma`); empty for the whole file."""

    file: str | None
    line: int | None
    key: str
    message: str

    @property
    def suggestion(self) -> str | None:
        """The nearest valid name, where the message has one."""
        found = _GUESS.search(self.message)
        return found[1] if found else None

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**self._asdict(), "suggestion": self.suggestion}

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)


def dotted_key(path: Keys) -> str:
    """`("penalties", 0, "gamma")` as `penalties[0].gamma`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def flatten_keys(value: Any, key: str = "") -> dict[str, Any]:
    """The leaves of nested mappings and lists by their dotted keys; an empty one is a leaf.

    Example:
        `{"penalties": [{"use": "r1"}]}` is `{"penalties.0.use": "r1"}`.
    """
    if not isinstance(value, Mapping | list | tuple) or not value:
        return {key: value}
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    return {
        name: leaf for part, inner in items for name, leaf in flatten_keys(inner, f"{key}.{part}".lstrip(".")).items()
    }


def nearest_name(name: str, allowed: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The allowed name most like a mistyped one, or None when none is as like as `cutoff` in [0, 1] asks."""
    by_lower = {candidate.lower(): candidate for candidate in allowed}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else None


def suggestion(name: str, allowed: Sequence[str]) -> str:
    """The tail of a message about a wrong name: `; did you mean 'width'? (allowed: ...)`."""
    near = nearest_name(name, allowed)
    guess = f"; did you mean '{near}'?" if near else ""
    return f"{guess} (allowed: {', '.join(allowed) or 'none'})"


def unknown_key(name: str, allowed: Iterable[str]) -> str:
    """The message for a key that does not exist."""
    return "unknown key" + suggestion(name, sorted(allowed))


def show_value(value: object) -> str:
    """A value as a message shows it: YAML's words for true, false and null, and never very long."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
