"""One trial: an ordinary run with its own folder, trained leg by leg. Nothing here knows how it is trained."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from gan_dist.errors import CheckpointError, OutOfMemory, StorageError, TrainingDiverged
from gan_dist.evaluation.collapse import watch_reports
from gan_dist.events import Emit, Event
from gan_dist.execution.attempt import Attempt
from gan_dist.execution.log_lines import MARK
from gan_dist.runs.checkpoint import Checkpoint, name_of, newest
from gan_dist.runs.request import RunRequest
from gan_dist.runs.run_folder import JOB, STOP, RunFolder, last_value, log_prints
from gan_dist.runs.storage import Folder
from gan_dist.spec.amounts import Amount
from gan_dist.spec.job import JobSpec
from gan_dist.spec.schedules import Clock
from gan_dist.sweeps.candidates import make_trial_job, reseed_job
from gan_dist.sweeps.trial_log import Leg, LegResult, State, TrialKey, trial_uri

LINEAGE = "lineage.json"
LOOK_S, LOOK_AWAY_S = 0.5, 3.0
# How long the lease of a driver that died on another machine may still look alive.
LEASE_PATIENCE_S = 60.0

Train = Callable[[Attempt, JobSpec], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class SweepContext:
    """What all trials of a sweep's attempt share, in plain values.

    Attributes:
        sweep: the sweep's folder; trials lie beside it.
        job: the job without its sweep.
        mode: "smoke" for a rehearsal of each.
        attempt: of the sweep.
        tags: of the metrics in a trial's reports.
        roots: folders with the user's own modules.
        versions: of the machine from which it was submitted.
        end: samples seen at the end of a job.
    """

    sweep: str
    job: Mapping[str, Any]
    mode: Literal["train", "smoke"]
    attempt: int
    tags: tuple[str, ...]
    roots: tuple[str, ...]
    versions: Mapping[str, str]
    end: int

    def run(self, trial: TrialKey) -> RunFolder:
        """The folder of a trial."""
        return RunFolder(Folder(trial_uri(self.sweep, trial, self.job["sweep"]["seeds"])))

    def spec(self, leg: Leg) -> JobSpec:
        """The job of a trial. Raises JobError where its values make none."""
        base = {key: value for key, value in self.job.items() if key != "sweep"}
        return reseed_job(make_trial_job(base, leg.values, self.roots), leg.repetition)

    def is_stopping(self) -> bool:
        """Whether the sweep has asked its trials to stop."""
        return Folder(self.sweep).exists(f"{STOP}{self.attempt}")


class Trial:
    """A trial in one of its legs.

    Args:
        context: what all trials of the sweep share.
        leg: what to train now.
        train: trains a job to its end, in a cluster or here.
        on_event: gets its progress.
    """

    def __init__(
        self,
        context: SweepContext,
        leg: Leg,
        train: Train,
        on_event: Emit = lambda event: None,
    ) -> None:
        self.context, self.leg, self._train, self._on_event = context, leg, train, on_event
        self.run, self.spec = context.run(leg.trial), context.spec(leg)
        self.stop = threading.Event()
        self.attempt = self.run.status()["attempt"] + 1
        self._state: State | Literal["stopped"] | None = None

    def train_leg(self) -> LegResult | None:
        """Train the leg; None where it was stopped before its end and is to go on another time."""
        request = RunRequest(
            self.run.id,
            self.run.uri,
            self.spec.model_dump_json(by_alias=True),
            mode=self.context.mode,
            resume=self.attempt > 1,
            attempt=self.attempt,
            versions=self.context.versions,
        )
        record_job(self.run, request, self.context.sweep)
        attempt = Attempt(request, self._emit, self.stop)
        await_lease(self.run, self.stop)
        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(over,), daemon=True)
        watch.start()
        with log_prints(self.run, self.attempt) as self._log:
            attempt.run_and_record(self._conduct)
        over.set()
        watch.join()
        return self._result()

    def _conduct(self, attempt: Attempt) -> dict[str, Any]:
        try:
            result = self._train(attempt, self.spec)
        except Exception as error:
            self._state = next((state for one in (error, error.__cause__) if (state := classify_failure(one))), None)
            raise
        self._state = "stopped"
        if result["ending"] == "finished":
            self._state = "finished" if self.leg.until is None else "reached"
        # The job itself goes on beyond this leg, and may be resumed by hand.
        return {**result, "ending": "stopped"} if self._state == "reached" else result

    def _result(self) -> LegResult | None:
        status = self.run.status()
        state = self._state or ("stopped" if status["status"] == "stopped" else "failed")
        if state == "stopped":
            return None
        seen, message = int(status["seen"]), str(status.get("message", ""))
        found = LegResult(state=state, seen=seen, message=message)
        return self._measure(replace(found, message="")) if state in ("finished", "reached") else found

    def _measure(self, found: LegResult) -> LegResult:
        """The result of a leg that came to its end, by its metrics."""
        values: list[float] = []
        for tag in self.context.tags:
            if (value := last_value(self.run, tag)) is None:
                return replace(found, state="failed", message=f"{tag} was never reported")
            if not math.isfinite(value):
                return replace(found, state="diverged", message=f"{tag} is {value}")
            values.append(value)
        job = JobSpec.model_validate(self.run.request()["job"])
        how = watch_reports(self.run.reports(), job, self.context.end).collapsed
        return replace(found, state="collapsed" if how else found.state, values=tuple(values), message=how or "")

    def _emit(self, event: Event) -> None:
        """Into the trial's own log; the sweep's log has other things to tell."""
        self._log.write(f"{MARK}{json.dumps(event)}\n")
        self._on_event(event)

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(LOOK_S if self.run.folder.local else LOOK_AWAY_S):
            try:
                asked = self.context.is_stopping() or self.run.folder.exists(f"{STOP}{self.attempt}")
            except StorageError:  # it may answer the next time
                continue
            if asked:
                self.stop.set()
                return


def classify_failure(error: BaseException | None) -> Literal["diverged", "out_of_memory"] | None:
    """The state of a trial that failed by its own doing; None for any other failure."""
    if isinstance(error, TrainingDiverged):
        return "diverged"
    return "out_of_memory" if isinstance(error, (OutOfMemory, MemoryError, torch.OutOfMemoryError)) else None


def record_job(run: RunFolder, request: RunRequest, sweep: str) -> None:
    """Note what a trial trains, from now on: a population changes it between legs."""
    before = run.folder.read_json("request.json") or {}
    created = {"created": before["created"]} if "created" in before else {}
    run.folder.write_json("request.json", {**request.record(), **created, "sweep": sweep})
    run.folder.write_json(JOB, json.loads(request.spec))


def show_in_tensorboard(sweep: RunFolder, run: RunFolder) -> None:
    """Link a trial's curves into the sweep's folder, so that TensorBoard on the sweep shows all trials and no other.

    An object store knows no links; `gan-dist tensorboard` looks for the trials there.
    """
    if sweep.folder.local is None or run.folder.local is None:
        return
    link = sweep.folder.local / "tensorboard" / run.id.removeprefix(f"{sweep.id}-")
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(run.folder.local / "tensorboard", link.parent))


def await_lease(run: RunFolder, stop: threading.Event) -> None:
    """Wait until a driver that died no longer counts as the run's writer."""
    deadline = time.monotonic() + LEASE_PATIENCE_S
    while run.lease_holder() is not None and time.monotonic() < deadline and not stop.wait(LOOK_S):
        pass


