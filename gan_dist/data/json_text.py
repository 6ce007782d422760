"""JSON of others, whose values take far more memory than their text: `[],` is three bytes and an object."""

from __future__ import annotations

import json
from typing import Any

from gan_dist.errors import UsageError

LARGEST_DOCUMENT = 256 << 20  # characters of one that is held whole
MOST_VALUES = 10_000_000  # of one document, which are about a GiB


def parse_json(text: str | bytes) -> Any:
    """The value that a text is.

    Raises:
        ValueError: it is none, is nested too deeply, or holds too many values.
    """
    if len(text) > MOST_VALUES and _marks(text) > MOST_VALUES:
        raise UsageError(f"it may hold more than {MOST_VALUES:,} values; put each sample on a line")
    try:
        return json.loads(text)
    except RecursionError:
        raise UsageError("it is nested too deeply") from None


def _marks(text: str | bytes) -> int:
    """How many values there are at most: one at each comma and opening bracket."""
    if isinstance(text, bytes):
        return sum(text.count(mark) for mark in (b",", b"[", b"{"))
    return sum(text.count(mark) for mark in (",", "[", "{"))
