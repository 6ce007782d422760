"""An attempt at a sweep, whatever trains its trials: preflight, the search with its record, and its reports."""

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
from gan_dist.runs.run_folder import STOP, RunFolder, last_value, tag_curve
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.spec.problems import suggestion
from gan_dist.spec.schedules import Clock
from gan_dist.sweeps.candidates import find_tag, make_trial_job
from gan_dist.sweeps.ranking import describe_noise
from gan_dist.sweeps.results import StoredSweep, SweepProgress
from gan_dist.sweeps.sampler import list_configurations_to_check
from gan_dist.sweeps.schedulers import ASHA_PART, is_below_median, make_scheduler
from gan_dist.sweeps.search import Search
from gan_dist.sweeps.trial import SweepContext, show_in_tensorboard, take_over
from gan_dist.sweeps.trial_log import History, Leg, LegKey, LegResult, TrialKey, TrialLog, Values
from gan_dist.training.stages import build_stages

MOST_BUILT_NETWORKS = 64
REPORT_EVERY_S = 2.0
LOGGED = ("lr", "gradient_norm", "loss", "memory", "metric", "schedule", "speed")


class Sweep:
    """One attempt at a sweep.

    Args:
        attempt: the attempt at the sweep's own run, with its job, its folder and its events.
        facts: what is known of the data that the trials share.
        workers: the most workers that a trial with a given job can have.

    Raises:
        PreflightError: preflight found what would fail later.
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
        clock = Clock(spec.batch, epoch_samples(facts.pass_length, spec.batch))
        end = sum(clock.samples(stage.length) for stage in spec.phases_plan)
        self.context = SweepContext(
            sweep=attempt.folder.uri,
            job=spec.model_dump(mode="json", by_alias=True),
            mode=attempt.request.mode,
            attempt=attempt.request.attempt,
            tags=tuple(map(self._find_tag, self.sweep.metrics)),
            roots=self.roots,
            versions=attempt.request.versions,
            end=end,
        )
        self.log = TrialLog(attempt.folder.folder, self.sweep.modes)
        try:
            scheduler = make_scheduler(self.sweep, end, clock.samples)
        except ValueError as error:
            raise PreflightError(str(error)) from None
        self.search = Search(
            sweep=self.sweep,
            scheduler=scheduler,
            log=self.log,
            name_of=self._name_of,
            earlier=self._read_earlier(),
            why_invalid=self._why_invalid,
        )
        self.progress = SweepProgress(self.search, end, [tag.removeprefix("metric/") for tag in self.context.tags])
        self._began, self._reported, self._spent = time.monotonic(), 0.0, self.log.seconds
        self.timed_out, self._to_prune = False, set[LegKey]()
        self._first = end // ASHA_PART if (first := self.sweep.scheduler.first) is None else clock.samples(first)
        if self.log.header is None:
            # A rehearsal differs in them from the stored job.
            self.log.record_header({"tags": self.context.tags, "seeds": self.sweep.seeds})
        elif self.search.complete:
            raise PreflightError(self._say_finished())

    def ask(self) -> Leg | None:
        """The next leg, ready to be trained; None when there is none now."""
        if self.must_stop():
            self.stop()
        leg = self.search.ask()
        if leg is not None:
            show_in_tensorboard(self.attempt.folder, self.context.run(leg.trial))
        if leg is not None and leg.source is not None:
            source = self.context.run((leg.source, 0))
            take_over(source, self.context.run(leg.trial), leg.index)
            self._say(f"{self._name_of(leg.trial)} goes on from {source.id}")
        return leg

    def tell(self, leg: Leg, result: LegResult | None) -> None:
        """Take the result of a leg; None where it was interrupted."""
        if result is None and leg.key in self._to_prune:
            run = self.context.run(leg.trial)
            value, seen = last_value(run, self.context.tags[0]), int(run.status()["seen"])
            values = () if value is None else (value,)
            result = LegResult(state="pruned", seen=seen, values=values, message="worse than half of the others")
        self.search.tell(leg, result)
        self.log.record_seconds(self._spent + time.monotonic() - self._began)
        if result is not None:
            self.progress.update(leg, result.seen)
            self._say(self.progress.describe_result(leg, result))
            if self.sweep.scheduler.use in ("none", "median"):
                self._keep_best()
            self._report()

    def update(self, leg: Leg, seen: int) -> None:
        """Note that a trial has come so far."""
        self.progress.update(leg, seen)
        if time.monotonic() - self._reported > REPORT_EVERY_S:
            self._prune(leg)
            self._report()

    def stop(self) -> None:
        """Let no more trials begin, and ask those that train to save and end."""
        if not self.search.stopped:
            self.search.stopped = True
            self.attempt.folder.folder.write(f"{STOP}{self.attempt.request.attempt}", b"")
            why = "the time budget is used up" if self.timed_out else "stopping"
            self.attempt.emit({"event": "stage", "text": f"{why}: the trials that train save a checkpoint"})

    def result(self) -> dict[str, Any]:
        """How the attempt ended, for the sweep's record."""
        if self.search.complete:
            self._keep_best()
        self._report()
        self.attempt.emit({"event": "preflight", "lines": [describe_noise(self.progress.ranking())]})
        stopped = (self.search.stopped or bool(self.log.history.open_legs)) and not self.timed_out
        seen = sum(self.progress.seen.values())
        return {"ending": "stopped" if stopped else "finished", "seen": seen, "values": {}}

    def must_stop(self) -> bool:
        """Whether the trials must be asked to stop now."""
        return self.attempt.stop.is_set() or self._out_of_time()

    def _report(self) -> None:
        """Show and record where the sweep stands."""
        self._reported = time.monotonic()
        self.attempt.on_event(self.progress.event())

    def _say(self, text: str) -> None:
        self.attempt.emit({"event": "trial", "text": text})

    def _prune(self, leg: Leg) -> None:
        """Ask a trial that is worse than the median to save and end."""
        if self.sweep.scheduler.use == "median" and leg.key not in self._to_prune and self._is_below_median(leg):
            self._to_prune.add(leg.key)
            run = self.context.run(leg.trial)
            run.folder.write(f"{STOP}{run.status()['attempt']}", b"")

    def _is_below_median(self, leg: Leg) -> bool:
        tag = self.context.tags[0]
        ended = [key[:2] for key, result in self.log.history.results.items() if result.usable]
        others = [tag_curve(self.context.run(trial), tag) for trial in ended]
        return is_below_median(tag_curve(self.context.run(leg.trial), tag), others, self._first, self.sweep.modes[0])

    def _out_of_time(self) -> bool:
        budget = self.sweep.time_budget
        if budget is not None and self._spent + time.monotonic() - self._began > budget:
            self.timed_out = True
        return self.timed_out

    def _say_finished(self) -> str:
        name = self.attempt.folder.id
        if self.sweep.scheduler.use == "pbt":
            return f"sweep {name} is finished; its members can be trained further one by one"
        more = self.attempt.go_on("-o", f"sweep.trials={2 * self.search.wanted}")
        return f"sweep {name} is finished; to try more, raise sweep.trials: {more}"

    def _name_of(self, trial: TrialKey) -> str:
        return self.context.run(trial).id

    def _read_earlier(self) -> History:
        """What is known from `sweep.start_from`, if it was measured in the same way."""
        if self.sweep.start_from is None:
            return History()
        stored = StoredSweep(RunFolder(Folder(self.sweep.start_from)))
        if (stored.tags, stored.sweep.modes) != (self.context.tags, self.sweep.modes) and not self.smoke:
            was = ", ".join(f"{name} ({mode})" for name, mode in zip(stored.metrics, stored.sweep.modes, strict=True))
            raise PreflightError(
                f"sweep.start_from: {stored.run.id} was ranked by {was}, not by the metric of this sweep"
            )
        return stored.history

    def _why_invalid(self, values: Values) -> str | None:
        try:
            make_trial_job(self.context.job, values, self.roots)
        except JobError as error:
            return str(error)
        return None

    def _find_tag(self, metric: str) -> str:
        tag = find_tag(self.spec, metric, self.roots)
        if not self.smoke or not tag.startswith("metric/"):
            return tag
        # A rehearsal measures fewer samples, which gives its metrics other names.
        names, short = (list(job_metric_names(job, self.roots)) for job in (self.spec, shorten_job(self.spec, STEPS)))
        return f"metric/{short[names.index(tag.removeprefix('metric/'))]}"

    def _keep_best(self) -> None:
        """Drop the checkpoints of all but the best ended trials. Not while one may still go on from there."""
        if self.sweep.keep is None:
            return
        ended = [one for one in self.progress.ranking() if one.state != "training"]
        for one in ended[self.sweep.keep :]:
            for repetition in range(self.sweep.seeds):
                self.context.run((one.number, repetition)).checkpoints().delete()


def sweep_problems(
    spec: JobSpec, facts: DataFacts, workers: Callable[[JobSpec], int], roots: tuple[str, ...]
) -> list[str]:
    """What would fail later: networks of any end of the space that cannot be built, a metric that is never reported."""
    assert spec.sweep is not None
    job = spec.model_dump(mode="json", by_alias=True)
    tags = [find_tag(spec, metric, roots) for metric in spec.sweep.metrics]
    found = metric_problems(spec, facts)
    built: list[JobSpec] = []
    for values in list_configurations_to_check(spec.sweep):
        one = make_trial_job(job, values, roots).model_copy(update={"sweep": None})
        # Other data are read by the trial itself, and looked at then.
        if one not in built and len(built) < MOST_BUILT_NETWORKS and one.data == spec.data:
            built.append(one)
            listed = ", ".join(f"{key}={value}" for key, value in values.items())
            problems = [*batch_problems(one, facts, workers(one)), *network_problems(one, facts)]
            found += [f"sweep.space, with {listed}: {text}" for text in problems]
    return list(dict.fromkeys(found)) or [text for tag in tags for text in _check_tag(spec, facts, tag)]


def _check_tag(spec: JobSpec, facts: DataFacts, tag: str) -> Iterator[str]:
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
