"""gan-dist from Python: what the commands do, as functions, and a run as an object."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_dist.errors import GanDistError, RunFailed, UsageError
from gan_dist.events import Emit
from gan_dist.registry.live import live_names, replace_objects_by_names
from gan_dist.runs.index import find_run, remember_run, storage_root
from gan_dist.runs.run_folder import RunFolder
from gan_dist.spec.job import JobSpec

if TYPE_CHECKING:
    from torch import Tensor

    from gan_dist.evaluation.evaluate import EvaluationResult
    from gan_dist.evaluation.reports.compare import Comparison
    from gan_dist.generation.model import Model
    from gan_dist.launch.plan import LaunchPlan

Job = str | Path | Mapping[str, Any] | JobSpec

LOOK_S = 1.0


class Run:
    """A run: its folder, where it stands, and what can be made of it.

    Example:
        >>> run = gan_dist.train("jobs/mlp.yaml", until="20k")
        >>> run.status, run.seen
        ('succeeded', 20032)
        >>> pixels = run.sample(64, seed=1)
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    @property
    def id(self) -> str:
        """The run's unique id, such as `dcgan-digits-20261123-153012-k3xq`."""
        return self.folder.id

    @property
    def path(self) -> str:
        """The run's folder, or its URI."""
        return self.folder.uri

    def __fspath__(self) -> str:
        return self.path

    @property
    def status(self) -> str:
        """Where it stands.

        `pending`, `waiting`, `running`, `succeeded`, `stopped`, `failed`, `lost` where its driver and cluster are gone,
        or `unknown` where they do not answer.
        """
        from gan_dist.launch.run_status import run_status

        return str(run_status(self.folder)["status"])

    @property
    def seen(self) -> int:
        """Samples seen so far."""
        return int(self.folder.status()["seen"])

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of each metric, by its exact name."""
        from gan_dist.runs.run_folder import summarize_metrics

        return {name: summary.last[0] for name, summary in summarize_metrics(self.history()).items()}

    def history(self) -> list[dict[str, Any]]:
        """Every report in order: `seen` and each logged number by its tag, ready for `pandas.DataFrame`."""
        return self.folder.reports()

    @property
    def grids(self) -> list[str]:
        """Paths of the sheets of generated samples, oldest first."""
        return [f"{self.path}/grids/{name}" for name in self.folder.grids()]

    @property
    def checkpoints(self) -> list[str]:
        """Paths of the stored checkpoints, oldest first; `load` takes each of them."""
        from gan_dist.runs.checkpoint import stored

        return [checkpoint.folder.uri for checkpoint in stored(self.folder.checkpoints())]

    def load(
        self, *, device: str = "cpu", weights: str = "ema", backward: bool = False, trust_code: bool = False
    ) -> Model:
        """Load the generator of the newest whole checkpoint; see `gan_dist.load`."""
        from gan_dist.generation.model import load

        return load(self.folder, device=device, weights=weights, backward=backward, trust_code=trust_code)

    def sample(self, n: int, **options: Any) -> Tensor | list[str]:
        """Draw samples from the newest checkpoint; the options are those of `Model.sample`."""
        return self.load().sample(n, **options)

    def evaluate(self, against: str | None = None, **options: Any) -> EvaluationResult:
        """Measure the newest checkpoint; see `gan_dist.evaluate`."""
        return evaluate(self, against, **options)

    def wait(self, *, timeout: float | None = None) -> Run:
        """Wait until the run has ended; returns it.

        Args:
            timeout: in seconds; None waits without an end.

        Raises:
            RunFailed: it failed, or is lost; the text says why.
            TimeoutError: it goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        from gan_dist.launch.run_status import GOES_ON

        while (status := self.status) in GOES_ON:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"run {self.id} is still {status} after {timeout:g} s")
            time.sleep(LOOK_S)
        if status in ("failed", "lost"):
            raise RunFailed(f"run {self.id} {status}: {self.folder.status().get('message') or 'no word of why'}")
        return self

    def follow(self) -> Run:
        """Show the run's progress until it has ended, as `gan-dist logs -f` does; returns it. Raises as `wait`."""
        from rich.console import Console

        from gan_dist.launch.follow import LiveDisplay, follow_job
        from gan_dist.launch.run_status import job_of

        job = job_of(self.folder)
        follow_job(job.jobs, job.id, run_id=self.id, follower=LiveDisplay(Console()), ask=None, run=self.folder)
        return self.wait()

    def stop(self) -> Run:
        """Stop the run after a checkpoint of the iteration it is in, and wait for that; returns it.

        Raises:
            ClusterError: its cluster does not answer, or it has not ended in time.
            NoSuchJob: its cluster does not know it.
        """
        from gan_dist.launch.run_status import GOES_ON, job_of, stop

        if self.status in GOES_ON:
            stop(job_of(self.folder))
        return self

    def __repr__(self) -> str:
        return f"Run({self.id}: {self.status}, {self.seen:,} samples seen)"

    def _repr_html_(self) -> str:
        """Show the run in a notebook: where it stands, its metrics, its curves and its last grid."""
        from gan_dist.evaluation.reports.results import run_html

        return run_html(self.folder, self.status)


