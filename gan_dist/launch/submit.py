"""A request becomes a Ray job: what it runs, in which environment, and how it is to be stopped."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gan_dist.distributed.machine import KEEPS_FREED_MEMORY
from gan_dist.errors import ClusterError, PreflightError, RequestRefused, UsageError
from gan_dist.execution.node_secrets import read_secrets, sent_with_job
from gan_dist.execution.ray.private import NO_WATCHER, NODE_PYTHON
from gan_dist.launch.cluster.head_storage import address_of, as_sent
from gan_dist.launch.cluster.jobs_api import DRIVER, ENDED, FORCE_S, GRACE_VARIABLE, JobsClient
from gan_dist.launch.cluster.local import Cluster
from gan_dist.launch.packaging import PACKAGE, Environment, copied_to_cluster, pack
from gan_dist.launch.storage_probe import check_storage_is_seen
from gan_dist.runs.deletion import delete_run
from gan_dist.runs.index import forget_run, remember_run
from gan_dist.runs.request import VARIABLE, RunRequest
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.sections import STOP_GRACE_S

if TYPE_CHECKING:
    from gan_dist.launch.plan import LaunchPlan

FIXED = {
    # The driver saves a checkpoint when it is interrupted. Ray would send SIGTERM.
    "RAY_JOB_STOP_SIGNAL": "SIGINT",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # between two looks at whether the workers have ended; Ray's is 2
    **NO_WATCHER,
    "PYTHONUNBUFFERED": "1",
    "OMP_NUM_THREADS": "1",
    **KEEPS_FREED_MEMORY,
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    # Python's own rule, said aloud: where nothing is said, Ray shows warnings that are for those who develop it.
    "PYTHONWARNINGS": "default::UserWarning",
}
TRAIN_PAGE = "RAY_TRAIN_ENABLE_STATE_TRACKING"


class SubmittedRequest(Protocol):
    """What is sent to a driver in its environment variable: a `RunRequest` or a `TaskRequest`."""

    @property
    def metadata(self) -> dict[str, str]: ...
    @property
    def submission_id(self) -> str: ...
    def to_json(self) -> str: ...


def entrypoint(cluster: Cluster, environment: Environment, module: str = DRIVER) -> str:
    """The job's command. Our local cluster runs this Python, another one that of its Ray, unless Ray builds an
    environment for the job."""
    if environment.pip or environment.image:
        return f"python -m {module}"
    return f"{shlex.quote(sys.executable) if cluster.local else NODE_PYTHON} -m {module}"


def runtime_env(
    request: SubmittedRequest,
    cluster: Cluster,
    environment: Environment,
    environ: Mapping[str, str] = os.environ,
    stop_grace: int = STOP_GRACE_S,
) -> dict[str, Any]:
    """Ray's runtime environment for a job, without the archive that `submit` adds for other clusters."""
    variables = FIXED | copied_to_cluster(environment.env, environ) | {VARIABLE: request.to_json()}
    # Ray's own 3 s are no time to save in. The driver ends itself before these are over, and says so.
    variables[GRACE_VARIABLE] = str(stop_grace + FORCE_S)
    # What fills the dashboard's Train page is an actor that costs a local cluster as much as a worker's start.
    variables[TRAIN_PAGE] = environ.get(TRAIN_PAGE, "0" if cluster.local else "1")
    if cluster.gcs is not None:
        # Ray's helper processes would not know which of several Rays on the machine is theirs.
        variables["RAY_ADDRESS"] = cluster.gcs
    if cluster.local and (path := _python_path(environment)):
        variables["PYTHONPATH"] = path
    result = sent_with_job(environment.secrets)
    result["env_vars"] = variables | result.get("env_vars", {})
    if environment.pip:
        result["pip"] = list(environment.pip)
    if environment.image:
        result["image_uri"] = environment.image
    return result


def submit(
    request: SubmittedRequest,
    cluster: Cluster,
    environment: Environment,
    module: str = DRIVER,
    stop_grace: int = STOP_GRACE_S,
    say: Callable[[str], None] = lambda text: None,
) -> str:
    """Send the request to the cluster; returns the submission id.

    Args:
        stop_grace: seconds that the job has to save, once it is asked to end.
        say: hears how much is sent.

    Raises:
        ClusterError: the cluster is out of reach or refused the job.
        PackagingError: the code is too large, or a variable is not set.
    """
    if cluster.local and not _same_python(cluster.python or "", sys.executable):
        raise ClusterError(
            f"the local cluster runs {cluster.python}, this is {sys.executable}; "
            "end it with `gan-dist down` (its jobs too) and submit again"
        )
    body: dict[str, Any] = {
        "entrypoint": entrypoint(cluster, environment, module),
        "submission_id": request.submission_id,
        "runtime_env": runtime_env(request, cluster, environment, stop_grace=stop_grace),
        "metadata": request.metadata,
    }
    jobs = JobsClient(cluster)
    jobs.version()
    if cluster.local:
        return jobs.submit(body)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "code.zip"
        size = pack(environment, archive)
        say(f"sending {size / 2**20:.1f} MiB: gan_dist and {environment.code or 'no code of yours'}")
        body["runtime_env"]["working_dir"] = jobs.upload(archive.read_bytes())
    return jobs.submit(body)


