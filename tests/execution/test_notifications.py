"""Messages about a run reach a web address, and what goes wrong with them does not reach the run."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gan_dist.events import Event
from gan_dist.execution import notifications
from gan_dist.execution.local import run_local
from gan_dist.execution.notifications import notifying
from gan_dist.spec.sections import NotifySpec
from tests.helpers import request_of, small


class Listener:
    """A server that keeps what it gets; the first `refusing` messages it answers with 503, and one that `hangs` answers
    none before it is let go."""

    def __init__(self, refusing: int = 0, hangs: bool = False) -> None:
        self.got: list[dict[str, Any]] = []
        self.asked = 0
        self.let_go = threading.Event()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                listener.asked += 1
                if hangs:
                    listener.let_go.wait()
                if listener.asked > refusing:
                    listener.got.append(json.loads(content))
                self.send_response(204 if listener.asked > refusing else 503)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.server.shutdown()


@pytest.fixture(autouse=True)
def no_pauses_and_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "RETRIES_S", (0.01, 0.02, 0.03))
    for name in ("ANSWER_S", "LONGEST_END_S"):
        monkeypatch.setattr(notifications, name, 600.0)


def told(spec: NotifySpec, events: list[Event]) -> list[str]:
    """What is warned of while a run has these events."""
    warned: list[str] = []
    with notifying(spec, request_of(small(), Path("/runs/a")), warned.append) as tell:
        for event in events:
            tell(event)
    return warned


def ended(status: str, message: str = "") -> Event:
    return {"event": "end", "status": status, "exit_code": 0, "message": message, "summary": []}


def test_a_run_tells_how_it_ended(listener: Listener, tmp_path: Path) -> None:
    events: list[Any] = []
    assert run_local(request_of(small(notify={"url": listener.url}), tmp_path / "run"), events.append) == 0
    (message,) = listener.got
    assert message["event"] == "finished" and message["folder"] == str(tmp_path / "run")
    assert message["seen"] == 48 and message["attempt"] == 1 and message["text"].endswith(" finished")
    assert not [event for event in events if event["event"] == "warning"]


def test_a_failed_run_tells_why(listener: Listener, tmp_path: Path) -> None:
    broken = small(notify={"url": listener.url}, data={"source": str(tmp_path / "none"), "size": 8})
    assert run_local(request_of(broken, tmp_path / "run"), lambda event: None) == 2
    (message,) = listener.got
    assert message["event"] == "failed" and str(tmp_path / "none") in message["text"]


def test_only_what_is_named_is_told(listener: Listener) -> None:
    events: list[Event] = [
        {"event": "warning", "text": "node a lost; restart 1 of 3", "about": "restart"},
        {"event": "warning", "text": "the samples are all alike", "about": "collapse"},
        {"event": "warning", "text": "something else"},
        ended("stopped"),
    ]
    assert told(NotifySpec(url=listener.url), events) == []
    assert listener.got == []
    assert told(NotifySpec(url=listener.url, on=("restarted", "collapsed", "stopped")), events) == []
    assert [message["event"] for message in listener.got] == ["restarted", "collapsed", "stopped"]
    assert listener.got[0]["message"] == "node a lost; restart 1 of 3"


def test_a_message_is_sent_again_until_it_arrives() -> None:
    busy = Listener(refusing=2)
    assert told(NotifySpec(url=busy.url), [ended("succeeded")]) == []
    assert busy.asked == 3 and len(busy.got) == 1
    busy.server.shutdown()


def test_an_address_from_a_variable_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = NotifySpec(url="$MY_HOOK")
    assert told(spec, [ended("failed")]) == [
        "notify: 'failed' was not told: $MY_HOOK is not set where the driver runs; name it in environment.env"
    ]
    monkeypatch.setenv("MY_HOOK", "http://127.0.0.1:9/secret-path")
    (warning,) = told(spec, [ended("failed"), ended("failed")])
    assert warning.startswith("notify: 'failed' was not told: ") and "secret-path" not in warning


def test_what_is_still_tried_when_a_run_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "LONGEST_END_S", 0.2)
    monkeypatch.setattr(notifications, "RETRIES_S", (600.0,))
    (warning,) = told(NotifySpec(url="http://127.0.0.1:9/hook"), [ended("failed")])
    assert warning == "notify: the last message was not told within 0 s, and nobody waits longer"


def test_a_server_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "LONGEST_END_S", 0.2)
    slow = Listener(hangs=True)
    (warning,) = told(NotifySpec(url=slow.url), [ended("failed")])
    assert warning.endswith("nobody waits longer") and slow.got == []
    slow.let_go.set()
    slow.server.shutdown()


@pytest.mark.parametrize("url", ["hook", "ftp://host/x", "$9", "http://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        NotifySpec(url=url)
