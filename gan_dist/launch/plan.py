"""From what a user says to a request: a new run of a job file, or a further attempt at a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gan_dist.errors import NoSuchRun, UsageError
from gan_dist.launch.cluster.head_storage import with_cluster
from gan_dist.launch.packaging import Environment, code_folder
from gan_dist.registry.own_code import own_files, own_modules
from gan_dist.registry.trust import check_trust, foreign_code
from gan_dist.runs.code import archive_code, digest_of, stored_code, unpack_code
from gan_dist.runs.index import find_run, known_runs, new_run_id, storage_root
from gan_dist.runs.request import InitialWeights, RunRequest
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import FLAT, Folder
from gan_dist.spec.job import JobSpec

if TYPE_CHECKING:
    from gan_dist.runs.checkpoint import Checkpoint
    from gan_dist.spec.amounts import Amount

IMPORTED = ".imported"  # beside the runs
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")


@dataclass(frozen=True)
class LaunchPlan:
    """Everything that is decided before a cluster is asked."""

    run: RunFolder
    spec: JobSpec
    request: RunRequest
    environment: Environment


def plan_new(
    job: str | Path | Mapping[str, Any],
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    storage: str | None = None,
    address: str | None = None,
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
        address: of the cluster that is meant by a storage on its head.
        start_from: a run, checkpoint, exported generator or published file whose weights it begins with.
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
    spec = _with_codec_checkpoint(_with_earlier_sweep(spec, storage), storage, warn)
    spec, environment = _settled(spec, code)
    run = RunFolder(with_cluster(storage_root(storage, spec.storage), address).child(_fresh_id(spec.name, name)))
    if spec.sweep is not None and not _keeps_a_record(run.folder):
        raise UsageError(f"storage: {run.uri!r}: a sweep's record wants a path or an object store, such as s3://")
    if name and run.folder.exists("request.json"):
        raise UsageError(
            f"a run named {name!r} exists: {run.uri}\n"
            f"go on with it (gan-dist submit --resume {name}), or choose another --name"
        )
    mode: Literal["train", "smoke"] = "smoke" if smoke else "train"
    start = None if start_from is None else _start(start_from, tuple(only), spec, storage, warn)
    content = _own_code(spec, environment.code)
    environment, digest = _with_code(environment, content)
    request = RunRequest(run.id, run.uri, _json(spec), mode=mode, start_from=start, code=digest)
    return LaunchPlan(run, spec, request, environment)


def plan_resume(
    ref: str,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    storage: str | None = None,
    address: str | None = None,
    code: str | None = None,
    new_code: bool = False,
    trust_code: bool = False,
    warn: Callable[[str], None] = lambda text: None,
) -> LaunchPlan:
    """A further attempt at a run, which goes on where it stood.

    Args:
        address: of the cluster that is meant by a storage on its head.
        code: folder of the job's own modules, in place of the one that it was submitted with.
        new_code: whether they are taken as they are there now, in place of the copy that was kept with the run.
        trust_code: whether a run that was submitted by somebody else may run the code that it names.
        warn: told where the code there differs from the copy.

    Raises:
        ValueError: it runs elsewhere, is finished, the changes are not allowed, or nobody vouched for its code;
            NoSuchRun.
    """

    from gan_dist.launch.resume_rules import resume_spec

    run = find_run(ref, with_cluster(storage_root(storage, None), address))
    if (holder := run.lease_holder()) is not None:
        raise UsageError(
            f"run {run.id} is still running (attempt {holder['attempt']} on {holder['host']}); "
            f"follow it: gan-dist logs -f {run.id}, or stop it first: gan-dist stop {run.id}"
        )
    stored = run.spec()
    check_trust(foreign_code(stored), run.uri, run.uri, trust_code)
    kept = None if new_code else stored_code(run.folder)
    roots = None if kept is None else [unpack_code(kept)]
    spec, environment = _settled(resume_spec(run, overrides, roots), code, was_kept=kept is not None)
    if spec.micro_batch != stored.micro_batch:
        warn(
            f"micro_batch was {stored.micro_batch} and is {spec.micro_batch}: sums are added up in another order, so "
            "that the last bits may differ; batch normalisation sees other batches"
        )
    environment, digest = _with_code(environment, _code_to_go_on_with(run, spec, environment, kept, warn))
    remembered = next((row.get("attempt", 0) for row in known_runs() if row["id"] == run.id), 0)
    attempt = max(run.status().get("attempt", 0), remembered) + 1
    # A run that ended before its first checkpoint begins anew, from where it was to begin.
    start = InitialWeights.read(run.request().get("start_from"))
    request = RunRequest(run.id, run.uri, _json(spec), resume=True, start_from=start, attempt=attempt, code=digest)
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


def _keeps_a_record(folder: Folder) -> bool:
    """Whether a sweep's record can be written there: on a disk, or on an object store, which writes whole files."""
    return folder.local is not None or folder.read_only or folder.open()[0].type_name in FLAT


def _own_code(spec: JobSpec, folder: str | None) -> bytes | None:
    """An archive of what the job imports of a person's own; None where it names nothing there."""
    files = own_files(Path(folder), own_modules(spec)) if folder else {}
    return archive_code(files) if files else None


def _with_code(environment: Environment, content: bytes | None) -> tuple[Environment, str]:
    """What travels with a job, with a copy of its own code, and the copy's digest."""
    if content is None:
        return environment, ""
    kept = unpack_code(content, None if environment.code is None else Path(environment.code))
    return replace(environment, kept=str(kept)), digest_of(content)


