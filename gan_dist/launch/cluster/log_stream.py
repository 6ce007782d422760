"""The lines of a job's log as they come, over the dashboard's websocket, reconnecting where it breaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Protocol

from gan_dist.errors import ClusterError
from gan_dist.launch.cluster.local import Cluster

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
TICK_S = 1.0
GIVE_UP_S = 60.0


class LogSource(Protocol):
    """What following a log asks of `jobs_api.Jobs`, which lies above this module."""

    cluster: Cluster
    headers: dict[str, str]

    def info(self, job: str) -> dict[str, Any]: ...
    def logs(self, job: str) -> str: ...


def stream_log(jobs: LogSource, job: str) -> Iterator[str | None]:
    """Lines without line ends, from the log's first, until the job has ended; None on every quiet second.

    Raises:
        ClusterError: the cluster stopped answering for a minute.
    """
    seen = 0
    silent_since: float | None = None
    while True:
        before = seen
        for line in _connection(jobs, job, skip=seen):
            seen += line is not None
            yield line
        # The websocket also closes when the dashboard or a proxy in between gives up: only the status tells.
        try:
            if jobs.info(job)["status"] in ENDED:
                yield from jobs.logs(job).splitlines()[seen:]
                return
            silent_since = None
        except ClusterError:
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > GIVE_UP_S:
                raise
        if seen == before:
            yield None
            time.sleep(TICK_S)


def _connection(jobs: LogSource, job: str, skip: int) -> Iterator[str | None]:
    """One websocket's lines, without the first `skip`: the server always starts at the log's beginning."""
    loop = asyncio.new_event_loop()
    lines = _read(jobs, job)
    waiting: asyncio.Future[str] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(lines), loop=loop)
            # The task is kept across ticks: cancelling a read would lose what is half received.
            done, _ = loop.run_until_complete(asyncio.wait({waiting}, timeout=TICK_S))
            if not done:
                yield None
                continue
            try:
                line = waiting.result()
            except StopAsyncIteration:
                return
            finally:
                waiting = None
            if skip > 0:
                skip -= 1
            else:
                yield line
    finally:
        if waiting is not None:
            waiting.cancel()
            loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
        loop.run_until_complete(lines.aclose())
        loop.close()


async def _read(jobs: LogSource, job: str) -> AsyncGenerator[str, None]:
    import aiohttp

    url = f"{jobs.cluster.address}/api/jobs/{job}/logs/tail"
    rest = ""
    try:
        async with (
            aiohttp.ClientSession(headers=jobs.headers, trust_env=not jobs.cluster.local) as session,
            session.ws_connect(url, heartbeat=30, max_msg_size=0) as socket,
        ):
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                *whole, rest = (rest + message.data).split("\n")
                for line in whole:
                    yield line
    except (aiohttp.ClientError, OSError):
        return
    if rest:
        yield rest
