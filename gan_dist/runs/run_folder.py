"""What is stored where in a run folder, and what its reports say of metrics over time.

RUN/
  request.json        what was submitted: the validated job, versions, how it was started
  job.json            the job alone, to be submitted again
  status.json         where it stands: status, samples seen, attempt, message, exit code
  lease/000001.json   who writes the run now, or wrote it last (one writer at a time); see lease.py
  logs/attempt-1.log  what the driver printed
  scalars.jsonl       every logged number, one line per report
  tensorboard/        the same for TensorBoard, with grids and hyper-parameters
  grids/              real.png, 000064000.png, ...
  checkpoints/        one folder each; see checkpoint.py
  snapshots/          averages of the generator at many times; see snapshots.py
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from pydantic import ValidationError

from gan_dist.errors import NoSuchRun, StorageError
from gan_dist.runs.lease import holder_of
from gan_dist.runs.mirror import PUSH_S, Mirror
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.spec.secrets import redact, redact_values

PREPARED, METRICS, JOB, STATUS = ".prepared", "metrics", "job.json", "status.json"
NOT_STARTED: Mapping[str, Any] = {"status": "pending", "seen": 0, "attempt": 0}
STOP = "stop-"  # with an attempt's number: a file that asks a sweep's trials, or one trial, to save and end
HEARTBEAT_S = 5.0


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    folder: Folder

    @property
    def id(self) -> str:
        return self.folder.uri.rsplit("/", 1)[-1]

    @property
    def uri(self) -> str:
        return self.folder.uri

    def request(self) -> dict[str, Any]:
        """What was submitted.

        Raises:
            NoSuchRun: the folder holds no run.
            StorageError: what it holds of one is damaged.
        """
        found = self.folder.read_json("request.json")
        if found is None and self.folder.exists("request.json"):
            raise StorageError(f"{self.uri}: request.json is damaged: it holds no JSON")
        if found is None:
            raise NoSuchRun(f"{self.uri}: no run is stored here (request.json is missing)")
        return found

    def job(self) -> dict[str, Any]:
        """The job that was submitted, as plain values.

        Raises:
            NoSuchRun: the folder holds no run.
            StorageError: it holds no job.
        """
        found = self.request().get("job")
        if not isinstance(found, dict):
            raise StorageError(f"{self.uri}: request.json is damaged: it holds no job")
        return found

    def spec(self) -> JobSpec:
        """The job that was submitted.

        Raises:
            NoSuchRun: the folder holds no run.
            StorageError: the job is damaged.
        """
        try:
            return JobSpec.model_validate(self.job())
        except ValidationError as error:
            raise StorageError(f"{self.uri}: the job in request.json is damaged: {_first(error)}") from error

    def status(self) -> dict[str, Any]:
        """The last known standing; a run that never started has status `pending`."""
        return self.folder.read_json(STATUS) or dict(NOT_STARTED)

    def update(self, **changes: Any) -> None:
        """Change some fields of the status record; others stay."""
        told = redact_values({**self.status(), **changes})
        self.folder.write_json(STATUS, {**told, "updated": time.time()})

    def checkpoints(self) -> Folder:
        return self.folder.child("checkpoints")

    def prepared(self) -> Folder:
        """Where the decoded data of this storage are kept for all its runs."""
        return Folder(self.uri.rpartition("/")[0]).child(PREPARED)

    def searched(self) -> list[str]:
        """The keys that the sweep of this trial searches; none where this is no trial."""
        sweep = (self.folder.read_json("request.json") or {}).get("sweep")
        return [] if sweep is None else list(RunFolder(Folder(sweep)).job()["sweep"]["space"])

    def grids(self) -> list[str]:
        """Files of generated samples in `grids/`, the oldest first; those of real ones are none."""
        return [name for name in self.folder.child("grids").names() if not name.startswith("real.")]

    def reports(self) -> list[dict[str, Any]]:
        """The lines of `scalars.jsonl`; one that a kill cut short is no report.

        Raises:
            StorageError: it is there and cannot be read.
        """
        try:
            return parse_reports(self.folder.read("scalars.jsonl"))
        except FileNotFoundError:
            return []
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"storage {self.uri!r}: scalars.jsonl cannot be read: {error.strerror}") from error

    def measured(self) -> Folder:
        """Where what metrics need to know of the data is kept beside these."""
        return self.prepared().child(METRICS)

    def size(self) -> int:
        """Bytes of everything stored."""
        return sum(size for _, size in self.folder.files())

    def lease_holder(self) -> dict[str, Any] | None:
        """Who writes this run now; None when nobody does or the holder is known to be gone."""
        return holder_of(self.folder)


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, found['loc']))}: {found['msg']}"


class AttemptLog:
    """An attempt's log, which `mirror` brings to the storage. Where its disk is full for a while, what is printed waits
    for room in the file's buffer: a run ends by its checkpoints, and not by a line of its log."""

    def __init__(self, file: TextIO, mirror: Mirror) -> None:
        self.file, self.mirror = file, mirror

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self.file.write(redact(text))
            self.file.flush()
        self.mirror.push(PUSH_S)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.file.close()