def _code_to_go_on_with(
    run: RunFolder, spec: JobSpec, environment: Environment, kept: bytes | None, warn: Callable[[str], None]
) -> bytes | None:
    """The code that was kept with a run, or, without that, what is there now."""
    now = _own_code(spec, environment.code)
    if kept is None:
        return now
    if now is not None and digest_of(now) != digest_of(kept):
        warn(
            f"the code in {environment.code} has changed since run {run.id} was submitted; the run goes on with the "
            "copy that was kept, so that it stays exact; --new-code takes the code as it is now"
        )
    return kept


def _settled(spec: JobSpec, code: str | None, *, was_kept: bool = False) -> tuple[JobSpec, Environment]:
    """The spec with absolute local paths (the driver works elsewhere), and what must travel with it.

    Args:
        was_kept: whether a copy of the job's own code was, so that its folder may be gone.
    """
    asked = spec.environment
    named = code if code is not None else asked.code
    if was_kept and code is None and named is not None and not Path(named).is_dir():
        named = None
    folder = code_folder("." if named is None and _has_own_components(spec) else named, Path.cwd())
    settled = spec.with_absolute_paths()
    settled = settled.model_copy(update={"environment": asked.model_copy(update={"code": folder})})
    return settled, Environment.asked(settled.environment)


def _with_earlier_sweep(spec: JobSpec, storage: str | None) -> JobSpec:
    """The spec with the folder of the sweep that `sweep.start_from` names. Raises ValueError where it is none."""
    if spec.sweep is None or spec.sweep.start_from is None:
        return spec
    from gan_dist.sweeps.results import is_sweep

    earlier = find_run(spec.sweep.start_from, storage_root(storage, spec.storage))
    if not is_sweep(earlier):
        raise UsageError(f"sweep.start_from: {earlier.id} is no sweep")
    return spec.model_copy(update={"sweep": spec.sweep.model_copy(update={"start_from": earlier.uri})})


def _has_own_components(spec: JobSpec) -> bool:
    """Whether the job names a person's own `package.module:Name`, which is then looked for here."""
    return bool(own_modules(spec))


def _json(spec: JobSpec) -> str:
    return spec.model_dump_json(by_alias=True)


def _fresh_id(job_name: str, name: str | None) -> str:
    if name is None:
        return new_run_id(job_name)
    if not _NAME.fullmatch(name) or name == "last":
        raise UsageError(f"--name {name!r}: use letters, digits, '.', '_' and '-', and not `last`")
    return name


def _with_codec_checkpoint(spec: JobSpec, storage: str | None, warn: Callable[[str], None]) -> JobSpec:
    """The spec with the newest checkpoint of the run that `data.encode` names: the driver may know no run of this
    machine, and `last` is another one later. Raises ValueError where there is none, or it is of no autoencoder."""
    encode = getattr(spec.data, "encode", None)
    if not isinstance(encode, str):
        return spec
    from gan_dist.generation.codec_source import check_folder, check_generator, is_of_run

    if not is_of_run(encode):
        check_folder(encode)
        return spec
    try:
        found = _checkpoint_of(encode, storage, spec, warn)
    except NoSuchRun as error:
        raise UsageError(f"data.encode: {error}") from error
    check_generator(encode, found.meta["job"]["generator"]["use"])
    data = spec.data.model_copy(update={"encode": found.folder.uri})
    return spec.model_copy(update={"data": data})


def _start(
    ref: str, only: tuple[str, ...], spec: JobSpec, storage: str | None, warn: Callable[[str], None]
) -> InitialWeights:
    """Weights of a checkpoint, or of a run's newest valid one."""
    from gan_dist.spec.problems import suggestion

    if spec.sweep is not None:
        raise UsageError("--from: the trials of a sweep begin from nothing; give a job without sweep")
    source, names = _checkpoint_of(ref, storage, spec, warn), list(spec.network_specs)
    for name in only:
        if name not in names:
            raise UsageError(f"--only: {name!r} is no network of this job{suggestion(name, names)}")
        if not source.has(f"{name}.safetensors"):
            raise UsageError(f"--only: {source.folder.uri} has no {name}")
    return InitialWeights(source.folder.uri, only)


def _checkpoint_of(ref: str, storage: str | None, spec: JobSpec, warn: Callable[[str], None]) -> Checkpoint:
    """The checkpoint that a person means, or one made of a published file or an exported generator, beside the runs,
    where workers find it."""
    from gan_dist.generation.exported_model import exported_checkpoint, is_exported
    from gan_dist.generation.hub import fetch_model, is_on_hub
    from gan_dist.generation.published_models import is_published, published_checkpoint
    from gan_dist.runs.checkpoint import Checkpoint, newest

    imported = storage_root(storage, spec.storage).child(IMPORTED)
    if is_published(ref):
        return published_checkpoint(ref, imported, warn)
    folder = str(fetch_model(ref)) if is_on_hub(ref) else ref
    if is_exported(folder):
        return exported_checkpoint(folder, imported)
    if (at := Folder.at(ref)).exists("meta.json"):
        Checkpoint(at).verify()
        return Checkpoint(at)
    run = find_run(ref, storage_root(storage, None))
    if (found := newest(run.checkpoints(), warn)) is None:
        raise NoSuchRun(f"run {run.id} has no checkpoint to start from ({run.uri}/checkpoints)")
    return found
