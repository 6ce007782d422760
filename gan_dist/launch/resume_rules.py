"""Which job a further attempt at a run trains: the stored one, with the changes that resuming allows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_dist.data.facts import facts_from_record
from gan_dist.data.order import epoch_samples
from gan_dist.errors import JobError, UsageError
from gan_dist.registry.lookup import check_job
from gan_dist.registry.metric_names import check_metrics
from gan_dist.runs.checkpoint import newest_described
from gan_dist.runs.hints import command
from gan_dist.runs.run_folder import JOB, RunFolder
from gan_dist.spec.check import parse_job
from gan_dist.spec.job import JobSpec
from gan_dist.spec.job_file import Document, merge_documents, overrides_document
from gan_dist.spec.problems import flatten_keys
from gan_dist.spec.schedules import Clock
from gan_dist.sweeps.candidates import check_sweep

# A run stays the same run only while what its weights depend on stays. The data may move: their checksum decides.
MAY_CHANGE = (
    "optimizer.lr",
    "optimizer.warmup",
    "optimizer.clip",
    "until",
    "every",
    "metrics",
    "stop_when",
    "standing",
    "trackers",
    "labels",
    "keep",
    "resources",
    "environment",
    "storage",
    "compile",
    "determinism",
    "micro_batch",
    "data.source",
    "data.args",
    "data.inputs",
    "data.max_rejected",
)


# Trials are compared with each other, so that nothing of what they train may change.
MAY_CHANGE_OF_SWEEP = (
    "sweep.trials",
    "sweep.concurrent",
    "sweep.time_budget",
    "sweep.keep",
    "labels",
    "resources",
    "environment",
    "storage",
)


def resume_spec(
    run: RunFolder, overrides: Iterable[str] | Mapping[str, Any], roots: Sequence[str | Path] | None = None
) -> JobSpec:
    """The job of a run's next attempt.

    Args:
        roots: folders with the job's own modules; by default the one that the job names, or here.

    Raises:
        ValueError: it is a rehearsal, a change is not allowed, the run is finished and `until` is not raised, or none
            of its checkpoints can be used.
        JobError: a change is no valid job.
    """
    if run.request().get("mode") == "smoke":
        raise UsageError(f"run {run.id} is a rehearsal; train its job: {command('submit', f'{run.uri}/{JOB}')}")
    spec = changed_spec(run, overrides, roots)
    _refuse_finished(run, spec)
    return spec


def changed_spec(
    run: RunFolder, overrides: Iterable[str] | Mapping[str, Any], roots: Sequence[str | Path] | None = None
) -> JobSpec:
    """As `resume_spec`, of a run that may be finished."""
    stored_job: dict[str, Any] = run.job()
    changes = overrides_document(overrides)
    document = merge_documents(Document(stored_job, {}), changes)
    spec = parse_job(document)
    roots = roots or [spec.environment.code or "."]
    problems = check_job(document.value, document.origins, roots)
    problems = problems or check_metrics(spec, document.origins, roots)
    if spec.sweep is not None and not problems:
        problems = check_sweep(spec, document, roots)
    if problems:
        raise JobError(problems)
    _refuse_changes(run.spec(), spec)
    return spec


def _refuse_changes(before: JobSpec, after: JobSpec) -> None:
    old, new = _leaves(before), _leaves(after)
    may_change: tuple[str, ...] = MAY_CHANGE if before.sweep is None else MAY_CHANGE_OF_SWEEP
    if before.sweep is not None and before.sweep.scheduler.use == "pbt":
        may_change = may_change[1:]  # members cannot join a population that has trained
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key) and not _allowed(key, may_change)]
    if changed:
        shown = "; ".join(f"{key}: {old.get(key)!r} -> {new.get(key)!r}" for key in changed[:5])
        raise UsageError(
            f"--resume goes on with the same data, networks, objective, seed and batch; changed: {shown}. "
            f"May change: {', '.join(may_change)}. For another job with these weights: --from"
        )


def _refuse_finished(run: RunFolder, spec: JobSpec) -> None:
    seen, ends = progress_of(run, spec)
    if seen >= ends:
        # Twice what was asked for may be less than what was seen.
        longer = spec.doubled if spec.until is None or seen < 2 * ends else f"until={2 * seen}"
        raise UsageError(
            f"run {run.id} is finished ({seen:,} of {ends:,} samples seen); to go on, make it longer: "
            f"{command('submit', '--resume', run.id, '-o', longer)}"
        )


def progress_of(run: RunFolder, spec: JobSpec) -> tuple[int, float]:
    """Samples seen by the newest checkpoint, and those of the whole job, which are unknown without one (infinite)."""
    newest = newest_described(run.checkpoints())
    if newest is None:
        return 0, math.inf
    clock = Clock(spec.batch, epoch_samples(facts_from_record(newest.meta["data"]).pass_length, spec.batch))
    return newest.seen, sum(clock.samples(stage.length) for stage in spec.phases_plan)


def _allowed(key: str, may_change: Iterable[str]) -> bool:
    parts = key.split(".")
    if parts[0] == "stages":
        parts = ["until"] if parts[2] == "for" else parts[2:]
    if parts[0] == "optimizer":
        parts = ["optimizer", *(part for part in parts if part in ("lr", "warmup", "clip"))]
    return any(parts[: len(name.split("."))] == name.split(".") for name in may_change)


def _leaves(spec: JobSpec) -> dict[str, Any]:
    """Every plain value of a job by its dotted key; a stage has what it takes from the job."""
    whole = spec.model_copy(update={"stages": spec.phases_plan}) if spec.stages else spec
    return flatten_keys(whole.model_dump(mode="json", by_alias=True))
