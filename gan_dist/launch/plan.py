"""From what a user says to a request: a new run of a job file, or a further attempt at a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gan_dist.data.order import epoch_samples
from gan_dist.errors import JobError, NoSuchRun, UsageError
from gan_dist.launch.packaging import Environment, code_folder
from gan_dist.registry.lookup import check_job
from gan_dist.registry.metric_names import check_metrics
from gan_dist.runs.checkpoint import newest_described
from gan_dist.runs.index import find_run, known_runs, new_run_id, storage_root
from gan_dist.runs.request import InitialWeights, RunRequest
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import FLAT, Folder
from gan_dist.spec.check import parse_job
from gan_dist.spec.job_file import Document, merge_documents, overrides_document
from gan_dist.sweeps.search.candidates import check_sweep
from gan_dist.training.schedule import Clock

if TYPE_CHECKING:
    from gan_dist.runs.checkpoint import Checkpoint
    from gan_dist.spec.amounts import Amount
    from gan_dist.spec.job import JobSpec

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")


@dataclass(frozen=True)
class LaunchPlan:
    """Everything that is decided before a cluster is asked."""

    run: RunFolder
    spec: JobSpec
    request: RunRequest
    environment: Environment


def plan_new(
    job: str,
    overrides: Sequence[str],
    *,
    storage: str | None = None,
    name: str | None = None,
    code: str | None = None,
    start_from: str | None = None,
    only: Sequence[str] = (),
    smoke: bool = False,
    twin: bool = False,
    warn: Callable[[str], None] = print,
) -> LaunchPlan:
    """A new run of the job in a file, or with `twin` of its maximum-likelihood twin.

    Args:
        start_from: a run or checkpoint whose weights it begins with.
        only: the networks that are taken from there; all, where there are none.

    Raises:
        ValueError: the job, the name, the code or `only` is wrong; NoSuchRun for `start_from`.
    """
    from gan_dist.launch.load_job import load_job

    folder = code_folder(code, Path.cwd())
    spec = load_job(job, overrides, None if folder is None else [folder])
    if twin:
        from gan_dist.launch.mle_twin import mle_twin

        spec = mle_twin(spec)
    spec, environment = _settled(_with_earlier_sweep(spec, storage), code)
    run = RunFolder(storage_root(storage, spec.storage).child(_fresh_id(spec.name, name)))
    if spec.sweep is not None and run.folder.local is None and run.folder.open()[0].type_name not in FLAT:
        raise UsageError(f"storage: {run.uri!r}: a sweep's record wants a path or an object store, such as s3://")
    if name and run.folder.exists("request.json"):
        raise UsageError(
            f"a run named {name!r} exists: {run.uri}\n"
            f"go on with it (gan-dist submit --resume {name}), or choose another --name"
        )
    mode: Literal["train", "smoke"] = "smoke" if smoke else "train"
    start = None if start_from is None else _start(start_from, tuple(only), spec, storage, warn)
    request = RunRequest(run.id, run.uri, _json(spec), mode=mode, start_from=start)
    return LaunchPlan(run, spec, request, environment)


def plan_resume(
    ref: str, overrides: Sequence[str], *, storage: str | None = None, code: str | None = None
) -> LaunchPlan:
    """A further attempt at a run, which goes on where it stood.

    Raises:
        ValueError: it runs elsewhere, is finished, or the changes are not allowed; NoSuchRun.
    """

    run = find_run(ref, storage_root(storage, None))
    if (holder := run.lease_holder()) is not None:
        raise UsageError(
            f"run {run.id} is still running (attempt {holder['attempt']} on {holder['host']}); "
            f"follow it: gan-dist logs -f {run.id}, or stop it first: gan-dist stop {run.id}"
        )
    spec, environment = _settled(resume_spec(run, overrides), code)
    remembered = next((row.get("attempt", 0) for row in known_runs() if row["id"] == run.id), 0)
    attempt = max(run.status().get("attempt", 0), remembered) + 1
    # A run that ended before its first checkpoint begins anew, from where it was to begin.
    start = InitialWeights.read(run.request().get("start_from"))
    request = RunRequest(run.id, run.uri, _json(spec), resume=True, start_from=start, attempt=attempt)
    return LaunchPlan(run, spec, request, environment)


def resolve_job(spec: JobSpec) -> list[dict[str, object]]:
    """Each stage's length and cadence in samples; what is given in epochs stays so until the data are read."""

    def shown(amount: Amount) -> int | str:
        return str(amount) if amount.unit == "epochs" else amount.samples(spec.batch, epoch=0)

    cadences = ("report", "grid", "checkpoint", *(("metrics",) if spec.metrics else ()))
    return [
        {
            "stage": stage.name or " + ".join(one.use for one in stage.objective),
            "for": shown(stage.length),
            "every": {name: shown(getattr(stage.every, name)) for name in cadences},
        }
        for stage in spec.phases_plan
    ]


def _settled(spec: JobSpec, code: str | None) -> tuple[JobSpec, Environment]:
    """The spec with absolute local paths (the driver works elsewhere), and what must travel with it."""
    asked = spec.environment
    named = code if code is not None else asked.code
    folder = code_folder("." if named is None and _has_own_components(spec) else named, Path.cwd())
    settled = spec.with_absolute_paths()
    settled = settled.model_copy(update={"environment": asked.model_copy(update={"code": folder})})
    return settled, Environment(folder, tuple(asked.pip), asked.image, tuple(asked.env))


