"""What is done between iterations: reports, grids, metrics, checkpoints. All workers take part; rank 0 writes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from gan_dist.data.ingest import Ingest
from gan_dist.data.order import epoch_samples
from gan_dist.distributed.processor import describe_machine
from gan_dist.distributed.runtime import WorkerRuntime
from gan_dist.evaluation.collapse import DIVERSITY, CollapseMonitor, watch_reports
from gan_dist.events import WarningEvent
from gan_dist.generation.modality import SampleGrids
from gan_dist.runs import checkpoint
from gan_dist.runs.request import installed_versions
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.snapshots import Snapshots
from gan_dist.spec.job import JobSpec
from gan_dist.spec.problems import flatten_keys
from gan_dist.spec.schedules import is_due, is_early_look
from gan_dist.training.batches import BatchFactory
from gan_dist.training.run_logger import RunLogger, Stats, memory_gib, show_storage_errors_once
from gan_dist.training.stages import Stage
from gan_dist.training.state import TrainState
from gan_dist.training.trackers.making import make_trackers

if TYPE_CHECKING:
    from gan_dist.evaluation.metric_runner import MetricRunner

LONGEST_WITHOUT_CHECKPOINT_S = 15 * 60
LONGEST_SILENCE_S = 30.0


class RunCallbacks:
    """Keeps the run's records up to date (`loop.Tasks`)."""

    def __init__(
        self,
        *,
        spec: JobSpec,
        run: WorkerRuntime,
        rows: Ingest,
        feed: BatchFactory,
        stats: Stats,
        folder: RunFolder,
        attempt: int,
        measuring: MetricRunner | None = None,
        resolved: Mapping[str, Any],
    ) -> None:
        self.spec, self.run, self.rows, self.feed, self.stats = spec, run, rows, feed, stats
        self.folder, self.attempt, self.measuring, self.resolved = folder, attempt, measuring, resolved
        self.kept = spec.keep.metric
        if measuring is not None and spec.keep.metric and "/" not in spec.keep.metric:
            self.kept = f"metric/{measuring.resolve(spec.keep.metric)}"
        self.grids = SampleGrids(rows, spec.seed, run.device)
        self.journal: RunLogger | None = None
        self.watch: CollapseMonitor | None = None
        self.diversity: float | None = None
        self.latest: dict[str, float] = {}
        self.metrics: dict[str, float] = {}
        self._measured_seen, self._measured_s, self._reached = -1, 0.0, False
        self._reported_at, self._reported_seen, self._aside_s = time.perf_counter(), 0, 0.0
        self._saved_at, self._saved_seen, self._drawn_seen = time.monotonic(), -1, -1
        self._stage: Stage | None = None
        self._told_at, self._paced_at, self._paced_seen = 0.0, 0.0, 0  # paced: of this stage, since the last report

    def begin(self, state: TrainState) -> None:
        """Before the first iteration of this attempt."""
        self._reported_seen, self._saved_seen = state.seen, state.seen
        if self.run.rank == 0:
            show_storage_errors_once()
            self.journal = RunLogger(
                self.folder.folder,
                state.seen,
                self._not_copied,
                make_trackers(self.spec, self.folder, state.seen, self._not_copied),
            )
            epoch = epoch_samples(self.rows.facts.pass_length, self.spec.batch)
            self.watch = watch_reports(self.journal.reports(), self.spec, state.stages[-1].ends, epoch)
            if state.seen == 0:
                self.journal.job(self.spec.model_dump_json(by_alias=True, indent=2, exclude_defaults=True))
                self.journal.hyper_parameters(self._shown(), self._expected(state))
                if (real := self.grids.real()) is not None:
                    self.journal.sheet("real", real, 0)
            if any(stage.cadence.snapshot for stage in state.stages):
                Snapshots.of_run(self.folder, self.spec).forget_after(state.seen)
        if state.seen == 0:
            self.grid(state)
        self._reported_at, self._saved_at = time.perf_counter(), time.monotonic()

    def overdue(self) -> bool:
        """Whether the last checkpoint is older than 15 minutes, by rank 0's clock."""
        return self.run.rank == 0 and time.monotonic() - self._saved_at > LONGEST_WITHOUT_CHECKPOINT_S

    def saves(self, state: TrainState, before: int, stage: Stage, overdue: bool) -> bool:
        """Whether `between` will write a checkpoint. `overdue` was said an iteration ago, before one that was written
        there."""
        return is_due(before, state.seen, stage.cadence.checkpoint) or (overdue and self._saved_seen != before)

    def between(self, state: TrainState, before: int, stage: Stage, overdue: bool) -> None:
        """After an iteration that went from `before` to `state.seen`."""
        cadence, seen = stage.cadence, state.seen
        saves = self.saves(state, before, stage, overdue)
        if stage is not self._stage:
            self._enter(state, stage)
        if self._measures(state, before, stage, saves):
            with self._aside():
                self.measure(state)
        ended = seen >= state.stages[-1].ends
        if is_due(before, seen, cadence.grid) or is_early_look(before, seen, cadence.grid) or ended:
            with self._aside():
                self.grid(state)
        if is_due(before, seen, cadence.report) or seen in (self._measured_seen, self._drawn_seen):
            self.report(state, stage)
        if cadence.snapshot is not None and (is_due(before, seen, cadence.snapshot) or ended):
            with self._aside():
                self.keep_averages(state)
        if saves:
            with self._aside():
                self.save(state)
        silent = time.perf_counter() - self._told_at > LONGEST_SILENCE_S
        if self.run.rank == 0 and silent and seen > self._paced_seen:
            self._tell(state, stage, self._pace(state), {}, list(self.watch.active.values()) if self.watch else [])

    def _enter(self, state: TrainState, stage: Stage) -> None:
        """After the first iteration of a stage, or of an attempt inside one: from here on it has a pace of its own."""
        if self.run.rank == 0 and self._stage is not None:
            self.run.emit({"event": "stage", "text": f"stage {stage.name}"})
        self._stage = stage
        self._told_at = self._paced_at = time.perf_counter()
        self._paced_seen = state.seen

    def _pace(self, state: TrainState) -> float:
        """Samples a second of this stage since the last report."""
        return (state.seen - self._paced_seen) / max(time.perf_counter() - self._paced_at, 1e-9)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """The time inside is not the iterations'."""
        if self.run.device.type == "cuda":
            torch.cuda.synchronize(self.run.device)  # what they have queued is theirs
        began = time.perf_counter()
        yield
        self._aside_s += time.perf_counter() - began

    def end(self, state: TrainState, stage: Stage) -> None:
        """After the last iteration of this attempt."""
        if state.seen > self._drawn_seen:
            self.grid(state)
        if state.seen > self._reported_seen:
            self.report(state, stage)
        if state.seen > self._saved_seen:
            self.save(state)
        self.close(finished=self._reached or state.seen >= state.stages[-1].ends)

    def close(self, finished: bool = False) -> None:
        """Bring what was logged to the storage. Where training fails, its last numbers tell why."""
        if self.journal is not None:
            self.journal.close(finished)

    def reached(self) -> bool:
        """Whether a metric was as good as `stop_when` asks."""
        return self._reached

    def _measures(self, state: TrainState, before: int, stage: Stage, saves: bool) -> bool:
        """Whether metrics are due: at their cadence, at the end, for each checkpoint where they decide which stay."""
        if self.measuring is None:
            return False
        decides = self.spec.keep.best > 0 and str(self.kept).startswith("metric/")
        ended = state.seen >= state.stages[-1].ends
        return is_due(before, state.seen, stage.cadence.metrics) or ended or (saves and decides)

    def measure(self, state: TrainState) -> None:
        """The metrics of the published generator. Every worker takes part, and knows the result."""
        assert self.measuring is not None
        began = time.perf_counter()
        generator, device, seed = state.published(self.run), self.run.device, self.spec.seed
        modality = self.grids.modality
        self.metrics = self.measuring.measure(
            modality.metric_draw(generator, self.rows, seed, device),
            modality.real_rows(self.rows),
            modality.seen(generator, device),
            modality.metric_labels(generator, seed, device),
            modality.metric_targets(self.rows, seed),
        )
        self._measured_seen, self._measured_s = state.seen, time.perf_counter() - began
        if (goal := self.spec.stop_when) is not None:
            name = self.measuring.resolve(goal.metric)
            self._reached = goal.reached(self.metrics[name])
            if self._reached and self.run.rank == 0:
                self.run.emit({"event": "stage", "text": f"stop_when: {name} is {self.metrics[name]:.4g}"})

    def report(self, state: TrainState, stage: Stage) -> None:
        """Losses and rates since the last report."""
        means = self.stats.means(self.run.sum)
        now, seen = time.perf_counter(), state.seen
        seconds, count = now - self._reported_at, seen - self._reported_seen
        waited, self.feed.waited_s = self.feed.waited_s, 0.0
        stepping, self._aside_s = seconds - self._aside_s, 0.0
        self._reported_at, self._reported_seen = now, seen
        if self.journal is None:
            return
        rate = count / seconds
        values = means | {f"schedule/{name}": v for name, v in stage.scheduled_values(seen).items()}
        values |= {f"lr/{name}": state.learning_rate(stage, name) for name in state.optimizers}
        values |= {"speed/samples_per_s": rate, "speed/step_samples_per_s": count / stepping}
        values |= {"speed/data_wait_share": waited / seconds}
        values |= {"memory/gib": memory_gib(self.run.device)}
        if self._measured_seen == seen:
            values |= {f"metric/{name}": value for name, value in self.metrics.items()}
            values |= {"speed/metrics_s": self._measured_s}
        if self._drawn_seen == seen and self.diversity is not None:
            values |= {DIVERSITY: self.diversity}
        self.latest = values
        self.journal.scalars(values, seen)
        warnings = self._warn(values, seen)
        losses = {name.removeprefix("loss/"): v for name, v in means.items() if name.startswith("loss/")}
        self._tell(state, stage, self._pace(state) or rate, losses, warnings)
        self._paced_at, self._paced_seen = now, seen

    def _tell(
        self, state: TrainState, stage: Stage, rate: float, losses: dict[str, float], warnings: list[str]
    ) -> None:
        """Say where the run stands; nothing is summed over workers for it."""
        self._told_at = time.perf_counter()
        self.run.emit(
            {
                "event": "progress",
                "seen": state.seen,
                "until": state.stages[-1].ends,
                "stage_until": stage.ends,
                "rate": rate,
                "eta": max(0, stage.ends - state.seen) / rate,
                "losses": losses,
                "metrics": self.metrics,
                "workers": self.run.world,
                "stage": stage.name,
                "warnings": warnings,
            }
        )

    def _warn(self, values: dict[str, float], seen: int) -> list[str]:
        """Tell what begins to go wrong, and what no longer does; all that is wrong now."""
        assert self.journal is not None and self.watch is not None
        before = self.watch.collapsed
        for text in self.watch.add({"seen": seen, **values}):
            self.journal.warning(text, seen)
            event: WarningEvent = {"event": "warning", "text": f"at {seen:,} samples: {text}"}
            if self.watch.collapsed is not None and before is None:
                event["about"] = "collapse"
            self.run.emit(event)
        return list(self.watch.active.values())

    def grid(self, state: TrainState) -> None:
        """Samples of the published generator on the run's fixed noise."""
        generator = state.published(self.run)
        self._drawn_seen = state.seen
        if self.journal is not None:
            shown, self.diversity = self.grids.draw(generator)
            path = self.journal.sheet("samples", shown, state.seen)
            self.run.emit({"event": "grid", "path": path, "seen": state.seen})

    def keep_averages(self, state: TrainState) -> None:
        """Store the averages by sigma beside the checkpoints."""
        averages = state.snapshot(self.run)
        if self.run.rank == 0:
            names = frozenset(name for name, _ in state.module("generator").named_parameters())
            Snapshots.of_run(self.folder, self.spec).write(state.seen, averages, names)

    def save(self, state: TrainState) -> None:
        """Write a checkpoint, then drop those that need not stay."""
        networks, training = state.capture(self.run)
        self._saved_at, self._saved_seen = time.monotonic(), state.seen
        if self.run.rank != 0:
            return
        parent, name = self.folder.checkpoints(), checkpoint.name_of(state.seen, self.attempt)
        meta = {
            "job": self.spec.model_dump(mode="json", by_alias=True),
            "clock": state.clock(),
            "data": self.rows.facts.as_dict(),
            "metrics": self.latest,
            "versions": installed_versions(),
            "machine": describe_machine(self.run.device),
            "world": self.run.world,
            "resolved": dict(self.resolved),
            "created": time.time(),
        }
        if self.journal is not None:
            self.journal.check_there()
            self.journal.push()  # whoever resumes from it finds the curves up to here
        written = checkpoint.write(parent, name, networks=networks, training=training, meta=meta)
        keep = self.spec.keep
        checkpoint.prune(parent, last=keep.last, best=keep.best, metric=self.kept, mode=keep.mode)
        self.run.emit({"event": "checkpoint", "path": written.folder.uri, "seen": state.seen})

    def _not_copied(self, text: str) -> None:
        self.run.emit({"event": "warning", "text": text})

    def _shown(self) -> dict[str, Any]:
        """The job's keys and values; of a trial those that its sweep searches, as nothing else tells it apart."""
        flat = flatten_keys(self.spec.model_dump(mode="json", by_alias=True))
        keys = tuple(f"{key}." for key in self.folder.searched())
        return {key: value for key, value in flat.items() if f"{key}.".startswith(keys)} or flat

    def _expected(self, state: TrainState) -> dict[str, float]:
        names = [f"loss/{phase.name}" for stage in state.stages for phase in stage.phases]
        measured = self.measuring.names if self.measuring else ()
        return dict.fromkeys([*names, *(f"metric/{name}" for name in measured)], 0.0)