def train(
    job: Job | None = None,
    *,
    resume: Run | str | None = None,
    storage: str | None = None,
    on_event: Emit | None = None,
    new_code: bool = False,
    trust_code: bool = False,
    **overrides: Any,
) -> Run:
    """Train a job in this process, without Ray, to its end.

    Args:
        job: a job file, its URI, the job as a dict, or a validated spec.
        resume: a run to go on with, in place of a job.
        storage: where runs are stored; over `GAN_DIST_STORAGE` and the job's own.
        on_event: called with each event as it happens (see `gan_dist.events`).
        new_code: of a run that goes on, whether its own modules are taken as they are now, and not as they were kept.
        trust_code: of one that somebody else submitted, whether the code that it names may be imported and run.
        overrides: keys of the job, whose values are laid over the job's: `batch=64`, `optimizer={"lr": 1e-4}`,
            `**{"optimizer.lr": 1e-4}`. In place of a name a class will do (`generator=MyNet`): stored as `module:Name`.
            An instance, a lambda or a class of `__main__` works too, but such a run goes on only by
            `train(resume=run, generator=...)`.

    Returns:
        The run; `status` tells a stopped one (Ctrl-C, after a checkpoint) from one that has finished.

    Raises:
        JobError: the job is wrong; `problems` holds everything that was found.
        UsageError: what keeps it from starting, such as data that are not there.
        RunFailed: training ended early; the text says why.

    Example:
        >>> run = gan_dist.train("jobs/mlp.yaml", until="20k", optimizer={"lr": 1e-4})
    """
    from gan_dist.execution.attempt import Attempt
    from gan_dist.execution.local import run_attempt_here
    from gan_dist.sweeps.local import sweep_here

    plan = _plan(job, resume, storage=storage, new_code=new_code, trust_code=trust_code, overrides=overrides)
    remember_run(plan.run, attempt=plan.request.attempt, mode=plan.request.mode, code=plan.request.code or None)
    attempt = Attempt(plan.request, on_event or (lambda event: None), local=True)
    code = run_attempt_here(attempt, sweep_here if plan.spec.sweep is not None else None)
    run = Run(plan.run)
    if code in (0, 3):
        return run
    error = attempt.error
    if isinstance(error, GanDistError):
        raise error
    message = run.folder.status().get("message") or str(error)
    raise RunFailed(f"run {run.id} failed: {message}") from error


def submit(
    job: Job | None = None,
    *,
    resume: Run | str | None = None,
    address: str | None = None,
    storage: str | None = None,
    new_code: bool = False,
    trust_code: bool = False,
    **overrides: Any,
) -> Run:
    """Send a job to a Ray cluster, and return at once.

    Args:
        job, resume, storage, new_code, trust_code, overrides: as `train` has them, but for objects that only this
            process has.
        address: of the cluster's dashboard, such as `http://head:8265`; without one, that of the environment, or a
            local Ray, which is started where none runs.

    Returns:
        The run, to be followed (`follow`), waited for (`wait`) or stopped (`stop`).

    Raises:
        JobError: the job is wrong.
        UsageError: an override is an object that cannot be sent.
        ClusterError: no cluster is reached.

    Example:
        >>> run = gan_dist.submit("jobs/dcgan.yaml", until="20k").wait()
    """
    from gan_dist.launch.cluster.address import resolve_address, start_local
    from gan_dist.launch.cluster.head_storage import address_of
    from gan_dist.launch.submit import submit_plan

    plan = _plan(
        job,
        resume,
        address=address,
        storage=storage,
        new_code=new_code,
        trust_code=trust_code,
        overrides=overrides,
    )
    if names := live_names(plan.spec.model_dump(mode="json", by_alias=True)):
        raise UsageError(
            f"{', '.join(names)}: an instance, a lambda or a class of __main__ cannot be sent to a cluster; put the "
            "class into a module of environment.code and name it, or train in this process: gan_dist.train(...)"
        )
    submit_plan(plan, resolve_address(address or address_of(plan.run.folder)) or start_local())
    return Run(plan.run)


def list_runs(*, storage: str | None = None) -> list[Run]:
    """List the runs that this machine knows, or with `storage` those stored there, newest first."""
    from gan_dist.launch.run_status import all_runs
    from gan_dist.runs.index import known_run, stored_runs

    found = all_runs() if storage is None else stored_runs(storage_root(storage, None))

    def created(folder: RunFolder) -> tuple[float, str]:
        made = known_run(folder).get("created") or (folder.folder.read_json("request.json") or {}).get("created", 0.0)
        return made, folder.id

    return [Run(folder) for folder in sorted(found, key=created, reverse=True)]


