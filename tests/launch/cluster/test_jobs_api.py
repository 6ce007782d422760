"""A stop is said until a job that runs has heard it: Ray loses one that comes before the job runs."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, web

from gan_dist.errors import ClusterError
from gan_dist.launch.cluster import jobs_api
from gan_dist.launch.cluster.address import Cluster
from gan_dist.launch.cluster.jobs_api import JobsClient, StopRequest, stream_log


class Starting:
    """A cluster that hears a stop only while the job runs; `statuses` are what it answers in turn, "" for nothing."""

    cluster = Cluster("http://127.0.0.1:1")

    def __init__(self, *statuses: str) -> None:
        self.statuses, self.now = list(statuses), ""
        self.asked: list[str] = []
        self.said = '@gan-dist {"event": "stage", "text": "starting"}'

    def logs(self, job: str) -> str:
        return self.said

    def info(self, job: str) -> dict[str, Any]:
        self.now = self.statuses.pop(0)
        if not self.now:
            raise ClusterError("no Ray cluster answers")
        return {"status": self.now}

    def stop(self, job: str) -> bool:
        self.asked.append(self.now)
        return True


@pytest.mark.parametrize(
    ("statuses", "asked"),
    [
        (("RUNNING", "RUNNING"), ["RUNNING"]),
        (("PENDING", "RUNNING", "RUNNING"), ["PENDING", "RUNNING"]),
        (("PENDING", "PENDING", "PENDING", "RUNNING"), ["PENDING", "RUNNING"]),
    ],
)
def test_the_last_word_is_said_to_a_running_job(statuses: tuple[str, ...], asked: list[str]) -> None:
    cluster: Any = Starting(*statuses)
    stopping = StopRequest(cluster, "job")
    for _ in statuses:
        stopping.ask()
    assert cluster.asked == asked


def test_a_cluster_that_is_busy_is_asked_again_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.0, 20.0, 30.0, 40.0, 40.0, 69.0, 101.0])
    monkeypatch.setattr(jobs_api.time, "monotonic", lambda: next(clock))
    cluster: Any = Starting("", "", "RUNNING", "", "", "")
    stopping = StopRequest(cluster, "job")
    assert not any(stopping.ask() for _ in range(3))
    assert cluster.asked == ["RUNNING"]
    assert not any(stopping.ask() for _ in range(2))
    with pytest.raises(ClusterError, match="no Ray cluster answers"):
        stopping.ask()


def test_a_pending_job_is_told_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_api, "STOP_AGAIN_S", 0.0)
    cluster: Any = Starting("PENDING", "PENDING", "PENDING")
    stopping = StopRequest(cluster, "job")
    for _ in range(3):
        stopping.ask()
    assert cluster.asked == ["PENDING"] * 3


def test_a_job_whose_shell_only_starts_is_not_asked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr(jobs_api.time, "monotonic", lambda: next(clock))
    cluster: Any = Starting("RUNNING", "RUNNING", "RUNNING")
    said, cluster.said = cluster.said, ""
    stopping = StopRequest(cluster, "job")
    stopping.ask()
    cluster.said = "Running entrypoint for job x: python -m gan_dist.launch.driver"  # Ray's own word
    stopping.ask()
    assert cluster.asked == []
    cluster.said += f"\n{said}\n"
    stopping.ask()
    assert cluster.asked == ["RUNNING"]


def test_a_job_that_says_nothing_is_asked_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 19.0, 21.0])
    monkeypatch.setattr(jobs_api.time, "monotonic", lambda: next(clock))
    cluster: Any = Starting("RUNNING", "RUNNING", "RUNNING")
    cluster.said = ""
    stopping = StopRequest(cluster, "job")
    for expected in ([], [], ["RUNNING"]):
        stopping.ask()
        assert cluster.asked == expected


@pytest.fixture
def talkative() -> Iterator[str]:
    """The address of a server whose job prints without end."""
    address: queue.Queue[str] = queue.Queue()
    over = threading.Event()

    async def tail(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoclose=False)
        await socket.prepare(request)
        with contextlib.suppress(ConnectionError):
            while not over.is_set():
                await socket.send_str("a line\n")
                await asyncio.sleep(0.05)
        return socket

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/api/jobs/job/logs/tail", tail)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address.put(f"http://127.0.0.1:{runner.addresses[0][1]}")
        while not over.is_set():
            await asyncio.sleep(0.05)
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    yield address.get()
    over.set()
    thread.join()


def test_who_leaves_a_job_that_prints_on_does_not_wait_for_its_last_word(
    talkative: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a polite end of the connection that never comes, where aiohttp's own gives up after ten seconds."""

    async def wait_for_ever(self: ClientWebSocketResponse) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(ClientWebSocketResponse, "close", wait_for_ever)
    lines = stream_log(JobsClient(Cluster(talkative)), "job")
    assert next(lines) == "a line"
    leaving = threading.Thread(target=lines.close, daemon=True)  # type: ignore[attr-defined]
    leaving.start()
    leaving.join(120)
    assert not leaving.is_alive()
