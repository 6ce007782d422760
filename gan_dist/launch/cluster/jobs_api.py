"""The dashboard's jobs API over HTTP: submit, look, stop, and the lines of a job's log as they come."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from gan_dist.errors import ClusterError, ClusterUnusable, NoSuchJob, RequestRefused
from gan_dist.execution.log_lines import parse_event
from gan_dist.launch.cluster.local import Cluster, why_ended

DRIVER = "gan_dist.launch.driver"
PACKAGES = "/api/packages/"
# How long Ray gives a job that it has asked to end: the job's own grace, and FORCE_S for its last word.
GRACE_VARIABLE, FORCE_S = "RAY_JOB_STOP_WAIT_TIME_S", 10
LOOK_S = 8.0
CHANGE_S = 60.0
STOP_AGAIN_S = 5.0
SILENT_S = 20.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token must not follow a redirect to another host."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


def find_token(cluster: Cluster, environ: Mapping[str, str] = os.environ) -> str | None:
    """The cluster's token: ours, or for another cluster where Ray looks too; None when there is none."""
    if cluster.token_path is None:
        if environ.get("RAY_AUTH_MODE") == "disabled":
            return None
        if token := environ.get("RAY_AUTH_TOKEN"):
            return token.strip()
    path = cluster.token_path or environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
    try:
        return Path(path).expanduser().read_text().strip() or None
    except OSError:
        return None


