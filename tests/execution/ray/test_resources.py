"""How many workers `auto` is, and what a cluster can never give."""

from __future__ import annotations

import pytest

from gan_dist.execution.ray.resources import ResolvedResources, resolve_resources, resource_problems
from gan_dist.runs.storage import Folder
from gan_dist.spec.sections import ResourcesSpec

NODES = [{"Alive": True}, {"Alive": False}]


def asked(fed: int, workers: object = "auto", **cluster: float) -> ResolvedResources:
    return resolve_resources(ResourcesSpec.model_validate({"workers": workers}), fed, cluster, NODES)


@pytest.mark.parametrize(
    ("fed", "cluster", "workers"),
    [
        (16, {"CPU": 32.0, "GPU": 8.0}, 8),
        (16, {"CPU": 32.0}, 2),
        (1, {"CPU": 32.0, "GPU": 8.0}, 1),
        (1, {"CPU": 2.0}, 1),
    ],
)
def test_auto_is_a_worker_per_gpu_or_two_while_there_is_work(fed, cluster, workers):
    ask = asked(fed, **cluster)
    assert (ask.workers, ask.gpu, ask.nodes) == (workers, cluster.get("GPU", 0) > 0, 1)


def test_a_number_that_was_asked_for_stays():
    assert asked(1, 3, CPU=8.0).workers == 3
    assert asked(1, {"min": 1, "max": 4}, CPU=8.0).workers == (1, 4)


def test_what_the_cluster_never_has_is_told(tmp_path):
    resources = ResourcesSpec.model_validate({"workers": 3})
    (problem,) = resource_problems(resources, asked(16, 3, CPU=2.0), Folder.at(tmp_path))
    assert "resources.workers: 3 workers (1 CPU each) need 3 CPUs; the cluster has 2 CPUs and 0 GPUs" in problem


def test_one_gpu_is_not_two_workers(tmp_path):
    resources = ResourcesSpec.model_validate({"workers": 2})
    (problem,) = resource_problems(resources, asked(16, 2, CPU=8.0, GPU=1.0), Folder.at(tmp_path))
    assert problem == (
        "resources.workers: 2 workers (1 CPU and 1 GPU each); the cluster has 8 CPUs and 1 GPUs on 1 node(s). "
        "Lower resources.workers (auto: one for each GPU), or use resources.device: cpu"
    )
