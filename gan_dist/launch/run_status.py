"""Where a run stands: what its folder says, checked against its lease and, while it lives, its cluster."""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gan_dist.errors import ClusterError, NoSuchJob, StorageError, StorageUnreachable, UsageError
from gan_dist.events import REFUSED
from gan_dist.execution.log_lines import parse_event
from gan_dist.launch.cluster.address import Cluster, find_local, resolve_address
from gan_dist.launch.cluster.head_storage import address_of, with_cluster
from gan_dist.launch.cluster.jobs_api import JobsClient, StopRequest, read_log
from gan_dist.runs.index import known_run, known_runs, remember_refusal, storage_root, stored_runs
from gan_dist.runs.lease import FOLDER as LEASES
from gan_dist.runs.request import META_OWNER, META_RUN, META_URI
from gan_dist.runs.run_folder import NOT_STARTED, STATUS, STOP, RunFolder
from gan_dist.runs.storage import Folder, in_parallel
from gan_dist.spec.problems import suggestion
from gan_dist.spec.sections import STOP_GRACE_S

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
OPEN = ("pending", "waiting", "running")
GOES_ON = (*OPEN, "unknown")  # as far as is known
OF_RAY = {"PENDING": "pending", "RUNNING": "running", "FAILED": "failed", "STOPPED": "stopped"}
BEGINS_WITHIN_S = 900.0
STOP_S = 120.0  # besides the run's own grace: a cluster that is busy starts jobs late, and ends them late


@dataclass(frozen=True)
class RunJob:
    """A run's newest Ray job."""

    jobs: JobsClient
    id: str
    stop_grace: int = STOP_GRACE_S

    def info(self) -> dict[str, Any]:
        return self.jobs.info(self.id)

    @property
    def alive(self) -> bool:
        return self.info()["status"] not in ENDED


def job_of(run: RunFolder, address: str | None = None) -> RunJob:
    """The run's newest job; whether its cluster answers and knows it is not asked.

    Raises:
        ClusterError: its cluster is gone.
    """
    record = known_run(run)
    jobs = JobsClient(_cluster_of(record, address or address_of(run.folder)))
    submission = record.get("submission") or f"{run.id}.{max(run.status().get('attempt', 1), 1)}"
    return RunJob(jobs, submission, _stop_grace(run))


def _stop_grace(run: RunFolder) -> int:
    """Seconds that a run has to save, as its job has it, or the default where nothing is stored yet."""
    job = (run.folder.read_json("request.json") or {}).get("job", {})
    return int(job.get("resources", {}).get("stop_grace", STOP_GRACE_S))


def _cluster_of(record: dict[str, Any], address: str | None) -> Cluster:
    ours = address is None and record.get("local")
    cluster = find_local() if ours else resolve_address(address or record.get("address"))
    if cluster is None:
        raise ClusterError("the run's cluster is gone" if record else "no cluster is known for this run")
    return cluster


def job_or_none(run: RunFolder, address: str | None = None) -> RunJob | None:
    """The run's newest job; None when its cluster is out of reach or has forgotten it."""
    try:
        job = job_of(run, address)
        job.info()
    except (ClusterError, NoSuchJob):
        return None
    return job


def run_status(run: RunFolder, address: str | None = None) -> dict[str, Any]:
    """The run's status record, completed: `lost` is a run whose driver and cluster are gone without a record of an
    end, `unknown` one that has not begun, of which its cluster does not answer."""
    return _completed(run, run.status(), address)


def _completed(run: RunFolder, stored: Mapping[str, Any], address: str | None = None) -> dict[str, Any]:
    record = known_run(run)
    found = {"id": run.id, "uri": run.uri, **stored}
    for key in ("address", "submission"):
        if key in record:
            found[key] = record[key]
    found.setdefault("started", record.get("created"))
    if found["status"] in OPEN and run.lease_holder() is None:
        told = _info_of(run, address)
        if told is None and _may_begin(run, record):
            return found | {"status": "unknown", "message": "its cluster does not answer"}
        told = told or {}
        found["status"] = OF_RAY.get(str(told.get("status")), "lost")
        if told.get("driver_exit_code") == REFUSED and not run.folder.exists("request.json"):
            found |= {"status": "refused", "message": _last_word(run, address)}
    return found


def _info_of(run: RunFolder, address: str | None) -> dict[str, Any] | None:
    """What its cluster says of a run's newest job: nothing where it is gone or has forgotten it; None where it does not
    answer."""
    try:
        job = job_of(run, address)
    except ClusterError:
        return {}
    try:
        return job.info()
    except NoSuchJob:
        return {}
    except ClusterError:
        return None