def submit_plan(plan: LaunchPlan, cluster: Cluster, say: Callable[[str], None] = lambda text: None) -> str:
    """Send a planned run to a cluster and remember where it runs; returns the submission id. `say` hears how much is
    sent.

    Raises:
        UsageError: another command has just sent the same run.
        PreflightError: the cluster is this machine, and it lacks a file of `environment.secrets`.
        StorageError: the cluster does not see the folder that it is to be stored in.
        ClusterError, PackagingError: as `submit`; of a new run nothing is left then.
    """
    run, request = plan.run, plan.request
    fresh = request.attempt == 1
    if cluster.local and (problems := read_secrets(plan.environment.secrets, environ={})):
        raise PreflightError("\n".join(problems))  # this machine is the node
    storage = Folder(run.uri.rpartition("/")[0])
    if not cluster.local and run.folder.local is not None:
        check_storage_is_seen(storage, JobsClient(cluster))
    if address_of(run.folder) is not None:
        from gan_dist.launch.cluster.head_disk import make_folder  # with pyarrow

        make_folder(storage, cluster.address)
    # From here on a new run is known, even if its driver never starts.
    made = fresh and cluster.local and _claim(run, request)
    if fresh:
        _remember(plan, cluster)  # the driver that refuses it forgets it
    try:
        submission = _send(plan, cluster, say)
    except _SentByAnother:
        raise
    except UsageError:
        if made:
            delete_run(run)
        if fresh:
            forget_run(run)
        raise
    if not fresh:
        _remember(plan, cluster)
    return submission


class _SentByAnother(UsageError):
    """A run that another command sent in the same moment."""

    def __init__(self, run: RunFolder) -> None:
        super().__init__(f"run {run.id} has just been sent by another command; follow it: gan-dist logs -f {run.id}")


def _send(plan: LaunchPlan, cluster: Cluster, say: Callable[[str], None]) -> str:
    """Send a planned run. Raises _SentByAnother where its job is there already, and what `submit` raises."""
    request, grace = _as_sent(plan.request, cluster), plan.spec.resources.stop_grace
    try:
        return submit(request, cluster, plan.environment, stop_grace=grace, say=say)
    except RequestRefused as error:
        if "already exists" not in str(error):
            raise
    jobs = JobsClient(cluster)
    begun = request.attempt > 1 or plan.run.folder.exists("status.json")
    if begun or jobs.info(request.submission_id)["status"] not in ENDED:
        raise _SentByAnother(plan.run)
    # A run of this name was refused once: nothing of it is left but Ray's record of its job.
    jobs.delete(request.submission_id)
    return submit(request, cluster, plan.environment, stop_grace=grace, say=say)


def _as_sent(request: RunRequest, cluster: Cluster) -> RunRequest:
    """A request whose folders on the cluster's head are called as they are there."""
    start = request.start_from
    start = start and replace(start, folder=as_sent(start.folder, cluster.address))
    return replace(request, uri=as_sent(request.uri, cluster.address), start_from=start)


def _claim(run: RunFolder, request: RunRequest) -> bool:
    """Make a new run's folder. Raises UsageError where another command did so in the same moment."""
    if run.folder.create("request.json", json.dumps(request.record()).encode()):
        return True
    raise _SentByAnother(run)


def _remember(plan: LaunchPlan, cluster: Cluster) -> None:
    remember_run(
        plan.run,
        address=cluster.address,
        local=cluster.local,
        submission=plan.request.submission_id,
        attempt=plan.request.attempt,
        mode=plan.request.mode,
        code=plan.request.code or None,
    )


def _same_python(one: str, other: str) -> bool:
    """Whether two paths start the same interpreter in the same environment (`bin/python` and `bin/python3`)."""
    return os.path.dirname(one) == os.path.dirname(other) and os.path.realpath(one) == os.path.realpath(other)


def _python_path(environment: Environment) -> str:
    """Where a local job finds the user's code, the copy kept with the run first, and this package when it is not
    installed."""
    package_root = str(PACKAGE.parent)
    parts = [
        environment.kept,
        environment.code,
        None if "site-packages" in package_root else package_root,
        os.environ.get("PYTHONPATH"),
    ]
    return os.pathsep.join(dict.fromkeys(part for part in parts if part))
