"""Stretches of samples made by Ray Data over a cluster's workers, each of which loads the generator once.

It is also the driver of such a job, `python -m gan_dist.sampling_on_ray`, started by `gan-dist sample --workers`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from gan_dist.delivery import deliver
from gan_dist.events import print_event
from gan_dist.request import VARIABLE
from gan_dist.sampling import Executor, Sampling, Stretch


@dataclass(frozen=True)
class Order:
    """What the driver is told: a sampling, where it goes, and by how many workers it is made."""

    run_id: str
    submission_id: str
    sampling: str
    out: str
    workers: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class Maker:
    """A worker with its generator."""

    def __init__(self, sampling: str) -> None:
        self.sampling = Sampling.from_json(sampling)
        self.model = self.sampling.model()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Numbers and contents of stretches. In Arrow throughout: numpy would cut the zeros at the end of bytes."""
        asked = [Stretch(*json.loads(text)) for text in batch["stretch"].to_pylist()]
        contents = pa.array([self.sampling.content(self.model, one) for one in asked], pa.large_binary())
        return pa.table({"number": [one.number for one in asked], "content": contents})


def on_ray(workers: int) -> Executor:
    """Makes stretches by so many workers at a time, with a CPU each, and a GPU where the sampling is for one."""

    def execute(sampling: Sampling, stretches: Sequence[Stretch]) -> Iterator[tuple[int, bytes]]:
        import ray

        cluster: Any = ray
        if sampling.device == "auto":
            sampling = replace(sampling, device="cuda" if cluster.cluster_resources().get("GPU") else "cpu")
        ray.data.DataContext.get_current().enable_progress_bars = False
        items = [{"stretch": json.dumps(one)} for one in stretches]
        made = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            Maker,
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


def main() -> int:
    """Make the order in the environment; the exit code."""
    import ray

    order = Order(**json.loads(os.environ[VARIABLE]))
    logging.getLogger("ray").setLevel(logging.WARNING)
    ray.init(log_to_driver=True, logging_level=logging.WARNING)
    sampling = Sampling.from_json(order.sampling)
    end: dict[str, Any] = {"event": "end", "status": "succeeded", "exit_code": 0, "message": "", "summary": []}
    try:
        # What is drawn is known on any machine; that of the driver may have no accelerator.
        deliver(sampling, replace(sampling, device="cpu").model(), Path(order.out), on_ray(order.workers), _told)
    except ValueError as error:
        end |= {"status": "failed", "exit_code": 2, "message": str(error)}
    except (OSError, ray.exceptions.RayError) as error:
        end |= {"status": "failed", "exit_code": 1, "message": str(error)}
    print_event(end)
    return int(end["exit_code"])


def _told(done: int, total: int) -> None:
    print_event({"event": "stage", "text": f"sampling: {done} of {total} parts"})


if __name__ == "__main__":
    sys.exit(main())