def _may_begin(run: RunFolder, record: Mapping[str, Any]) -> bool:
    """Whether a run is young and had no driver yet: a busy cluster may just start one."""
    return time.time() - record.get("created", 0.0) < BEGINS_WITHIN_S and not run.folder.child(LEASES).names()


def _last_word(run: RunFolder, address: str | None) -> str:
    """What a run's newest job said when it ended, as far as its cluster still knows."""
    try:
        job = job_of(run, address)
        lines = job.jobs.logs(job.id).splitlines()
    except (ClusterError, NoSuchJob):
        lines = []
    ends = [event for line in lines if (event := parse_event(line)) is not None and event["event"] == "end"]
    return ends[-1]["message"] if ends else ""


def every_status(storage: str | None) -> list[dict[str, Any]]:
    """The status of each run of the local index and of a storage, oldest first. What another cluster has refused
    meanwhile was never made, and is forgotten."""
    root = with_cluster(storage_root(storage, None), None)
    known = [] if storage is not None else [RunFolder(Folder(row["uri"])) for row in known_runs()]
    seen = {run.uri for run in known}
    rest = [run for name in root.names() if (run := RunFolder(root.child(name))).uri not in seen]
    rows = [*in_parallel(_row_of_known, known), *filter(None, in_parallel(_row_of_folder, rest))]
    for row in rows:
        if row["status"] == "refused":
            remember_refusal(RunFolder(Folder(row["uri"])), row["message"])
    return [row for row in rows if row["status"] != "refused"]


def _row_of_known(run: RunFolder) -> dict[str, Any]:
    try:
        return run_status(run)
    except StorageUnreachable:
        started = known_run(run).get("created")
        return {"id": run.id, "uri": run.uri, "status": "unknown", "started": started, "reachable": False}


def _row_of_folder(run: RunFolder) -> dict[str, Any] | None:
    """The status of what may be a run; None where it is none. Of a run that has ended one file is read: each request
    counts where a storage has thousands."""
    if (stored := run.folder.read_json(STATUS)) is None and not run.folder.exists("request.json"):
        return None
    return _completed(run, stored or NOT_STARTED)


def cluster_status(address: str) -> list[dict[str, Any]]:
    """The runs that a cluster knows, whoever started them, oldest first: what their folders say where they can be seen
    from here, else what the cluster says.

    Raises:
        ClusterError: it does not answer.
    """
    cluster = resolve_address(address)
    assert cluster is not None, "an address was given"
    newest: dict[str, dict[str, Any]] = {}
    for job in sorted(JobsClient(cluster).list(), key=lambda job: job.get("start_time") or 0):
        # What was refused was never made.
        if META_URI in (told := job.get("metadata") or {}) and job.get("driver_exit_code") != REFUSED:
            newest[told[META_URI]] = job
    return [_row_of_job(job, cluster.address) for job in newest.values()]


def _row_of_job(job: Mapping[str, Any], address: str) -> dict[str, Any]:
    told = job["metadata"]
    run = RunFolder(with_cluster(Folder(told[META_URI]), address))
    row = {
        "id": told[META_RUN],
        "uri": run.uri,
        "address": address,
        "submission": job.get("submission_id"),
        "owner": told.get(META_OWNER, ""),
        "status": OF_RAY.get(str(job.get("status")), "succeeded"),
        "started": (job.get("start_time") or 0) / 1000,
        "seen": None,
    }
    try:
        seen_here = run.folder.exists("status.json")
        return row | (run.status() if seen_here else {}) | {"reachable": seen_here}
    except StorageError:
        return row | {"reachable": False}


def all_runs() -> list[RunFolder]:
    """The runs of the local index and of the storage in force, each once."""
    found = {row["uri"]: RunFolder(Folder(row["uri"])) for row in known_runs()}
    for run in stored_runs(with_cluster(storage_root(None, None), None)):
        found.setdefault(run.uri, run)
    return list(found.values())


