"""`evaluate` by a cluster's workers, each of which makes and embeds its share of the samples.

It is the driver of such a job, `python -m gan_dist.execution.ray.evaluate_task`, started by `gan-dist evaluate --workers`.
"""

from __future__ import annotations

import sys
from typing import Any

from gan_dist.errors import UsageError
from gan_dist.execution.events import print_event
from gan_dist.execution.ray.task import run_task
from gan_dist.runs.storage import Folder
from gan_dist.spec.sections import ResourcesSpec

ANSWER = "answer.json"


def answer_on_worker(config: dict[str, Any]) -> dict[str, Any]:
    """What Ray Train runs on each worker; where the question has no answer, the desk is told why."""
    import ray
    import torch
    from ray.train.torch import get_device

    from gan_dist.distributed.runtime import DistributedRuntime
    from gan_dist.evaluation.evaluate import EvaluationRequest, evaluate_on_workers
    from gan_dist.execution.ray.worker import describe_device

    torch.set_num_threads(config["threads"])
    run = DistributedRuntime(get_device(), emit=lambda event: None, stopping=lambda: False)
    try:
        return evaluate_on_workers(
            EvaluationRequest.from_json(config["question"]), run, Folder(config["scratch"])
        ).as_dict()
    except ValueError as error:
        ray.get(config["desk"].fail.remote(describe_device(error)))
        raise


def evaluate(question: str, out: str, workers: int) -> None:
    """Write the answer, as plain values, into a folder.

    Raises:
        ValueError: there is none, or the cluster has not so many workers.
    """
    import ray

    from gan_dist.execution.ray.resources import resolve_resources, resource_problems
    from gan_dist.execution.ray.worker_group import DriverMailbox, make_torch_trainer

    cluster: Any = ray
    resources, folder = ResourcesSpec(workers=workers), Folder(out)
    ask = resolve_resources(resources, workers, cluster.cluster_resources(), cluster.nodes())
    if problems := resource_problems(resources, ask, folder):
        raise UsageError("\n".join(problems).replace("resources.workers", "--workers"))
    print_event({"event": "stage", "text": f"measuring by {ask.asked}"})
    desk: Any = ray.remote(num_cpus=0)(DriverMailbox).remote()
    config = {"question": question, "scratch": folder.child("scratch").uri, "desk": desk}
    try:
        result: Any = make_torch_trainer(answer_on_worker, config, ask, folder.child("ray"), "evaluate").fit()
    except Exception as error:
        fatal = ray.get(desk.fatal.remote())
        raise UsageError(fatal["text"] if fatal else f"the workers failed: {error}") from error
    folder.write_json(ANSWER, result.return_value)


if __name__ == "__main__":
    # An error comes by the desk, as its text; the workers' own log would show where in our code it was raised.
    sys.exit(run_task(evaluate, show_workers=False))
