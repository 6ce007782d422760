"""Trackers in the background: whatever one of them does or fails to do, the run goes on at its own speed."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from gan_dist.contracts import Shown, Tracker

WAITING = 1000  # entries that one tracker may be behind
LOOKS_S = 0.2  # how often one that has nothing to do looks whether the run is over
LONGEST_END_S = 20.0  # how long a run waits for its trackers at its end


@dataclass(frozen=True)
class _Entry:
    """A call of a tracker's method."""

    method: str
    args: tuple[Any, ...]


class BackgroundTracker:
    """One tracker on a thread of its own. It is made there too, since that may ask a server.

    Args:
        name: for messages.
        make: makes it.
        warn: told once that it failed, or could not keep up.
    """

    def __init__(self, name: str, make: Callable[[], Tracker], warn: Callable[[str], None]) -> None:
        self.name, self.make, self.warn = name, make, warn
        self.failed = False
        self._dropped, self._finished = 0, False
        self._waiting: queue.Queue[_Entry] = queue.Queue(WAITING)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def call(self, method: str, *args: Any) -> None:
        """Have a method called in its turn; never waits."""
        if self.failed:
            return
        try:
            self._waiting.put_nowait(_Entry(method, args))
        except queue.Full:
            self._dropped += 1
            if self._dropped == 1:
                self.warn(f"tracker {self.name}: it cannot keep up; what it has no room for is left out")

    def finish(self, finished: bool) -> None:
        """Let it end with the run, once it has done what waits."""
        self._finished = finished
        self._ends.set()

    def wait(self, until: float) -> None:
        """Wait for its end up to a moment of the monotonic clock."""
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive() and not self.failed:
            self.failed = True  # whatever becomes of it now, the run is over
            self.warn(f"tracker {self.name}: it does not end; the run ends without it")

    def _work(self) -> None:
        tracker: Any = None
        try:
            tracker = self.make()
            while not (self._ends.is_set() and self._waiting.empty()):
                with contextlib.suppress(queue.Empty):
                    entry = self._waiting.get(timeout=LOOKS_S)
                    getattr(tracker, entry.method)(*entry.args)
            tracker.finish(self._finished)
        except Exception as error:  # whatever somebody else's library raises
            if self.failed:
                return  # it was given up
            self.failed = True
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.warn(f"tracker {self.name} failed, and the run goes on without it: {type(error).__name__}: {told}")


class Trackers:
    """All trackers of a run.

    Args:
        makers: by name, what makes each.
        warn: told what goes wrong with one.
    """

    def __init__(self, makers: Iterable[tuple[str, Callable[[], Tracker]]], warn: Callable[[str], None]) -> None:
        self.each = [BackgroundTracker(name, make, warn) for name, make in makers]

    def scalars(self, values: dict[str, float], seen: int) -> None:
        for one in self.each:
            one.call("scalars", dict(values), seen)

    def samples(self, name: str, shown: Shown, seen: int) -> None:
        for one in self.each:
            # Each gets a copy: the run goes on with its own.
            one.call("samples", name, shown.copy() if isinstance(shown, Image.Image) else list(shown), seen)

    def end(self, finished: bool) -> None:
        """The run, or this attempt at it, is over."""
        until = time.monotonic() + LONGEST_END_S
        for one in self.each:
            one.finish(finished)
        for one in self.each:
            one.wait(until)
