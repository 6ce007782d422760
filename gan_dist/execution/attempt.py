"""One attempt at a run, wherever it runs: the lease, the log, the status record, and how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from bdb import BdbQuit
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from gan_dist.errors import (
    CheckpointError,
    DataError,
    PreflightError,
    RunFailed,
    RunStopped,
    StorageError,
    UsageError,
    UserCodeError,
)
from gan_dist.events import REFUSED, Emit, EndEvent, Event
from gan_dist.execution.node_secrets import read_secrets
from gan_dist.execution.notifications import notifying
from gan_dist.registry.own_code import own_files, own_modules
from gan_dist.runs.code import FOLDER as CODE
from gan_dist.runs.code import archive_code, digest_of, store_code
from gan_dist.runs.deletion import delete_run
from gan_dist.runs.hints import command
from gan_dist.runs.index import forget_run, remember_refusal
from gan_dist.runs.lease import Lease, take
from gan_dist.runs.request import RunRequest
from gan_dist.runs.run_folder import HEARTBEAT_S, JOB, RunFolder, log_prints
from gan_dist.runs.storage import Folder, home
from gan_dist.spec.data import PairData, UnpairedData
from gan_dist.spec.job import JobSpec
from gan_dist.spec.secrets import redact, redact_values

EXIT = {"succeeded": 0, "failed": 1, "stopped": 3}


@dataclass
class Attempt:
    """Keeps the run folder's records while `job` runs.

    Args:
        request: what is to be done.
        emit: where events go besides the records (a job's log, or a live display).
        stop: asks for a checkpoint and an end.
        hurry: set with `stop` where whoever asked waits `resources.stop_grace` seconds and no longer.
        local: whether it runs without Ray, as the next commands then do.
    """

    request: RunRequest
    emit: Emit
    stop: threading.Event = field(default_factory=threading.Event)
    hurry: threading.Event = field(default_factory=threading.Event)
    local: bool = False
    seen: int = 0
    until: int = 0
    displaced: bool = field(default=False, init=False)
    error: Exception | None = field(default=None, init=False)
    lease: Lease = field(init=False)
    _before: dict[str, Any] = field(default_factory=dict, init=False)
    _fresh: bool = field(default=False, init=False)
    _begun: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.folder = RunFolder(Folder(self.request.uri))
        self.spec = self.request.job()
        self.began = time.time()
        listener = self.emit
        self.emit = lambda event: listener(cast(Event, redact_values(event)))

    def on_waiting(self, why: str) -> None:
        """Say, and note in the run's status, why it has to wait; an empty text ends that."""
        self._record(status="waiting" if why else "running", message=why)
        self.emit({"event": "stage", "text": why or "its turn has come"})

    def on_event(self, event: Event) -> None:
        """Take an event of the workers: remember where the run stands, and pass it on."""
        if event["event"] == "progress":
            self.seen, self.until = event["seen"], event["until"]
            # A storage that does not answer for a moment ends no training: checkpoints say where the run stands.
            self._record(status="running", seen=self.seen, until=self.until, last=event)
        elif event["event"] == "checkpoint":
            self._record(checkpoint=event["path"], checkpoint_seen=event["seen"])
        self.emit(event)

    def run(self, job: Callable[[Attempt], dict[str, Any]]) -> int:
        """Run `job` and record how it ended, if the storage can be written; what is printed goes to the run's log too.

        Returns:
            The exit code: 0 succeeded, 1 failed, 2 refused before anything started, 3 stopped.
        """
        # The storage's own keys may be among the secrets.
        if problems := read_secrets(self.spec.environment.secrets):
            return self._refuse_at_once(PreflightError("\n".join(problems)))
        if problems := storage_problems(self.folder.folder):
            return self._refuse_at_once(StorageError(problems[0]))
        with (
            log_prints(self.folder, self.request.attempt, self.stop.set),
            self._notifying(),
            self._ending_in_time(),
        ):
            code = self.run_and_record(job)
        if code == REFUSED and self._fresh:
            # Refused means that nothing was made: no folder, no entry in a list, no `last`.
            delete_run(RunFolder(Folder(self.request.uri)))
            self._forget(redact(str(self.error)))
        return code

    def _refuse_at_once(self, error: UsageError) -> int:
        """Nothing of the run can be written."""
        self.error = error
        self.emit(_end("failed", REFUSED, str(error), []))
        if self.request.attempt == 1:
            self._forget(redact(str(error)))
        return REFUSED

    def _forget(self, why: str) -> None:
        """Forget a run of which nothing was made. Why is kept where perhaps nobody follows it."""
        if self.local:
            forget_run(self.folder)
        else:
            remember_refusal(self.folder, why)

    def run_and_record(self, job: Callable[[Attempt], dict[str, Any]]) -> int:
        """Run `job` as the run's one writer and record how it ended; the exit code. What it raised is `error`."""
        try:
            self.lease = take(self.folder.folder, self.request.attempt)
        except ValueError as error:
            self.error = error
            self.emit(_end("failed", REFUSED, str(error), []))
            return REFUSED
        self.folder = RunFolder(Folder(self.request.uri, self.lease.check))
        with self._heartbeat():
            try:
                self._begin()
                result = self._run_keeping_error(job)
                ending = "stopped" if result["ending"] == "stopped" else "succeeded"
                return self._finish(ending, result["seen"], "")
            except RunStopped:
                return self._finish("stopped", self.seen, "stopped before training began")
            except BdbQuit:
                return self._finish("stopped", self.seen, "the debugger was left")
            except UserCodeError as error:
                print(error.text, file=sys.stderr, flush=True)
                return self._finish("failed", self.seen, f"your code raised {error}")
            except (PreflightError, DataError) as error:
                return self._refuse(str(error))
            except (RunFailed, ValueError, OSError) as error:
                return self._finish("failed", self.seen, str(error))
            except Exception as error:
                return self._finish("failed", self.seen, self._defect(error))

    def _run_keeping_error(self, job: Callable[[Attempt], dict[str, Any]]) -> dict[str, Any]:
        try:
            return job(self)
        except Exception as error:
            self.error = error
            raise

    def _begin(self) -> None:
        number = self.request.attempt
        self._before = self.folder.status()
        if self.request.code:
            store_code(self.folder.folder, number, self._code())
        if not self.folder.folder.exists("request.json"):
            self.folder.folder.write_json("request.json", self.request.record())
        if not self.folder.folder.exists(JOB):
            self.folder.folder.write_json(JOB, json.loads(self.request.spec))
        self._begun = True
        who = {"owner": self.request.owner, "labels": self.spec.labels}
        self.folder.update(status="running", attempt=number, started=self.began, message="", exit_code=None, **who)

    def _code(self) -> bytes:
        """The archive of this attempt's code: unpacked here, or sent along to where this process works.

        Raises:
            UsageError: it is neither.
        """
        place = home() / CODE / self.request.code
        folder = place if place.is_dir() else Path.cwd()
        content = archive_code(own_files(folder, own_modules(self.spec)))
        if digest_of(content) != self.request.code:
            raise UsageError(f"the code of run {self.request.run_id} is not the one that it was submitted with")
        return content

    def _refuse(self, message: str) -> int:
        """Nothing was started: a run that had trained before stands where it stood."""
        if self._before["seen"]:
            self.emit(_end("failed", REFUSED, message, []))
            self._record(**self._before)
            return REFUSED
        if self.request.attempt > 1:
            return self._finish("failed", 0, message, REFUSED)
        self._fresh = True
        self.emit(_end("failed", REFUSED, message, []))
        return REFUSED

    def _defect(self, error: Exception) -> str:
        """A text for an exception that is nobody's fault but ours; its traceback is kept in the run folder."""
        name = f"logs/crash-{self.request.attempt}.txt"
        self._written(lambda: self.folder.folder.write(name, redact(traceback.format_exc()).encode()))
        return f"{type(error).__name__}: {error} (a defect of gan-dist; its traceback: {self.folder.uri}/{name})"

    def _record(self, **changes: Any) -> None:
        if not self.displaced and not self._is_gone():  # else the status is the other's, or nobody's
            self._written(lambda: self.folder.update(**changes))

    def _is_gone(self) -> bool:
        """Whether the run's folder, on a disk, was deleted or moved away from under it."""
        local = self.folder.folder.local
        return self._begun and local is not None and not (local / "request.json").exists()

    def _written(self, write: Callable[[], None]) -> None:
        """Write a record; where the storage is full or gone, say so and go on to the end that is being told."""
        try:
            write()
        except (StorageError, OSError) as error:
            self.emit({"event": "warning", "text": f"a record was not written: {error}"})

    def _finish(self, status: str, seen: int, message: str, code: int | None = None) -> int:
        self.seen = max(self.seen, seen)
        code = EXIT[status] if code is None else code
        summary = self._summary(status)
        self._record(status=status, seen=self.seen, message=message, exit_code=code, ended=time.time(), summary=summary)
        self.emit(_end(status, code, message, summary))
        return code

    def _summary(self, status: str) -> list[str]:
        from gan_dist.runs.checkpoint import newest  # with torch, which a run that waits or is refused needs not load

        run, minutes = self.request.run_id, (time.time() - self.began) / 60
        from_the_start = ""
        lines = [f"{status}: {run}, {self.seen:,} samples seen, {minutes:.1f} minutes in this attempt"]
        try:
            kept = newest(self.folder.checkpoints(), lambda text: lines.append(text))
        except CheckpointError as error:
            lines.append(str(error))
            kept, from_the_start = None, "repeat"
        lines.append(f"run folder   {self.folder.uri}")
        if kept is not None:
            lines.append(f"checkpoint   {kept.folder.uri}")
        grids = self.folder.grids()
        if grids:
            lines.append(f"last grid    {self.folder.uri}/grids/{grids[-1]}")
        if self.spec.sweep is not None:
            return lines + _next_of_sweep(status, run, self.go_on())
        if self.request.mode == "smoke":
            from_the_start = "train"
        if from_the_start:  # there is nothing to go on from
            return [*lines, f"{from_the_start:12} {command('submit', f'{self.folder.uri}/{JOB}', *self._where)}"]
        # Without it the copy of the code would run that has just failed.
        corrected = ("--new-code",) if isinstance(self.error, UserCodeError) else ()
        if status == "succeeded":
            return lines + _next_of_run(self.spec, run, self.go_on("-o", self.spec.doubled))
        return [*lines, f"go on        {self.go_on(*corrected)}"]

    def go_on(self, *more: str) -> str:
        """The command that goes on with the run, where this attempt runs. A run without a checkpoint goes on too, from
        its beginning."""
        return command("submit", "--resume", self.request.run_id, *more, *self._where)

    @property
    def _where(self) -> tuple[str, ...]:
        return ("--local",) if self.local else ()

    @contextlib.contextmanager
    def _heartbeat(self) -> Iterator[None]:
        over = threading.Event()

        def beat() -> None:
            while not over.wait(HEARTBEAT_S):
                self._written(self._renew)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.lease.release()

    @contextlib.contextmanager
    def _notifying(self) -> Iterator[None]:
        """Inside, `notify` of the job hears the events too."""
        listener = self.emit

        def both(event: Event) -> None:
            listener(event)
            tell(event)

        with notifying(
            self.spec.notify, self.request, lambda text: listener({"event": "warning", "text": text})
        ) as tell:
            self.emit = both
            yield
        self.emit = listener

    @contextlib.contextmanager
    def _ending_in_time(self) -> Iterator[None]:
        """Inside, end this process where it goes on `resources.stop_grace` seconds after a hurried stop."""
        over, grace = threading.Event(), self.spec.resources.stop_grace

        def watch() -> None:
            while not self.hurry.wait(1.0):
                if over.is_set():
                    return
            if over.wait(grace):
                return
            late = f"it had not ended {grace} s after the stop (resources.stop_grace); its newest checkpoint counts"
            code = self._finish("stopped", self.seen, late)
            self.lease.release()
            os._exit(code)

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _renew(self) -> None:
        """Say that the writer is alive. One that slept for long may find that another took its place: it stops."""
        if self._is_gone():
            self.stop.set()  # what is written next says so; nothing is made in its place
            return
        if self.displaced or self.lease.renew():
            return
        self.displaced = True
        self.emit({"event": "warning", "text": "another driver has taken this run; this one stops"})
        self.stop.set()


def _end(status: str, code: int, message: str, summary: list[str]) -> EndEvent:
    return {"event": "end", "status": status, "exit_code": code, "message": message, "summary": summary}


def _next_of_run(spec: JobSpec, run: str, go_on: str) -> list[str]:
    """The next commands after a run that succeeded."""
    drawn = ("--inputs", "FOLDER") if isinstance(spec.data, PairData | UnpairedData) else ("--n", 64)
    return [
        f"look         {command('tensorboard', run)}",
        f"samples      {command('sample', run, *drawn, '--out', 'samples/')}",
        f"go on        {go_on}",
    ]


def _next_of_sweep(status: str, run: str, go_on: str) -> list[str]:
    ended = [
        f"results      {command('results', run)}",
        f"best job     {command('results', run, '--best-job', 'best.yaml')}",
    ]
    return ended if status == "succeeded" else [*ended[:1], f"go on        {go_on}"]


def storage_problems(folder: Folder) -> list[str]:
    """What keeps the run folder from being written."""
    try:
        folder.write("logs/.writable", b"")
        folder.delete("logs/.writable")
    except StorageError as error:
        return [str(error)]
    return []