def truncate_job(spec: JobSpec, until: int | None, clock: Clock) -> JobSpec:
    """The job up to so many samples; None for all of it. Schedules and everything else stay as they are."""
    if until is None:
        return spec
    if spec.stages is None:
        return spec.model_copy(update={"until": Amount(until)})
    stages, begins = [], 0
    for stage in spec.stages:
        length = min(clock.samples(stage.length), until - begins)
        stages.append(stage.model_copy(update={"length": Amount(length)}))
        begins += length
        if begins >= until:
            break
    return spec.model_copy(update={"stages": tuple(stages)})


def take_over(source: RunFolder, run: RunFolder, leg_index: int) -> Checkpoint:
    """Give a run another's newest checkpoint, from which its next attempt then resumes; and note it in its lineage.

    Done at once when it is decided: the source trains on and drops its checkpoint. Done once for a leg.

    Raises:
        CheckpointError: the source has none that is whole.
    """
    known = (run.folder.read_json(LINEAGE) or {"taken": []})["taken"]
    for taken in known:
        if taken["leg"] == leg_index:
            return Checkpoint(run.checkpoints().child(taken["name"]))
    found = newest(source.checkpoints(), lambda text: None)
    if found is None:
        raise CheckpointError(f"run {source.id} has no checkpoint to go on from")
    name = name_of(found.seen, run.status()["attempt"] + 1)
    target = run.checkpoints().child(name)
    files = [*found.meta["checksums"], "meta.json"]
    for file in files:  # meta.json last: from then on it counts
        target.write(file, found.folder.read(file))
    taken = {"leg": leg_index, "source": source.id, "checkpoint": found.folder.uri, "seen": found.seen, "name": name}
    run.folder.write_json(LINEAGE, {"taken": [*known, taken]})
    for other in run.checkpoints().names():
        if other != name:
            run.checkpoints().delete(other)
    return Checkpoint(target)