class LogTee:
    """A text stream that also writes to a log. Where nobody reads the stream any more (`| head`), the log alone is
    written, and whoever wants to know is told."""

    def __init__(self, stream: TextIO, log: AttemptLog, left: Callable[[], None]) -> None:
        self.stream, self.log, self.left = stream, log, left

    def write(self, text: str) -> int:
        self.log.write(text)
        self._unless_left(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._unless_left(self.stream.flush)

    def _unless_left(self, act: Callable[[], object]) -> None:
        try:
            act()
        except BrokenPipeError:
            # What is still in the stream's buffer must not fail again when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
            self.left()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def log_prints(folder: RunFolder, attempt: int, left: Callable[[], None] = lambda: None) -> Iterator[AttemptLog]:
    """Everything printed inside also goes to `logs/attempt-N.log` of a run folder, which is given.

    Args:
        left: called when whoever read what is printed has gone.
    """
    out, err = sys.stdout, sys.stderr
    mirror = Mirror(folder.folder, lambda text: print(f"warning: {text}", file=err))
    path = mirror.pull(f"logs/attempt-{attempt}.log")
    log = AttemptLog(path.open("a"), mirror)
    sys.stdout, sys.stderr = LogTee(out, log, left), LogTee(err, log, left)
    try:
        yield log
    finally:
        sys.stdout, sys.stderr = out, err
        log.close()
        mirror.close()


def parse_reports(content: bytes) -> list[dict[str, Any]]:
    """The reports in a file of them, passing over lines that are none."""
    found = []
    for line in content.splitlines():
        try:
            report = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(report, dict) and all(isinstance(value, int | float) for value in report.values()):
            found.append(report)
    return [report for report in found if "seen" in report]


@dataclass(frozen=True)
class MetricSummary:
    """A metric over a run: its last value, its lowest and its highest, each with the samples seen there."""

    last: tuple[float, int]
    lowest: tuple[float, int]
    highest: tuple[float, int]


def summarize_metrics(reports: list[dict[str, Any]]) -> dict[str, MetricSummary]:
    """Every metric that was measured."""
    measured: dict[str, list[tuple[float, int]]] = {}
    for report in reports:
        for name, value in report.items():
            if name.startswith("metric/"):
                measured.setdefault(name.removeprefix("metric/"), []).append((value, int(report["seen"])))
    return {name: MetricSummary(values[-1], min(values), max(values)) for name, values in sorted(measured.items())}


def training_seconds(reports: list[dict[str, Any]]) -> float:
    """The time that the reports cover: samples since the report before, over their rate."""
    seconds, before = 0.0, 0
    for report in reports:
        seconds += (report["seen"] - before) / report["speed/samples_per_s"]
        before = report["seen"]
    return seconds


def last_value(run: RunFolder, tag: str) -> float | None:
    """The newest value of a tag in a run's reports; None where it was never reported."""
    course = tag_curve(run, tag)
    return course[-1][1] if course else None


def tag_curve(run: RunFolder, tag: str) -> list[tuple[int, float]]:
    """(samples seen, value) of each report of a run that has the tag."""
    return [(int(report["seen"]), float(report[tag])) for report in run.reports() if tag in report]
