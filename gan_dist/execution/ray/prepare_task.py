"""`prepare` by Ray Data on a cluster: the driver of such a job, `python -m gan_dist.execution.ray.prepare_task`, started by
`gan-dist prepare --workers`."""

from __future__ import annotations

import sys
from typing import Any

from gan_dist.data.executors import write_shards_on_ray
from gan_dist.data.prepare import prepare_into
from gan_dist.execution.events import preparation_progress, print_event
from gan_dist.execution.ray.task import run_task
from gan_dist.spec.check import validate_data


def prepare(data: dict[str, Any], target: str, workers: int) -> None:
    """Write the shards of a job's `data` into a folder, so many at a time. Raises what `prepare_into` raises."""
    prepare_into(validate_data(data), target, write_shards_on_ray(workers), preparation_progress(print_event))


if __name__ == "__main__":
    sys.exit(run_task(prepare))
