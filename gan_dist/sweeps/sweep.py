"""An attempt at a sweep, whatever trains its trials: preflight, the search with its record, and what is told of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from gan_dist.data.facts import DataFacts
from gan_dist.data.order import epoch_samples
from gan_dist.errors import JobError, PreflightError
from gan_dist.execution.attempt import Attempt
from gan_dist.execution.preflight import batch_problems, metric_problems, network_problems
from gan_dist.execution.smoke import STEPS, shorten_job, shorten_sweep
from gan_dist.registry.build import build_networks
from gan_dist.registry.metric_names import job_metric_names
from gan_dist.runs.metric_history import last_value, tag_curve
from gan_dist.runs.run_folder import STOP, RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.spec.problems import suggestion
from gan_dist.sweeps.reports.progress import Board
from gan_dist.sweeps.reports.results import StoredSweep
from gan_dist.sweeps.search.candidates import candidate, tag_of
from gan_dist.sweeps.search.history import History, Outcome, Task
from gan_dist.sweeps.search.median_stopping import is_below_median
from gan_dist.sweeps.search.ranking import noise_words
from gan_dist.sweeps.search.sampler import Values, planned, probes
from gan_dist.sweeps.search.search import ASHA_PART, Search, rule_of
from gan_dist.sweeps.search.trial_log import Ledger
from gan_dist.sweeps.trial import SweepContext, show_in_tensorboard, take_over
from gan_dist.training.schedule import Clock
from gan_dist.training.stages import build_stages

MOST_BUILT = 64
TOLD_EVERY_S = 2.0
LOGGED = ("lr", "gradient_norm", "loss", "memory", "metric", "schedule", "speed")


class Sweep:
    """One attempt at a sweep.

    Args:
        attempt: at the sweep's run.
        facts: of the data that its trials share.
        workers: how many a trial of such a job has, at most.

    Raises:
        Refused: preflight found what would fail later.
    """

    def __init__(self, attempt: Attempt, facts: DataFacts, workers: Callable[[JobSpec], int]) -> None:
        spec, self.attempt = attempt.spec, attempt
        assert spec.sweep is not None
        self.roots = (spec.environment.code or ".",)
        self.smoke = attempt.request.mode == "smoke"
        if self.smoke:
            spec = shorten_sweep(spec)
        assert spec.sweep is not None
        self.spec, self.sweep = spec, spec.sweep
        if problems := sweep_problems(spec, facts, workers, self.roots):
            raise PreflightError("\n".join(problems))
        clock = Clock(spec.batch, epoch_samples(facts.count, spec.batch))
        end = sum(clock.samples(stage.length) for stage in spec.phases_plan)
        self.common = SweepContext(
            attempt.folder.uri,
            spec.model_dump(mode="json", by_alias=True),
            attempt.request.mode,
            attempt.request.attempt,
            tuple(map(self._tag, self.sweep.metrics)),
            self.roots,
            attempt.request.versions,
            end,
        )
        self.ledger = Ledger(attempt.folder.folder, self.sweep.modes)
        try:
            rule = rule_of(self.sweep, end, clock.samples)
        except ValueError as error:
            raise PreflightError(str(error)) from None
        self.search = Search(self.sweep, rule, self.ledger, self._named, self._earlier(), self._wrong)
        self.board = Board(self.search, end, [tag.removeprefix("metric/") for tag in self.common.tags])
        self._began, self._told, self._spent = time.monotonic(), 0.0, self.ledger.seconds
        self.timed_out, self._hopeless = False, set[tuple[int, int, int]]()
        self._first = end // ASHA_PART if (first := self.sweep.scheduler.first) is None else clock.samples(first)
        if self.ledger.began is None:
            # A rehearsal differs in them from the stored job.
            self.ledger.begin({"tags": self.common.tags, "seeds": self.sweep.seeds, "end": end})
        elif self.search.complete:
            raise PreflightError(self._finished())

    def hand_out(self) -> Task | None:
        """The next task, ready to be trained; None when there is none now."""
        if self._out_of_time() or self.attempt.stop.is_set():
            self.stop()
        task = self.search.next()
        if task is not None:
            show_in_tensorboard(self.attempt.folder, self.common.run(task.trial))
        if task is not None and task.source is not None:
            source = self.common.run((task.source, 0))
            take_over(source, self.common.run(task.trial), task.leg)
            self.say(f"{self._named(task.trial)} goes on from {source.id}")
        return task

    def take(self, task: Task, outcome: Outcome | None) -> None:
        """What came of a task; None where it was interrupted."""
        if outcome is None and task.key in self._hopeless:
            run = self.common.run(task.trial)
            value = last_value(run, self.common.tags[0])
            outcome = Outcome("pruned", int(run.status()["seen"]), value, "worse than half of the others")
        self.search.told(task, outcome)
        self.ledger.spend(self._spent + time.monotonic() - self._began)
        if outcome is not None:
            self.board.progress(task, outcome.seen)
            self.say(self.board.ended(task, outcome))
            if self.sweep.scheduler.use in ("none", "median"):
                self._keep_best()
            self.tell()

    def progress(self, task: Task, seen: int) -> None:
        """A trial has come so far."""
        self.board.progress(task, seen)
        if time.monotonic() - self._told > TOLD_EVERY_S:
            self._end_if_hopeless(task)
            self.tell()

    def tell(self) -> None:
        """Show and record where the sweep stands."""
        self._told = time.monotonic()
        self.attempt.on_event(self.board.event())

    def say(self, text: str) -> None:
        self.attempt.emit({"event": "trial", "text": text})

    def stop(self) -> None:
        """Let no more trials begin, and ask those that train to save and end."""
        if not self.search.ended:
            self.search.ended = True
            self.attempt.folder.folder.write(f"{STOP}{self.attempt.request.attempt}", b"")
            why = "the time budget is used up" if self.timed_out else "stopping"
            self.attempt.emit({"event": "stage", "text": f"{why}: the trials that train save a checkpoint"})

    def result(self) -> dict[str, Any]:
        """How the attempt ended, for the sweep's record."""
        if self.search.complete:
            self._keep_best()
        self.tell()
        rows = self.board.rows()
        self.attempt.emit({"event": "preflight", "lines": [noise_words(rows)]})
        stopped = (self.search.ended or bool(self.ledger.history.open)) and not self.timed_out
        return {"ending": "stopped" if stopped else "finished", "seen": sum(self.board.seen.values()), "values": {}}

    def due(self) -> bool:
        """Whether the trials must be asked to stop now."""
        return self.attempt.stop.is_set() or self._out_of_time()

    def _end_if_hopeless(self, task: Task) -> None:
        """The median rule: a trial that trains is asked to save and end."""
        if self.sweep.scheduler.use == "median" and task.key not in self._hopeless and self._is_hopeless(task):
            self._hopeless.add(task.key)
            run = self.common.run(task.trial)
            run.folder.write(f"{STOP}{run.status()['attempt']}", b"")

    def _is_hopeless(self, task: Task) -> bool:
        tag = self.common.tags[0]
        ended = [key[:2] for key, outcome in self.ledger.history.outcomes.items() if outcome.usable]
        others = [tag_curve(self.common.run(trial), tag) for trial in ended]
        return is_below_median(tag_curve(self.common.run(task.trial), tag), others, self._first, self.sweep.modes[0])

    def _out_of_time(self) -> bool:
        budget = self.sweep.time_budget
        if budget is not None and self._spent + time.monotonic() - self._began > budget:
            self.timed_out = True
        return self.timed_out

    def _finished(self) -> str:
        name = self.attempt.folder.id
        if self.sweep.scheduler.use == "pbt":
            return f"sweep {name} is finished; its members can be trained further one by one"
        more = f"gan-dist submit --resume {name} -o sweep.trials={2 * self.search.wanted}"
        return f"sweep {name} is finished; to try more, raise sweep.trials: {more}"

    def _named(self, trial: tuple[int, int]) -> str:
        return self.common.run(trial).id

    def _earlier(self) -> History:
        """What is known from `sweep.start_from`, if it was measured in the same way."""
        if self.sweep.start_from is None:
            return History()
        told = StoredSweep(RunFolder(Folder(self.sweep.start_from)))
        if (told.tags, told.sweep.modes) != (self.common.tags, self.sweep.modes) and not self.smoke:
            was = ", ".join(f"{name} ({mode})" for name, mode in zip(told.metrics, told.sweep.modes, strict=True))
            raise PreflightError(
                f"sweep.start_from: {told.run.id} was ranked by {was}, not by the metric of this sweep"
            )
        return told.history

    def _wrong(self, values: Values) -> str | None:
        try:
            candidate(self.common.job, values, self.roots)
        except JobError as error:
            return str(error)
        return None

    def _tag(self, metric: str) -> str:
        tag = tag_of(self.spec, metric, self.roots)
        if not self.smoke or not tag.startswith("metric/"):
            return tag
        # A rehearsal measures fewer samples, which gives its metrics other names.
        names, short = (list(job_metric_names(job, self.roots)) for job in (self.spec, shorten_job(self.spec, STEPS)))
        return f"metric/{short[names.index(tag.removeprefix('metric/'))]}"

    def _keep_best(self) -> None:
        """Drop the checkpoints of all but the best ended trials. Not while one may still go on from there."""
        if self.sweep.keep is None:
            return
        ended = [row for row in self.board.rows() if row.state != "training"]
        for row in ended[self.sweep.keep :]:
            for repetition in range(self.sweep.seeds):
                self.common.run((row.number, repetition)).checkpoints().delete()


