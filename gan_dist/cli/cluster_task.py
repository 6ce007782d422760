"""What a command has a cluster do: a job that is followed to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gan_dist.cli.output import console
from gan_dist.errors import UsageError

if TYPE_CHECKING:
    from gan_dist.spec.sections import EnvironmentSpec


def run_on_cluster(
    verb: str,
    module: str,
    what: Mapping[str, Any],
    known: EnvironmentSpec | None,
    address: str | None,
    aside: bool,
) -> None:
    """Have the cluster do something by a driver, and follow it.

    Args:
        verb: what is done, for the job's name and an error.
        module: of the driver.
        what: its keywords, as plain values.
        known: the environment of the run that this is about, if there is one.
        aside: whether what is told goes to standard error.

    Raises:
        ValueError: the job failed.
    """
    from gan_dist.cli.submit import cluster_of
    from gan_dist.execution.ray.task import TaskRequest
    from gan_dist.launch.cluster.jobs_api import JobsClient
    from gan_dist.launch.follow import LiveDisplay, follow_job
    from gan_dist.launch.packaging import Environment
    from gan_dist.launch.submit import submit
    from gan_dist.runs.index import new_run_id

    cluster, order = cluster_of(address, aside), TaskRequest(new_run_id(verb), what)
    environment = Environment() if known is None else Environment(known.code, known.pip, known.image, known.env)
    job = submit(order, cluster, environment, module)
    # Nobody waits for what is not asked for any more: Ctrl-C ends the job.
    outcome = follow_job(JobsClient(cluster), job, order.run_id, LiveDisplay(console(aside)), lambda: True)
    if outcome.exit_code != 0:
        raise UsageError(f"the cluster did not {verb}: {outcome.message}")