def _with_earlier_sweep(spec: JobSpec, storage: str | None) -> JobSpec:
    """The spec with the folder of the sweep that `sweep.start_from` names. Raises ValueError where it is none."""
    if spec.sweep is None or spec.sweep.start_from is None:
        return spec
    from gan_dist.sweeps.reports.results import is_sweep

    earlier = find_run(spec.sweep.start_from, storage_root(storage, spec.storage))
    if not is_sweep(earlier):
        raise UsageError(f"sweep.start_from: {earlier.id} is no sweep")
    return spec.model_copy(update={"sweep": spec.sweep.model_copy(update={"start_from": earlier.uri})})


def _has_own_components(spec: JobSpec) -> bool:
    """Whether the job names a person's own `package.module:Name`, which is then looked for here."""
    stages = spec.phases_plan
    used = [*spec.network_specs.values(), *(one for stage in stages for one in stage.objective)]
    used += [*spec.metrics, *(metric.features for metric in spec.metrics)]
    return any(":" in one.use for one in (*used, *(one for stage in stages for one in stage.penalties or ())))


def _json(spec: JobSpec) -> str:
    return spec.model_dump_json(by_alias=True)


def _fresh_id(job_name: str, name: str | None) -> str:
    if name is None:
        return new_run_id(job_name)
    if not _NAME.fullmatch(name) or name == "last":
        raise UsageError(f"--name {name!r}: use letters, digits, '.', '_' and '-', and not `last`")
    return name


def _start(
    ref: str, only: tuple[str, ...], spec: JobSpec, storage: str | None, warn: Callable[[str], None]
) -> InitialWeights:
    """Weights of a checkpoint, or of a run's newest valid one."""
    from gan_dist.spec.problems import suggestion

    if spec.sweep is not None:
        raise UsageError("--from: the trials of a sweep begin from nothing; give a job without sweep")
    source, names = _checkpoint_of(ref, storage, warn), list(spec.network_specs)
    for name in only:
        if name not in names:
            raise UsageError(f"--only: {name!r} is no network of this job{suggestion(name, names)}")
        if not source.has(f"{name}.safetensors"):
            raise UsageError(f"--only: {source.folder.uri} has no {name}")
    return InitialWeights(source.folder.uri, only)


def _checkpoint_of(ref: str, storage: str | None, warn: Callable[[str], None]) -> Checkpoint:
    from gan_dist.runs.checkpoint import Checkpoint, newest

    if (at := Folder.at(ref)).exists("meta.json"):
        Checkpoint(at).verify()
        return Checkpoint(at)
    run = find_run(ref, storage_root(storage, None))
    if (found := newest(run.checkpoints(), warn)) is None:
        raise NoSuchRun(f"run {run.id} has no checkpoint to start from ({run.uri}/checkpoints)")
    return found


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
    "keep",
    "resources",
    "environment",
    "storage",
    "compile",
    "micro_batch",
    "data.source",
    "data.inputs",
    "data.max_rejected",
)

# Trials are compared with each other, so that nothing of what they train may change.
MAY_CHANGE_OF_SWEEP = (
    "sweep.trials",
    "sweep.concurrent",
    "sweep.time_budget",
    "sweep.keep",
    "resources",
    "environment",
    "storage",
)


def resume_spec(run: RunFolder, overrides: Iterable[str]) -> JobSpec:
    """The job of a run's next attempt.

    Raises:
        ValueError: a change is not allowed, the run is finished and `until` is not raised, or none of its checkpoints
            can be used.
        JobError: a change is no valid job.
    """
    stored_job: dict[str, Any] = run.request()["job"]
    changes = overrides_document(overrides)
    document = merge_documents(Document(stored_job, {}), changes)
    spec = parse_job(document)
    roots = [spec.environment.code or "."]
    problems = check_job(document.value, document.origins, roots)
    problems = problems or check_metrics(spec, document.origins, roots)
    if spec.sweep is not None and not problems:
        problems = check_sweep(spec, document, roots)
    if problems:
        raise JobError(problems)
    _refuse_changes(JobSpec.model_validate(stored_job), spec)
    _refuse_finished(run, spec)
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
    newest = newest_described(run.checkpoints())
    if newest is None:
        return
    clock = Clock(spec.batch, epoch_samples(newest.meta["data"]["count"], spec.batch))
    ends = sum(clock.samples(stage.length) for stage in spec.phases_plan)
    if newest.seen >= ends:
        raise UsageError(
            f"run {run.id} is finished ({newest.seen:,} of {ends:,} samples seen); to go on, raise until: "
            f"gan-dist submit --resume {run.id} -o until={2 * ends}"
        )


def _allowed(key: str, may_change: Iterable[str]) -> bool:
    parts = key.split(".")
    if parts[0] == "stages":
        parts = ["until"] if parts[2] == "for" else parts[2:]
    if parts[0] == "optimizer":
        parts = ["optimizer", *(part for part in parts if part in ("lr", "warmup", "clip"))]
    return any(parts[: len(name.split("."))] == name.split(".") for name in may_change)


def _leaves(spec: JobSpec) -> dict[str, Any]:
    """Every plain value of a job by its dotted key; a stage has what it takes from the job."""
    found: dict[str, Any] = {}

    def walk(value: Any, key: str) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in items:
            inner_key = f"{key}.{name}" if key else str(name)
            if isinstance(inner, (dict, list)):
                walk(inner, inner_key)
            else:
                found[inner_key] = inner

    whole = spec.model_copy(update={"stages": spec.phases_plan}) if spec.stages else spec
    walk(whole.model_dump(mode="json", by_alias=True), "")
    return found
