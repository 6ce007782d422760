"""Following a job to its end: its log on the screen, Ctrl-C, and what its end means."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gan_dist.launch.cluster.jobs_api import JobsClient, StopRequest
from gan_dist.launch.display import LiveDisplay, RunOutcome

LEFT = 130


@dataclass
class Interrupts:
    """Counts Ctrl-C instead of dying of it."""

    count: int = 0

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        before = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """Inside, Ctrl-C raises KeyboardInterrupt again."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _note(self, *_: object) -> None:
        self.count += 1


def follow_job(
    jobs: JobsClient, job: str, run_id: str, follower: LiveDisplay, ask: Callable[[], bool] | None
) -> RunOutcome:
    """Show a job until it ends or the user leaves it running (exit code 130).

    `ask` puts the question of the first Ctrl-C: whether to stop the run; None where nobody can answer.
    """
    interrupts, heeded = Interrupts(), 0
    stopping: StopRequest | None = None
    with follower, interrupts.caught():
        for line in jobs.tail(job):
            if line is not None:
                follower.feed(line)
            elif stopping is not None:
                stopping.ask()
            if interrupts.count == heeded:
                continue
            if stopping is not None or not _wants_stop(follower, ask, interrupts):
                follower.pause()
                return _left(run_id, stopping is not None)
            heeded, stopping = interrupts.count, StopRequest(jobs, job)
            stopping.ask()
            follower.stage("stopping: saving a checkpoint")
    return outcome_of(jobs.info(job), follower.outcome, run_id)


def _wants_stop(follower: LiveDisplay, ask: Callable[[], bool] | None, interrupts: Interrupts) -> bool:
    if ask is None:
        return False
    follower.pause()
    try:
        with interrupts.released():
            stop = ask()
    except (KeyboardInterrupt, EOFError):
        return False
    if stop:
        follower.unpause()
    return stop


def ask_at_terminal() -> bool:
    """`stop the run, or leave it running?`; leaving is the default."""
    print("stop the run, or leave it running? [s/L] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("s", "stop")


def _left(run_id: str, stopping: bool) -> RunOutcome:
    state = "it is stopping" if stopping else "it goes on"
    hints = (
        f"left run {run_id}: {state}",
        f"  follow it   gan-dist logs -f {run_id}",
        f"  stop it     gan-dist stop {run_id}",
    )
    return RunOutcome("running", LEFT, summary=hints)


def outcome_of(info: dict[str, Any], told: RunOutcome | None, run_id: str) -> RunOutcome:
    """What a job's end means: what its driver said last, or, where it said nothing, what Ray knows."""
    if told is not None:
        return told
    status, message = info["status"], _reason(info.get("message"))
    resume = f"gan-dist submit --resume {run_id}"
    if status == "STOPPED":
        return RunOutcome("stopped", 3, "stopped before its driver could report", (f"resume: {resume}",))
    if status == "SUCCEEDED":
        return RunOutcome("failed", 1, "the driver ended without a result", (f"resume: {resume}",))
    if info.get("driver_exit_code") is None:
        hint = f"log: gan-dist logs {run_id}"
        return RunOutcome("failed", 1, f"Ray could not run the job: {message}", (hint,))
    died = f"the driver died (exit status {info['driver_exit_code']}) without a last word"
    return RunOutcome("failed", 1, died, (f"resume: {resume}", f"log:    gan-dist logs {run_id}"))


def _reason(message: str | None) -> str:
    """Ray's message without the log's last lines that it appends."""
    text = (message or "no reason given").strip()
    return text.split("Last available logs", 1)[0].strip()
