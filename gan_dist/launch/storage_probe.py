"""Whether a cluster sees the folder that a run is to be stored in, asked before anything is sent there."""

from __future__ import annotations

import contextlib
import secrets
import shlex

from gan_dist.errors import StorageError
from gan_dist.launch.cluster.head_job import run_on_head
from gan_dist.launch.cluster.jobs_api import JobsClient
from gan_dist.runs.storage import Folder


def check_storage_is_seen(storage: Folder, jobs: JobsClient) -> None:
    """Write a small file into a local folder, and have a job look for it on the cluster's head.

    Raises:
        StorageError: the head does not see it, as where the cluster is another machine that a tunnel leads to.
    """
    assert storage.local is not None
    name = f".gan-dist-probe-{secrets.token_hex(8)}"
    fresh = not storage.local.exists()
    storage.write(name, b"")
    path = storage.local.absolute() / name
    try:
        looked = run_on_head(jobs, f"test -e {shlex.quote(str(path))}")
    finally:
        storage.delete(name)
        if fresh:
            with contextlib.suppress(OSError):  # another command may store there by now
                storage.local.rmdir()
    # Where a busy cluster did not look, the run's own start says more.
    if looked is not None and not looked.succeeded:
        raise StorageError(
            f"storage: {storage.uri!r} is a folder of this machine, which the cluster at {jobs.cluster.address} does "
            "not see; use a bucket (s3://bucket/runs), the disk of the cluster's head (head:///data/runs), or a folder "
            "that both have mounted at the same path (file:///shared/runs)"
        )