SORTS = ("started", "name", "status", "seen")
STATUSES = ("pending", "waiting", "running", "succeeded", "stopped", "failed", "lost", "unknown")
_AGE = {"min": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


@dataclass(frozen=True, kw_only=True)
class RunFilter:
    """Which runs are listed, and in what order.

    Attributes:
        statuses: those that a run may have; empty for any.
        labels: what its job's labels must be, by their keys.
        owner: who submitted it; empty for anybody.
        name: what its id must hold, or a pattern with `*`; empty for any.
        since: when it began at the earliest, epoch seconds.
        limit: how many at most, the first of the order; None for all.
        sort: one of `SORTS`; `started` begins with the newest, `seen` with the most.
    """

    statuses: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""
    name: str = ""
    since: float = 0.0
    limit: int | None = None
    sort: str = "started"

    def __post_init__(self) -> None:
        for status in self.statuses:
            if status not in STATUSES:
                raise UsageError(f"--status {status!r}{suggestion(status, STATUSES)}")
        if self.sort not in SORTS:
            raise UsageError(f"--sort {self.sort!r}{suggestion(self.sort, SORTS)}")

    def select(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows of `run_status` that are wanted, in order."""
        keys: dict[str, Callable[[dict[str, Any]], Any]] = {
            "started": lambda row: -(row.get("started") or 0.0),
            "name": lambda row: row["id"],
            "status": lambda row: STATUSES.index(row["status"]) if row["status"] in STATUSES else len(STATUSES),
            "seen": lambda row: -(row.get("seen") or 0),
        }
        fit = sorted(filter(self._fits, rows), key=lambda row: (keys[self.sort](row), keys["started"](row), row["id"]))
        return fit[: self.limit]

    def _fits(self, row: dict[str, Any]) -> bool:
        pattern = self.name if "*" in self.name else f"*{self.name}*"
        return (
            (not self.statuses or row["status"] in self.statuses)
            and self.labels.items() <= (row.get("labels") or {}).items()
            and self.owner in ("", row.get("owner"))
            and fnmatch.fnmatchcase(row["id"], pattern)
            and (row.get("started") or 0.0) >= self.since
        )


def parse_labels(written: Sequence[str]) -> dict[str, str]:
    """`team=vision` as a mapping.

    Raises:
        UsageError: one is none.
    """
    found = dict(one.split("=", 1) for one in written if "=" in one)
    if wrong := [one for one in written if "=" not in one]:
        raise UsageError(f"--label {wrong[0]!r} is no KEY=VALUE, such as team=vision")
    return found


def parse_since(written: str, now: float) -> float:
    """A date (2026-11-29, with a time or without, local) or an age (90min, 12h, 3d, 2w) as epoch seconds.

    Raises:
        UsageError: it is neither.
    """
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*(min|h|d|w)", written.strip()):
        return now - float(match[1]) * _AGE[match[2]]
    try:
        return datetime.fromisoformat(written).timestamp()
    except ValueError:
        raise UsageError(f"--since {written!r} is neither an age, as 12h or 3d, nor a date, as 2026-11-29") from None


def log_lines(run: RunFolder, job: RunJob | None) -> Iterator[str]:
    """What the run's attempts printed: from its folder; the newest one's from its cluster, if it lives."""
    logs = run.folder.child("logs")
    names = [name for name in logs.names() if name.endswith(".log")]
    live = job.jobs.logs(job.id).splitlines() if job else []
    if job is not None and live:
        names = [name for name in names if name != f"attempt-{job.id.rsplit('.', 1)[-1]}.log"]
    for name in names:
        yield from logs.read(name).decode(errors="replace").splitlines()
    yield from live


def stop(job: RunJob) -> dict[str, Any]:
    """Stop a job and wait until it has saved and ended; returns its last `checkpoint` and `end` events, the latter by
    Ray's word where it left none.

    Raises:
        ClusterError: it had not ended in time, its cluster has not answered for a minute, or is our local one and has
            ended.
        NoSuchJob: its cluster does not know it.
    """
    patience = STOP_S + job.stop_grace
    deadline, asking = time.monotonic() + patience, StopRequest(job.jobs, job.id)
    while not asking.ask():
        if time.monotonic() > deadline:
            raise ClusterError(f"job {job.id} was asked to stop {patience:.0f} s ago and has not ended")
        time.sleep(0.5)
    events = [event for line in read_log(job.jobs, job.id).splitlines() if (event := parse_event(line)) is not None]
    end = {"status": OF_RAY.get(asking.status, "succeeded")}
    return {"end": end} | {event["event"]: event for event in events if event["event"] in ("checkpoint", "end")}


def stop_trial(run: RunFolder, attempt: int) -> None:
    """Stop a trial of a sweep, which has no job of its own, and wait until it has saved and ended.

    Raises:
        ClusterError: it had not ended in time.
    """
    run.folder.write(f"{STOP}{attempt}", b"")
    patience = STOP_S + _stop_grace(run)
    deadline = time.monotonic() + patience
    while run.lease_holder() is not None:
        if time.monotonic() > deadline:
            raise ClusterError(f"trial {run.id} was asked to stop {patience:.0f} s ago and has not ended")
        time.sleep(0.5)