def goes_by_proxy(address: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether requests to a cluster go through the proxy of the environment, which sees the token: only where the
    person says so, by GAN_DIST_PROXY=1, and never to this machine."""
    host = (urlsplit(address).hostname or "").lower()
    here = host in ("localhost", "0.0.0.0", "::1", "::") or host.startswith("127.")
    return environ.get("GAN_DIST_PROXY") == "1" and not here


class JobsClient:
    """The jobs of one cluster. Every method raises ClusterError when the cluster does not do as asked."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        token = find_token(cluster)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        proxies = [] if goes_by_proxy(cluster.address) else [urllib.request.ProxyHandler({})]
        self._open = urllib.request.build_opener(_NoRedirect, *proxies).open

    def version(self) -> str:
        """Ray's version there."""
        found = self._ask("GET", "/api/version")
        if "ray_version" not in found:
            raise ClusterError(f"{self.cluster.address} answers, but is no Ray dashboard")
        return str(found["ray_version"])

    def list(self) -> list[dict[str, Any]]:
        found = self._ask("GET", "/api/jobs/")
        return list(found)

    def info(self, job: str) -> dict[str, Any]:
        """One job's record: `status`, `message`, `driver_exit_code`, `start_time`, ...

        Raises:
            NoSuchJob: there is none of that id.
        """
        return dict(self._ask("GET", f"/api/jobs/{job}"))

    def submit(self, body: Mapping[str, Any]) -> str:
        """Submit a job; returns its submission id."""
        return str(self._ask("POST", "/api/jobs/", body, CHANGE_S)["submission_id"])

    def upload(self, archive: bytes) -> str:
        """Send a zip archive to the cluster's store, unless it is there; its URI, for a job's `working_dir`."""
        name = f"_ray_pkg_{hashlib.sha1(archive).hexdigest()}.zip"
        path = f"{PACKAGES}gcs/{name}"
        try:
            self.open(path).close()  # from now on Ray keeps it for some minutes without a job
        except NoSuchJob:
            with self._explaining(path):
                self._answer("PUT", path, archive, CHANGE_S).close()
        return f"gcs://{name}"

    def stop(self, job: str) -> bool:
        """Ask a job to end (returns at once); False when it has ended already."""
        return bool(self._ask("POST", f"/api/jobs/{job}/stop", {}, CHANGE_S)["stopped"])

    def delete(self, job: str) -> bool:
        return bool(self._ask("DELETE", f"/api/jobs/{job}", None, CHANGE_S)["deleted"])

    def logs(self, job: str) -> str:
        """Everything the job has printed so far."""
        return str(self._ask("GET", f"/api/jobs/{job}/logs", None, CHANGE_S)["logs"] or "")

    def tail(self, job: str) -> Iterator[str | None]:
        """The lines a job prints, from its first, until it ends; None some times a second in between.

        The None lets the caller redraw, look at the clock and at the job's status.
        """

        yield from stream_log(self, job)

    def get(self, path: str) -> Any:
        """What the dashboard answers at a path, as JSON."""
        return self._ask("GET", path, None, CHANGE_S)

    def open(self, path: str) -> HTTPResponse:
        """What the dashboard answers at a path, as it comes; to be closed."""
        with self._explaining(path):
            return self._answer("GET", path, None, CHANGE_S)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, limit_s: float = LOOK_S) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with self._explaining(path), self._answer(method, path, data, limit_s) as answer:
            return json.load(answer)

    def _answer(self, method: str, path: str, data: bytes | None, limit_s: float) -> HTTPResponse:
        kind = "application/octet-stream" if path.startswith(PACKAGES) else "application/json"
        headers = self.headers | ({"Content-Type": kind} if data is not None else {})
        request = urllib.request.Request(self.cluster.address + path, data, headers, method=method)
        answer: HTTPResponse = self._open(request, timeout=limit_s)
        return answer

    @contextmanager
    def _explaining(self, path: str) -> Iterator[None]:
        """Raises ClusterError, or NoSuchJob, of what goes wrong inside."""
        address = self.cluster.address
        try:
            yield
        except urllib.error.HTTPError as error:
            raise self._explained(error, path) from None
        except (TimeoutError, urllib.error.URLError, OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise ClusterError(
                f"no Ray cluster answers at {address}{self._origin()}: {_plain(reason)}{self._advice()}"
            ) from None
        except ValueError:
            raise ClusterUnusable(f"{address} answers, but is no Ray dashboard") from None

    def _explained(self, error: urllib.error.HTTPError, path: str) -> ValueError:
        address, text = self.cluster.address, error.read().decode(errors="replace").strip()
        if error.code == 401:
            return ClusterUnusable(
                f"{address} wants a token and none was found: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, "
                "or put it into ~/.ray/auth_token"
            )
        if error.code == 403:
            return ClusterUnusable(
                f"{address} refuses our token (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token)"
            )
        if error.code == 404 and path.startswith(("/api/jobs/", PACKAGES)) and "does not exist" in text:
            return NoSuchJob(text)
        if error.code == 404:
            text = f"{address} answers, but offers no Jobs API; it must be a Ray dashboard (ray[default])"
            return ClusterUnusable(text)
        return RequestRefused(f"{address} refused: {last_words(text) or f'HTTP status {error.code}'}")

    def _origin(self) -> str:
        """Where the address comes from, of one that the person may not know of."""
        origin = self.cluster.origin
        return f" (from {origin} in the environment)" if origin.startswith("RAY_") else ""

    def _advice(self) -> str:
        if (reason := why_ended(self.cluster)) is not None:
            return f"; our local one has ended: {reason}; `gan-dist up` starts another"
        if self.cluster.local:
            return "; `gan-dist down` ends our local one"
        origin = self.cluster.origin
        return f"; without {origin} a Ray of our own is started here" if origin.startswith("RAY_") else ""


def last_words(text: str) -> str:
    """The last line that says something: the cluster's answer is often a traceback."""
    said = [line.strip() for line in text.splitlines() if len(line.strip()) > 2]
    return said[-1] if said else ""


def _plain(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


GIVE_UP_S = 60.0


class Silence:
    """How long a cluster has not answered: one that is busy may leave a request or two without an answer.

    Args:
        cluster: that is asked.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._since: float | None = None

    @contextmanager
    def borne(self) -> Iterator[None]:
        """Passes over a request that was not answered, or not as it should be.

        Raises:
            ClusterError: the cluster has not answered for a minute, is our local one and has ended, or never will.
        """
        try:
            yield
            self._since = None
        except ClusterUnusable:
            raise
        except ClusterError:
            self._since = self._since or time.monotonic()
            if why_ended(self.cluster) is not None or time.monotonic() - self._since > GIVE_UP_S:
                raise


class StopRequest:
    """Asks a job to end until it has been asked while it ran: Ray passes over a stop that comes before.

    Ray runs a job by a shell, which loses an interrupt that comes while it starts, and asks a job once only. Where Ray
    was started with interrupts ignored (in the background of a script), a starting Python loses it too. So a running
    job is given time until its first event, which our driver prints when it can be interrupted; what Ray itself writes
    at the head of a job's log says nothing.
    """

    def __init__(self, jobs: JobsClient, job: str) -> None:
        self.jobs, self.job = jobs, job
        self._silence = Silence(jobs.cluster)
        self.status = ""  # Ray's word, the last time that it answered
        self.heard = False  # while the job ran
        self._asked = float("-inf")
        self._running_since: float | None = None

    def ask(self) -> bool:
        """Whether the job has ended; to be called again and again until then.

        Raises:
            ClusterError: the cluster has not answered for a minute, or is our local one and has ended.
        """
        with self._silence.borne():
            self.status = self.jobs.info(self.job)["status"]
            if self.status not in ENDED and not self.heard:
                self._ask(running=self.status == "RUNNING")
        return self.status in ENDED

    def _ask(self, running: bool) -> None:
        now = time.monotonic()
        if running:
            if self._running_since is None:
                self._running_since = now
            if now - self._running_since < SILENT_S and not self._can_be_interrupted():
                return
        if running or now - self._asked > STOP_AGAIN_S:
            self.jobs.stop(self.job)
            self._asked, self.heard = now, running

    def _can_be_interrupted(self) -> bool:
        return any(parse_event(line) is not None for line in self.jobs.logs(self.job).splitlines())


def read_log(jobs: LogSource, job: str) -> str:
    """What a job has printed.

    Raises:
        ClusterError: as `Silence.borne`.
    """
    silence = Silence(jobs.cluster)
    while True:
        with silence.borne():
            return jobs.logs(job)
        time.sleep(TICK_S)


ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
TICK_S = 1.0
QUIET_S, CLOSING_S = 0.25, 0.2


class LogSource(Protocol):
    """The part of `JobsClient` that `stream_log` needs."""

    cluster: Cluster
    headers: dict[str, str]

    def info(self, job: str) -> dict[str, Any]: ...
    def logs(self, job: str) -> str: ...


def stream_log(jobs: LogSource, job: str) -> Iterator[str | None]:
    """Lines without line ends, from the log's first, until the job has ended; None on every quiet quarter of a second.

    Raises:
        ClusterError: the cluster stopped answering for a minute, or is our local one and has ended.
    """
    seen, silence, asked = 0, Silence(jobs.cluster), time.monotonic()
    while True:
        before = seen
        for line in _connection(jobs, job, skip=seen):
            seen += line is not None
            yield line
            # Ray leaves the log of a job that has ended open for seconds.
            if line is None and time.monotonic() - asked >= TICK_S:
                asked = time.monotonic()
                if _has_ended(jobs, job):
                    break
        # The websocket also closes when the dashboard or a proxy in between gives up: only the status tells.
        with silence.borne():
            if jobs.info(job)["status"] in ENDED:
                yield from jobs.logs(job).splitlines()[seen:]
                return
        if seen == before:
            yield None
            time.sleep(TICK_S)


def _has_ended(jobs: LogSource, job: str) -> bool:
    """Whether a job is known to have ended."""
    try:
        return jobs.info(job)["status"] in ENDED
    except ClusterError:
        return False


def _connection(jobs: LogSource, job: str, skip: int) -> Iterator[str | None]:
    """One websocket's lines, without the first `skip`: the server always starts at the log's beginning."""
    loop = asyncio.new_event_loop()
    lines = _read(jobs, job)
    waiting: asyncio.Future[str] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(lines), loop=loop)
            # The task is kept across ticks: cancelling a read would lose what is half received.
            done, _ = loop.run_until_complete(asyncio.wait({waiting}, timeout=QUIET_S))
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
        # A polite end waits for the server's last word, which may come a second later.
        with contextlib.suppress(TimeoutError):
            loop.run_until_complete(asyncio.wait_for(lines.aclose(), CLOSING_S))
        loop.close()


async def _read(jobs: LogSource, job: str) -> AsyncGenerator[str, None]:
    import aiohttp

    url = f"{jobs.cluster.address}/api/jobs/{job}/logs/tail"
    rest = ""
    try:
        async with (
            aiohttp.ClientSession(headers=jobs.headers, trust_env=goes_by_proxy(jobs.cluster.address)) as session,
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
