"""Tell a web address what becomes of a run, while nothing that happens to the telling touches the run."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gan_dist.events import Event
from gan_dist.runs.request import RunRequest
from gan_dist.spec.secrets import redact
from gan_dist.spec.sections import NotifySpec

RETRIES_S = (1.0, 5.0, 25.0)  # before each further try
ANSWER_S = 10.0
LONGEST_END_S = 20.0  # how long a run waits for its last message
ENDINGS = {"succeeded": "finished", "failed": "failed", "stopped": "stopped"}
ABOUT = {"restart": "restarted", "collapse": "collapsed"}


class Notifier:
    """Sends what happens to a run as JSON, on a thread of its own.

    Args:
        spec: where to, and what of.
        request: of the attempt that is told of.
        warn: told once that a message did not arrive.
    """

    def __init__(self, spec: NotifySpec, request: RunRequest, warn: Callable[[str], None]) -> None:
        self.spec, self.request, self.warn = spec, request, warn
        self._seen, self._warned = 0, False
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="notifications", daemon=True)
        self._thread.start()

    def on_event(self, event: Event) -> None:
        """Send an event if it is one that the job names; never waits."""
        if event["event"] == "progress":
            self._seen = event["seen"]
        elif event["event"] == "end":
            self._tell(ENDINGS[event["status"]], event["message"])
        elif event["event"] == "warning" and "about" in event:
            self._tell(ABOUT[event["about"]], event["text"])

    def end(self) -> None:
        """Wait for what has not been sent, for a while."""
        self._waiting.put(None)
        self._thread.join(LONGEST_END_S)
        if self._thread.is_alive():
            self._warn_once(f"the last message was not told within {LONGEST_END_S:.0f} s, and nobody waits longer")

    def _tell(self, kind: str, message: str) -> None:
        if kind not in self.spec.on:
            return
        run = self.request.run_id
        self._waiting.put(
            {
                "event": kind,
                "run": run,
                "attempt": self.request.attempt,
                "owner": self.request.owner,
                "folder": self.request.uri,
                "seen": self._seen,
                "message": redact(message),
                "time": time.time(),
                "text": redact(f"{run} {kind}" + (f": {message}" if message else "")),  # what chats show
            }
        )

    def _warn_once(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            self.warn(f"notify: {text}")

    def _work(self) -> None:
        while (message := self._waiting.get()) is not None:
            reason = self._send(message)
            if reason is not None:
                self._warn_once(f"{message['event']!r} was not told: {reason}")

    def _send(self, message: Mapping[str, Any]) -> str | None:
        """Post one message; why it did not arrive after some tries, or None."""
        url = address_of(self.spec.url)
        if url is None:
            return f"{self.spec.url} is not set where the driver runs; name it in environment.env"
        reason = None
        for pause in (0.0, *RETRIES_S):
            time.sleep(pause)
            try:
                content = {"Content-Type": "application/json"}
                asked = urllib.request.Request(url, json.dumps(message).encode(), content)
                with urllib.request.urlopen(asked, timeout=ANSWER_S):
                    return None
            except (OSError, ValueError) as error:
                reason = redact(str(error)).replace(url, "its address")
        return reason


def address_of(url: str) -> str | None:
    """An address as it stands, or the value of the variable that `$NAME` names; None where that is not set."""
    return os.environ.get(url[1:]) if url.startswith("$") else url


@contextlib.contextmanager
def notifying(
    spec: NotifySpec | None, request: RunRequest, warn: Callable[[str], None]
) -> Iterator[Callable[[Event], None]]:
    """Inside, what the given function is called with is sent as the job says; without `notify` it is not."""
    if spec is None:
        yield lambda event: None
        return
    notifier = Notifier(spec, request, warn)
    try:
        yield notifier.on_event
    finally:
        notifier.end()
