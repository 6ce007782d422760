"""Following a job to its end: a live display at a terminal, plain lines elsewhere, Ctrl-C, and what its end means."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from gan_dist.events import REFUSED, EndEvent, Event
from gan_dist.execution.log_lines import parse_event, printed_by_user

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.spinner import Spinner

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gan_dist.errors import ClusterError, StorageError
from gan_dist.launch.cluster.jobs_api import TICK_S, JobsClient, StopRequest
from gan_dist.launch.cluster.local import why_ended
from gan_dist.launch.run_status import GOES_ON, run_status
from gan_dist.runs.lease import LEASE_S
from gan_dist.runs.run_folder import RunFolder

LEFT = 130
LETS_GO_S, LOOK_S = 5.0, 0.05


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
    jobs: JobsClient,
    job: str,
    *,
    run_id: str,
    follower: LiveDisplay,
    ask: Callable[[], bool] | None,
    run: RunFolder | None = None,
) -> RunOutcome:
    """Show a job until it ends or the user leaves it running (exit code 130).

    Args:
        ask: puts the question of the first Ctrl-C: whether to stop the run; None where nobody can answer.
        run: where the job records its end, which counts where its log says nothing of one; None for a task.

    Raises:
        ClusterError: the cluster no longer answers, and nothing says how the job ended.
    """
    interrupts, heeded, log = Interrupts(), 0, ShownLog(jobs, job, run, follower)
    stopping: StopRequest | None = None
    with follower, interrupts.caught():
        try:
            for line in _lines_then_end(jobs, job, run):
                log.show(line)
                if (told := log.ended()) is not None:
                    return told
                if line is None and stopping is not None and not stopping.heard:
                    with contextlib.suppress(ClusterError):  # the log's own end says when there is nobody to ask
                        stopping.ask()
                if interrupts.count == heeded:
                    continue
                if stopping is not None or not _wants_stop(follower, ask, interrupts):
                    follower.pause()
                    return _left(run_id, stopping is not None)
                heeded, stopping = interrupts.count, StopRequest(jobs, job)
                with contextlib.suppress(ClusterError):
                    stopping.ask()
                follower.stage("stopping: saving a checkpoint")
            info = jobs.info(job)
        except ClusterError as error:
            return _outcome_without_cluster(jobs, run, error, follower.outcome, attempt_of(job))
    if follower.outcome is not None or run is None:
        return outcome_of(info, follower.outcome, run_id)
    return outcome_of(info, recorded_outcome(run, attempt_of(job)), run_id, begun=_has_begun(run, attempt_of(job)))


def _lines_then_end(jobs: JobsClient, job: str, run: RunFolder | None) -> Iterator[str | None]:
    """The lines of a job's log, and, where its cluster went before it, None until the run has no writer any more.

    Raises:
        ClusterError: the cluster no longer answers.
    """
    try:
        yield from jobs.tail(job)
    except ClusterError:
        # A driver may outlive its cluster's pages, and saves; elsewhere only its heartbeat tells.
        deadline = time.monotonic() + (float("inf") if jobs.cluster.local else LEASE_S + TICK_S)
        while run is not None and _has_writer(run) and time.monotonic() < deadline:
            yield None
            time.sleep(TICK_S)
        raise


def _has_writer(run: RunFolder) -> bool:
    try:
        return run.lease_holder() is not None
    except StorageError:
        return False


@dataclass
class ShownLog:
    """Lines of a job's log on their way to a follower. Of a run that is stored here the end is seen in its record, a
    second or two before Ray brings the last lines, which are fetched then."""

    jobs: JobsClient
    job: str
    run: RunFolder | None
    follower: LiveDisplay
    count: int = 0
    fetched: bool = False

    def show(self, line: str | None) -> None:
        """The next line, or, of a second without one, what can be fetched.

        Raises:
            ClusterError: the cluster no longer answers.
        """
        if line is None and self._has_ended_here():
            self.fetched = True
            lines = self.jobs.logs(self.job).splitlines()[self.count :]
        else:
            lines = [] if line is None or self.fetched else [line]
        self.count += len(lines)
        for one in lines:
            self.follower.feed(one)

    def _has_ended_here(self) -> bool:
        run = self.run
        return (
            run is not None and run.folder.local is not None and recorded_outcome(run, attempt_of(self.job)) is not None
        )

    def ended(self) -> RunOutcome | None:
        """How the run ended, once its driver has said so and left the run, which it does last of all; Ray takes seconds
        more to know. A run that was refused is forgotten or remembered by then, which is waited for."""
        told, deadline = self.follower.outcome, time.monotonic() + LETS_GO_S
        if self.run is None or told is None or told.exit_code == REFUSED:
            return None
        while _has_writer(self.run) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        return told


def attempt_of(job: str) -> int:
    """The attempt that a submission is of: the number at its end; 0 for a task."""
    number = job.rpartition(".")[2]
    return int(number) if number.isdigit() else 0


def recorded_outcome(run: RunFolder, attempt: int) -> RunOutcome | None:
    """How an attempt ended, by its record in the run's folder; None where that says nothing of it."""
    try:
        status = run.status()
    except StorageError:
        return None
    if status["attempt"] != attempt or status.get("exit_code") is None:
        return None  # an attempt that begins clears the code of the one before
    words = tuple(status.get("summary") or ())
    return RunOutcome(status["status"], status["exit_code"], status.get("message") or "", words)


