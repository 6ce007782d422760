"""What a command has a cluster do: a job that is followed to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gan_dist.cli.output import console

if TYPE_CHECKING:
    from gan_dist.packaging import Environment
    from gan_dist.submit import Asked


def carry_out(order: Asked, module: str, environment: Environment, address: str | None, aside: bool, what: str) -> None:
    """Send an order to the cluster as a job of that module, and follow it.

    Args:
        aside: whether what is told goes to standard error.
        what: the order in words, for an error.

    Raises:
        ValueError: the job failed.
    """
    from gan_dist.attend import attend
    from gan_dist.cli.submit_command import cluster_of
    from gan_dist.follow import Follower
    from gan_dist.jobs_api import Jobs
    from gan_dist.submit import submit

    cluster = cluster_of(address, aside)
    job = submit(order, cluster, environment, module)
    outcome = attend(Jobs(cluster), job, order.run_id, Follower(console(aside)), None)
    if outcome.exit_code != 0:
        raise ValueError(f"the cluster did not {what}: {outcome.message}")
