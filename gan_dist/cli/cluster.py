"""`gan-dist up`, `down`, `dashboard`, `tensorboard`; and tasks that other commands have a cluster do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gan_dist.cli.output import console
from gan_dist.errors import UsageError

if TYPE_CHECKING:
    from gan_dist.spec.sections import EnvironmentSpec

from dataclasses import asdict
from typing import Annotated

import typer

from gan_dist.cli import options
from gan_dist.cli.output import emit, say


def up(
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs it may use. Default: all, at least 2.")] = None,
    as_json: options.Json = False,
) -> None:
    """Start the local Ray, on this machine alone; it ends itself after ten idle minutes."""
    from gan_dist.launch.cluster.address import find_local, start_local

    before = find_local()
    if before is None:
        say("starting a local Ray ...", aside=True)
    cluster = before or start_local(cpus)
    if as_json:
        emit(asdict(cluster) | {"started": before is None})
        return
    say(f"{'the local Ray runs' if before is None else 'the local Ray runs already'}: {cluster.address}")
    say("  look at it  gan-dist dashboard")
    say("  end it      gan-dist down")


def down(as_json: options.Json = False) -> None:
    """End our local Ray and the jobs in it; any other Ray on this machine is left alone."""
    from gan_dist.launch.cluster.address import stop_local

    ended = stop_local()
    if as_json:
        emit({"ended": ended})
    else:
        say("the local Ray has ended" if ended else "no local Ray of ours runs")


def dashboard(
    address: options.Address = None,
    as_json: options.Json = False,
    browse: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Where Ray's own pages are: jobs, workers, logs."""
    from gan_dist.launch.cluster.address import ClusterError, resolve_address
    from gan_dist.launch.cluster.jobs_api import JobsClient

    cluster = resolve_address(address)
    if cluster is None:
        raise ClusterError("no cluster is named and no local one runs: gan-dist up, or --address URL")
    version = JobsClient(cluster).version()
    if browse:
        import webbrowser

        webbrowser.open(cluster.address)
    if as_json:
        emit({"url": cluster.address, "token_file": cluster.token_path, "ray": version})
        return
    say(cluster.address)
    if cluster.token_path:
        say(f"  it asks once for the token in {cluster.token_path}")


def tensorboard(
    run: Annotated[
        str | None,
        typer.Argument(
            help="One run; without it, every run in the storage.",
            metavar="RUN",
            autocompletion=options.complete_run,
        ),
    ] = None,
    storage: options.Storage = None,
    port: Annotated[int | None, typer.Option(help="Its port. Default: a free one from 6006 on.")] = None,
) -> None:
    """Show curves and sample grids in TensorBoard; Ctrl-C ends it."""
    from gan_dist.evaluation.reports.tensorboard import run_tensorboard, run_tensorboard_of_all
    from gan_dist.runs.index import find_run, storage_root
    from gan_dist.runs.storage import Folder

    root = storage_root(storage, None)
    if run is None:
        say(f"TensorBoard of {root.uri}; Ctrl-C ends it", aside=True)
        run_tensorboard_of_all(root, port)
    found = find_run(run, root)
    folder = found.folder.child("tensorboard")

    def trials() -> dict[str, Folder]:
        from gan_dist.sweeps.results import trials_of

        return {one.id.removeprefix(f"{found.id}-"): one.folder.child("tensorboard") for one in trials_of(found)}

    say(f"TensorBoard of {folder.uri}; Ctrl-C ends it", aside=True)
    run_tensorboard(folder, port, trials)


def run_on_cluster(
    task: str,
    arguments: Mapping[str, Any],
    *,
    environment: EnvironmentSpec | None,
    address: str | None,
    to_stderr: bool,
) -> None:
    """Have the cluster do a task, and follow it to its end.

    Args:
        task: a name in `gan_dist.execution.ray.tasks.TASKS`.
        arguments: its keywords, as plain values.
        environment: of the run that this is about, if there is one.
        to_stderr: whether progress goes to standard error.

    Raises:
        ValueError: the job failed.
    """
    from gan_dist.cli.submit import cluster_of
    from gan_dist.execution.ray import tasks
    from gan_dist.launch.cluster.jobs_api import JobsClient
    from gan_dist.launch.follow import LiveDisplay, follow_job
    from gan_dist.launch.packaging import Environment
    from gan_dist.launch.submit import submit
    from gan_dist.runs.index import new_run_id

    cluster = cluster_of(address, to_stderr)
    request = tasks.TaskRequest(new_run_id(task), task, arguments)
    sent = Environment() if environment is None else Environment.asked(environment)
    job = submit(request, cluster, sent, tasks.__name__)
    # Nobody waits for what is not asked for any more: Ctrl-C ends the job.
    outcome = follow_job(
        JobsClient(cluster), job, run_id=request.name, follower=LiveDisplay(console(to_stderr)), ask=lambda: True
    )
    if outcome.exit_code != 0:
        raise UsageError(f"the cluster did not {task}: {outcome.message}")