def _has_begun(run: RunFolder, attempt: int) -> bool:
    try:
        return bool(run.status()["attempt"] == attempt)
    except StorageError:
        return False


def ended_outcome(run: RunFolder, address: str | None = None) -> RunOutcome | None:
    """How a run ended that no job follows any more; None while it goes on."""
    found = run_status(run, address)
    if found["status"] in GOES_ON:
        return None
    if (recorded := recorded_outcome(run, found["attempt"])) is not None:
        return recorded
    hint = f"go on: gan-dist submit --resume {run.id}"
    return RunOutcome(found["status"], 3 if found["status"] == "stopped" else 1, "it left no word of its end", (hint,))


def _outcome_without_cluster(
    jobs: JobsClient, run: RunFolder | None, error: ClusterError, told: RunOutcome | None, attempt: int
) -> RunOutcome:
    """What is known of a job whose cluster no longer answers. Raises the error where that is nothing."""
    if (known := told or (recorded_outcome(run, attempt) if run is not None else None)) is not None:
        return known
    if run is None:
        raise error
    if _has_writer(run) or not (jobs.cluster.local or _has_begun(run, attempt)):
        raise ClusterError(f"{error}; the run may go on: gan-dist status {run.id}")
    reason = why_ended(jobs.cluster)
    what = f"the local Ray has ended: {reason}" if reason else f"the cluster is gone: {error}"
    return RunOutcome("lost", 1, what, (f"go on: gan-dist submit --resume {run.id}",))


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


def outcome_of(info: dict[str, Any], told: RunOutcome | None, run_id: str, *, begun: bool = False) -> RunOutcome:
    """What a job's end means: what its driver said or recorded last, or, where it did neither, what Ray knows.

    Args:
        begun: whether the driver is known to have run.
    """
    if told is not None:
        return told
    status, message = info["status"], _reason(info.get("message"))
    resume = f"gan-dist submit --resume {run_id}"
    if status == "STOPPED":
        return RunOutcome("stopped", 3, "stopped before its driver could report", (f"resume: {resume}",))
    if status == "SUCCEEDED":
        return RunOutcome("failed", 1, "the driver ended without a result", (f"resume: {resume}",))
    if info.get("driver_exit_code") is None:
        what = "the cluster lost a process that the run needs" if begun else "Ray could not run the job"
        return RunOutcome("failed", 1, f"{what}: {message}", (f"resume: {resume}", f"log:    gan-dist logs {run_id}"))
    died = f"the driver died (exit status {info['driver_exit_code']}) without a last word"
    return RunOutcome("failed", 1, died, (f"resume: {resume}", f"log:    gan-dist logs {run_id}"))


def _reason(message: str | None) -> str:
    """Ray's message without the log's last lines that it appends."""
    text = (message or "no reason given").strip()
    return text.split("Last available logs", 1)[0].strip()


PLAIN_EVERY_S = 5.0
BAR = 24


@dataclass(frozen=True)
class RunOutcome:
    """How a job ended; `exit_code` follows the command's table (0 done, 1 failed, 2 refused, 3 stopped)."""

    status: str
    exit_code: int
    message: str = ""
    summary: tuple[str, ...] = ()


