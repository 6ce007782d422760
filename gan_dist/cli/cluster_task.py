"""What a command has a cluster do: a job that is followed to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gan_dist.cli.output import console
from gan_dist.errors import UsageError

if TYPE_CHECKING:
    from gan_dist.spec.sections import EnvironmentSpec


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
    known = environment
    sent = Environment() if known is None else Environment(known.code, known.pip, known.image, known.env)
    job = submit(request, cluster, sent, tasks.__name__)
    # Nobody waits for what is not asked for any more: Ctrl-C ends the job.
    outcome = follow_job(JobsClient(cluster), job, request.run_id, LiveDisplay(console(to_stderr)), lambda: True)
    if outcome.exit_code != 0:
        raise UsageError(f"the cluster did not {task}: {outcome.message}")
