"""A small job on a cluster's head, of which nothing is left. A job runs there unless it asks for resources."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from gan_dist.launch.cluster.jobs_api import ENDED, JobsClient

PATIENCE_S = 120.0
LOOK_EVERY_S = 0.3


@dataclass(frozen=True)
class HeadJob:
    """How a small job ended: whether its command did, with exit code 0, and what it printed."""

    succeeded: bool
    printed: str


def run_on_head(jobs: JobsClient, command: str) -> HeadJob | None:
    """Run a shell command on the head, and wait for it; None where a busy cluster has not run it in two minutes.

    Raises:
        ClusterError: the cluster does not answer, or refuses.
    """
    job = jobs.submit({"entrypoint": command, "submission_id": f"gan-dist-head-{secrets.token_hex(8)}"})
    end = time.monotonic() + PATIENCE_S
    while (status := jobs.info(job)["status"]) not in ENDED:
        if time.monotonic() > end:
            return None
        time.sleep(LOOK_EVERY_S)
    found = HeadJob(status == "SUCCEEDED", jobs.logs(job))
    jobs.delete(job)
    return found