@dataclass
class LiveDisplay:
    """Renders a job's log, fed line by line. Use as a context manager; the live display ends with it."""

    console: Console
    live: bool = True  # at a terminal
    everything: bool = False  # also Ray's own talk, and every report
    clock: Callable[[], float] = time.monotonic
    outcome: RunOutcome | None = None
    checkpoint: str | None = None
    _progress: dict[str, Any] = field(default_factory=dict)
    _stage: str = "waiting for the cluster"
    _printed: float = float("-inf")
    _told: tuple[str, str, list[str]] | None = None  # what the last line of progress said, its pace left out
    _metrics: dict[str, float] = field(default_factory=dict)  # those of that line: each value is printed once
    _live: Live | None = None
    _turning: Spinner | None = None

    def __enter__(self) -> LiveDisplay:
        if self.live and self.console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self.console, get_renderable=self._display, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def pause(self) -> None:
        """Take the live display away, for a question or for good."""
        if self._live is not None:
            self._live.stop()

    def unpause(self) -> None:
        if self._live is not None:
            self._live.start()

    def feed(self, line: str) -> None:
        """Show one line of the log."""
        if (event := parse_event(line)) is not None:
            self.event(event)
        elif self.everything:
            self.say(line)
        elif (text := printed_by_user(line)) is not None:
            self.say(text)

    def event(self, event: Event) -> None:
        """Show one event of the driver. Events of a newer version that are unknown here are passed over."""
        match event["event"]:
            case "stage":
                self.stage(str(event["text"]))
            case "preflight":
                for line in event["lines"]:
                    self.say(str(line))
            case "warning":
                self.say(f"warning: {event['text']}", "yellow")
            case "progress":
                self._progress = dict(event)
                self._stage = event.get("stage") or ""
                self._plain_progress()
            case "trial":
                self.say(str(event["text"]))
            case "checkpoint":
                self.checkpoint = event["path"]
                self.say(f"checkpoint at {shorten(event['seen'])}: {_in_run(event['path'])}", "dim")
            case "grid":
                self.say(f"grid at {shorten(event['seen'])}: {_in_run(event['path'])}", "dim")
            case "end":
                self._end(event)

    def stage(self, text: str) -> None:
        """What is being done now, where that is no training."""
        self._stage = text
        if self._live is None:
            self.say(f"{text} ...")

    def say(self, text: str, style: str = "") -> None:
        """One line above the live display."""
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def _end(self, event: EndEvent) -> None:
        self._plain_progress(last=True)
        self.outcome = RunOutcome(
            event["status"], event["exit_code"], event.get("message") or "", tuple(event.get("summary") or ())
        )
        self._stage = "ending"

    def _plain_progress(self, last: bool = False) -> None:
        """One line every few seconds at most, and the last one in any case, which has every metric; none where nothing
        is new but the clock."""
        now, found = self.clock(), self._progress
        if self._live is not None or not found:
            return
        news = (describe_position(found), self._stage, describe_numbers(found))
        if news == self._told or not (last or self.everything or now - self._printed >= PLAIN_EVERY_S):
            return
        self._printed, self._told = now, news
        every = dict(found.get("metrics") or {})
        measured = {name: value for name, value in every.items() if last or self._metrics.get(name) != value}
        self._metrics = every
        numbers = describe_numbers({**found, "metrics": measured})
        self.say("  ".join([describe_position(found), *describe_pace(found), *numbers]))

    def _display(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        found = self._progress
        row = Table.grid(padding=(0, 2))
        # One spinner for the whole display: a new one would stand still.
        self._turning = self._turning or Spinner("dots")
        cells: list[RenderableType] = [self._turning, Text(self._stage, style="bold")]
        if not found:
            row.add_row(*cells)
            return row
        bar = ProgressBar(total=max(found["until"], 1), completed=found["seen"], width=BAR)
        row.add_row(*cells, bar, Text(describe_position(found)), Text("  ".join(describe_pace(found)), style="cyan"))
        last = Text("   " + "  ".join(describe_numbers(found)), style="green", overflow="ellipsis", no_wrap=True)
        trials = Table.grid(padding=(0, 2))
        for line in found.get("table", ()):
            trials.add_row("  ", *(Text(str(cell), overflow="ellipsis", no_wrap=True) for cell in line))
        return Group(row, last, trials)


def describe_position(found: Mapping[str, Any]) -> str:
    """`128k / 1M (12.8%)`."""
    share = min(100 * found["seen"] / max(found["until"], 1), 100.0)
    return f"{shorten(found['seen'])} / {shorten(found['until'])} ({share:.1f}%)"


def describe_pace(found: Mapping[str, Any]) -> list[str]:
    """Speed and remaining time, of the stage where others follow, as far as they are known."""
    rate, eta = found.get("rate"), found.get("eta")
    parts = [f"{rate:,.0f} {found.get('unit', 'samples')}/s"] if rate is not None else []
    of_stage = f" of {found['stage']}" if found.get("stage_until", found["until"]) < found["until"] else ""
    return parts + ([f"eta {format_clock(eta)}{of_stage}"] if eta is not None else [])


def describe_numbers(found: Mapping[str, Any]) -> list[str]:
    """Losses, then metrics, then how many workers there are."""
    known = {**(found.get("losses") or {}), **(found.get("metrics") or {})}
    parts = [f"{name} {value:.4g}" for name, value in known.items() if value is not None]
    if workers := found.get("workers"):
        parts.append(f"{workers} worker{'s' if workers > 1 else ''}")
    return parts


def _in_run(path: str) -> str:
    """A path as it is called inside the run's folder, which was named before."""
    return "/".join(path.split("/")[-2:])


def shorten(count: float) -> str:
    """A count as people write it: 640, 12.8k, 1M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{float(f'{count / size:.3g}'):g}{unit}"
    return f"{count:g}"


def format_clock(seconds: float) -> str:
    """`0:07`, `4:12`, `2:03:04`, `3 d 4 h`."""
    whole = int(seconds)
    if whole >= 86400:
        return f"{whole // 86400} d {whole % 86400 // 3600} h"
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