def sweep_problems(
    spec: JobSpec, facts: DataFacts, workers: Callable[[JobSpec], int], roots: tuple[str, ...]
) -> list[str]:
    """What would fail later: networks of any end of the space that cannot be built, a metric that is never reported."""
    assert spec.sweep is not None
    job = spec.model_dump(mode="json", by_alias=True)
    tags = [tag_of(spec, metric, roots) for metric in spec.sweep.metrics]
    found = metric_problems(spec, facts)
    configurations = [*(values for _, values in probes(spec.sweep.space)), *(planned(spec.sweep) or ())]
    built: list[JobSpec] = []
    for values in configurations:
        one = candidate(job, values, roots).model_copy(update={"sweep": None})
        # Other data are read by the trial itself, and looked at then.
        if one not in built and len(built) < MOST_BUILT and one.data == spec.data:
            built.append(one)
            told = ", ".join(f"{key}={value}" for key, value in values.items())
            problems = [*batch_problems(one, facts, workers(one)), *network_problems(one, facts)]
            found += [f"sweep.space, with {told}: {text}" for text in problems]
    return list(dict.fromkeys(found)) or [text for tag in tags for text in _tag_problems(spec, facts, tag)]


def _tag_problems(spec: JobSpec, facts: DataFacts, tag: str) -> Iterator[str]:
    """A tag that no report will carry. Terms of an objective show once it has run, so only their phase is looked at."""
    head, _, name = tag.partition("/")
    if head in ("metric", "speed", "memory", "schedule"):
        return
    with torch.device("meta"):
        networks = build_networks(spec, facts)
    stages = build_stages(spec, Clock(spec.batch, spec.batch), networks)
    phases = sorted({phase.name for stage in stages for phase in stage.phases})
    known = {"loss": phases, "lr": sorted(networks), "gradient_norm": sorted(networks)}
    if head in known and name not in known[head]:
        yield f"sweep.metric: '{tag}' is never reported{suggestion(tag, [f'{head}/{one}' for one in known[head]])}"
    if head not in known and head not in phases:
        yield f"sweep.metric: '{tag}' is never reported{suggestion(head, [*LOGGED, *phases])}"
