"""What `evaluate_task`, `sample_task` and `prepare_task` do on a cluster: a task by name, with plain values as its
arguments.

`python -m gan_dist.execution.ray.tasks` is the driver of such a job. Its whole input is the request in its environment.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_dist.errors import UsageError
from gan_dist.execution.log_lines import preparation_progress, print_event
from gan_dist.execution.ray.nodes import check_secrets
from gan_dist.runs.request import VARIABLE
from gan_dist.spec.secrets import secret_files

if TYPE_CHECKING:
    import pyarrow as pa

    from gan_dist.generation.sampling import Executor, SampleRange, SamplingPlan

EVALUATION_RESULT = "answer.json"


@dataclass(frozen=True)
class TaskRequest:
    """A task of a cluster.

    Attributes:
        name: of the job.
        task: a name in `TASKS`.
        arguments: the task's keywords, as plain values.
    """

    name: str
    task: str
    arguments: Mapping[str, Any]

    @property
    def metadata(self) -> dict[str, str]:
        return {"gan_dist_task": self.task}

    @property
    def submission_id(self) -> str:
        return self.name

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def evaluate_task(question: str, out: str, workers: int) -> None:
    """Measure by several workers and write the result, as plain values, into a folder.

    Raises:
        UsageError: the request is wrong, or the cluster has not so many workers.
    """
    import ray

    from gan_dist.execution.ray.mailbox import DriverMailbox
    from gan_dist.execution.ray.nodes import on_this_node
    from gan_dist.execution.ray.resources import resolve_resources, resource_problems
    from gan_dist.execution.ray.worker_group import make_trainer
    from gan_dist.runs.storage import Folder
    from gan_dist.spec.sections import ResourcesSpec

    cluster: Any = ray
    folder, there, nodes = Folder(out), cluster.cluster_resources(), cluster.nodes()
    ask = resolve_resources(ResourcesSpec(workers=workers), workers, there, nodes)
    if problems := resource_problems(ask, folder, there, nodes):
        raise UsageError("\n".join(problems).replace("resources.workers", "--workers"))
    print_event({"event": "stage", "text": f"measuring by {ask.asked}"})
    mailbox: Any = ray.remote(**on_this_node())(DriverMailbox).remote()
    config = {"question": question, "scratch": folder.child("scratch").uri, "mailbox": mailbox}
    try:
        result: Any = make_trainer(
            evaluate_on_worker, config, ask=ask, folder=folder.child("ray"), name="evaluate"
        ).fit()
    except Exception as error:
        fatal = ray.get(mailbox.fatal.remote())
        raise UsageError(fatal["text"] if fatal else f"the workers failed: {error}") from error
    folder.write_json(EVALUATION_RESULT, result.return_value)


def evaluate_on_worker(config: dict[str, Any]) -> dict[str, Any]:
    """Measure this worker's share; Ray Train runs it on each. What keeps it from measuring goes to the mailbox."""
    import ray
    import torch
    from ray.train.torch import get_device

    from gan_dist.distributed.runtime import DistributedRuntime
    from gan_dist.evaluation.evaluate import EvaluationRequest, evaluate_on_workers
    from gan_dist.execution.ray.worker import describe_error
    from gan_dist.runs.storage import Folder

    torch.set_num_threads(config["threads"])
    run = DistributedRuntime(get_device(), emit=lambda event: None, stopping=lambda: False)
    request = EvaluationRequest.from_json(config["question"])
    try:
        return evaluate_on_workers(request, run, Folder(config["scratch"])).as_dict()
    except ValueError as error:
        ray.get(config["mailbox"].fail.remote(describe_error(error)))
        raise


def sample_task(sampling: str, out: str, workers: int) -> None:
    """Make a sampling plan's samples by several workers, into a path. Raises what `write_samples` raises."""
    from gan_dist.generation.sampling import SamplingPlan, write_samples

    asked = SamplingPlan.from_json(sampling)
    # What is drawn is known on any machine; that of the driver may have no accelerator.
    write_samples(
        asked, replace(asked, device="cpu").model(), Path(out), executor=sample_on_ray(workers), progress=_say_progress
    )


def _say_progress(done: int, total: int) -> None:
    print_event({"event": "stage", "text": f"sampling: {done} of {total} parts"})


class SampleMaker:
    """A worker of Ray Data, which loads the generator once and makes ranges of samples."""

    def __init__(self, sampling: str) -> None:
        from gan_dist.generation.sampling import SamplingPlan

        self.sampling = SamplingPlan.from_json(sampling)
        self.model = self.sampling.model()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Numbers and contents of ranges. In Arrow throughout: numpy would cut the zeros at the end of bytes."""
        import pyarrow as pa

        from gan_dist.generation.sampling import SampleRange

        asked = [SampleRange(*json.loads(text)) for text in batch["sample_range"].to_pylist()]
        contents = pa.array([self.sampling.content(self.model, one) for one in asked], pa.large_binary())
        return pa.table({"number": [one.number for one in asked], "content": contents})


def sample_on_ray(workers: int) -> Executor:
    """Make ranges of samples by so many workers at a time, with a CPU each, and a GPU where the plan is for one."""

    def execute(sampling: SamplingPlan, ranges: Sequence[SampleRange]) -> Iterator[tuple[int, bytes]]:
        import ray

        cluster: Any = ray
        if sampling.device == "auto":
            sampling = replace(sampling, device="cuda" if cluster.cluster_resources().get("GPU") else "cpu")
        ray.data.DataContext.get_current().enable_progress_bars = False
        items = [{"sample_range": json.dumps(one)} for one in ranges]
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


def prepare_task(data: dict[str, Any], target: str, workers: int) -> None:
    """Write the shards of a job's `data` into a folder, so many at a time. Raises what `prepare_into` raises."""
    from gan_dist.data.executors import write_shards_on_ray
    from gan_dist.data.prepare import prepare_into
    from gan_dist.spec.check import validate_data

    prepare_into(validate_data(data), target, write_shards_on_ray(workers), preparation_progress(print_event))


TASKS: Mapping[str, Callable[..., None]] = {"evaluate": evaluate_task, "sample": sample_task, "prepare": prepare_task}


def main() -> int:
    """Do the task of the request in the environment, in Ray; the exit code."""
    import ray

    request = TaskRequest(**json.loads(os.environ[VARIABLE]))
    logging.getLogger("ray").setLevel(logging.WARNING)
    # An error of evaluation comes by the mailbox, as its text; the workers' own log would show where it was raised.
    ray.init(log_to_driver=request.task != "evaluate", logging_level=logging.WARNING)
    code, message = 0, ""
    try:
        check_secrets(secret_files())
        TASKS[request.task](**request.arguments)
    except ValueError as error:
        code, message = 2, str(error)
    except (OSError, ray.exceptions.RayError) as error:
        code, message = 1, str(error)
    status = "failed" if code else "succeeded"
    print_event({"event": "end", "status": status, "exit_code": code, "message": message, "summary": []})
    return code


if __name__ == "__main__":
    sys.exit(main())
