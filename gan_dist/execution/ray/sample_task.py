"""Stretches of samples made by Ray Data over a cluster's workers, each of which loads the generator once.

It is also the driver of such a job, `python -m gan_dist.execution.ray.sample_task`, started by `gan-dist sample --workers`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from gan_dist.execution.events import print_event
from gan_dist.execution.ray.task import run_task
from gan_dist.generation.sampling import Executor, SampleRange, SamplingPlan, write_samples


class SampleMaker:
    """A worker with its generator."""

    def __init__(self, sampling: str) -> None:
        self.sampling = SamplingPlan.from_json(sampling)
        self.model = self.sampling.model()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Numbers and contents of stretches. In Arrow throughout: numpy would cut the zeros at the end of bytes."""
        asked = [SampleRange(*json.loads(text)) for text in batch["stretch"].to_pylist()]
        contents = pa.array([self.sampling.content(self.model, one) for one in asked], pa.large_binary())
        return pa.table({"number": [one.number for one in asked], "content": contents})


def sample_on_ray(workers: int) -> Executor:
    """Makes stretches by so many workers at a time, with a CPU each, and a GPU where the sampling is for one."""

    def execute(sampling: SamplingPlan, stretches: Sequence[SampleRange]) -> Iterator[tuple[int, bytes]]:
        import ray

        cluster: Any = ray
        if sampling.device == "auto":
            sampling = replace(sampling, device="cuda" if cluster.cluster_resources().get("GPU") else "cpu")
        ray.data.DataContext.get_current().enable_progress_bars = False
        items = [{"stretch": json.dumps(one)} for one in stretches]
        made = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            SampleMaker,
            fn_constructor_args=(sampling.to_json(),),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=1,
            num_gpus=1 if sampling.device == "cuda" else 0,
            concurrency=min(workers, len(items)),
        )
        for row in made.iter_rows():
            yield int(row["number"]), bytes(row["content"])

    return execute


def sample(sampling: str, out: str, workers: int) -> None:
    """Make a sampling, as JSON, by so many workers, into a path. Raises what `deliver` raises."""
    asked = SamplingPlan.from_json(sampling)
    # What is drawn is known on any machine; that of the driver may have no accelerator.
    write_samples(asked, replace(asked, device="cpu").model(), Path(out), sample_on_ray(workers), _told)


def _told(done: int, total: int) -> None:
    print_event({"event": "stage", "text": f"sampling: {done} of {total} parts"})


if __name__ == "__main__":
    sys.exit(run_task(sample))