def evaluate(
    run: Run | str,
    against: str | None = None,
    *,
    metrics: Sequence[str] = (),
    samples: int | None = None,
    features: str | None = None,
    **options: Any,
) -> EvaluationResult:
    """Measure a run, checkpoint, exported generator, folder of images or file of sentences; nothing is trained.

    Args:
        run: what is measured.
        against: a folder of images or a file of sentences in place of the run's own data.
        metrics: their names; none for the job's own.
        samples: how many are generated, in place of what each metric says.
        features: what images are compared by, in place of what each metric says.
        options: further fields of `gan_dist.evaluation.evaluate.EvaluationRequest`.

    Returns:
        `values` holds every number by its exact name.

    Raises:
        UsageError: there is no such metric, or what is asked makes no sense of these samples.

    Example:
        >>> gan_dist.evaluate("last", metrics=["kid"], samples=2000).values
    """
    from gan_dist.evaluation.evaluate import EvaluationRequest
    from gan_dist.evaluation.evaluate import evaluate as measure

    names = [metrics] if isinstance(metrics, str) else metrics
    return measure(EvaluationRequest(_place(run), against, names, samples, features, **options))


def compare(
    runs: Iterable[Run | str],
    *,
    scalar: str | None = None,
    seed: int = 0,
    storage: str | None = None,
    trust_code: bool = False,
) -> Comparison:
    """Put runs beside each other: what differs in their jobs, their results, a curve, and samples of one noise.

    Args:
        scalar: tag of the curve's number; by default the first metric or loss that all have logged.
        seed: of the noise.
        storage: where ids are looked for besides the local index.
        trust_code: whether code that models of somebody else's name may be imported and run.

    Raises:
        UsageError: fewer than two runs, or no run logged the scalar.
    """
    from gan_dist.evaluation.reports.compare import compare as beside

    root = storage_root(storage, None)
    folders = [run.folder if isinstance(run, Run) else find_run(run, root) for run in runs]
    return beside(folders, scalar, seed, trust_code=trust_code)


def export(
    run: Run | str,
    out: str | Path,
    *,
    format: str = "safetensors",
    weights: str = "ema",
    license: str = "unknown",
    push: str | None = None,
    force: bool = False,
    trust_code: bool = False,
) -> list[Path]:
    """Write a run's generator, with a model card, into a folder that can be given away; the files' paths.

    Args:
        format: safetensors (for `gan_dist.load`), torch (a `torch.export` program) or onnx.
        weights: ema, where there is one, or raw.
        license: for the model card, such as apache-2.0.
        push: a hub's repository that gets the files too, as `hf://USER/MODEL`; a new one is private.
        force: whether a folder that is not empty may be written into.
        trust_code: whether a generator class of somebody else's may be imported and run.

    Raises:
        UsageError: the folder is not empty, there is no such format, or the generator cannot be put in it.
    """
    from gan_dist.generation.export import export as write
    from gan_dist.generation.hub import parse_hub, push_model

    if push is not None:
        parse_hub(push)
    written = write(
        _place(run), Path(out), form=format, weights=weights, license_name=license, force=force, trust_code=trust_code
    )
    if push is not None:
        push_model(push, written, f"gan-dist export {_place(run)}")
    return written


def _place(run: Run | str) -> str:
    return run.path if isinstance(run, Run) else str(run)


def _plan(
    job: Job | None,
    resume: Run | str | None,
    *,
    address: str | None = None,
    storage: str | None,
    new_code: bool,
    trust_code: bool,
    overrides: Mapping[str, Any],
) -> LaunchPlan:
    """What a call asks for, as the command line's plan of a run."""
    from gan_dist.launch.plan import plan_new, plan_resume

    if (job is None) == (resume is None):
        raise UsageError("give a job, or resume=RUN to go on with a run")
    changes = replace_objects_by_names(dict(overrides))
    if resume is not None:
        # An object of this process stands in the stored job by its key: giving it again changes nothing.
        changes = {key: value for key, value in changes.items() if not live_names(value)}
        return plan_resume(
            _place(resume),
            changes,
            address=address,
            storage=storage,
            new_code=new_code,
            trust_code=trust_code,
            warn=lambda text: warnings.warn(text, stacklevel=4),
        )
    assert job is not None
    tree = job.model_dump(mode="json", by_alias=True) if isinstance(job, JobSpec) else job
    named = replace_objects_by_names(tree) if isinstance(tree, Mapping) else tree
    return plan_new(named, changes, storage=storage, address=address)
