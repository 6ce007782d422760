"""How many workers `auto` is, and what a cluster can never give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gan_dist.execution.ray.resources import GIB, ResolvedResources, resolve_resources, resource_problems
from gan_dist.runs.storage import Folder
from gan_dist.spec.sections import ResourcesSpec

NODES = [{"Alive": True}, {"Alive": False}]


def asked(fed: int, workers: object = "auto", **cluster: float) -> ResolvedResources:
    return resolve_resources(ResourcesSpec.model_validate({"workers": workers}), fed, cluster, NODES)


NODE = {"CPU": 8.0, "GPU": 2.0, "memory": 64 * GIB}
FLEET: list[dict[str, Any]] = [
    {"Alive": True, "Labels": {"zone": "eu-1", "ray.io/node-id": "ab"}, "Resources": NODE},
    {"Alive": True, "Labels": {"zone": "eu-2"}, "Resources": NODE},
    {"Alive": False, "Labels": {"zone": "eu-3"}, "Resources": {"CPU": 8.0}},
]
CLUSTER = {"CPU": 16.0, "GPU": 4.0, "memory": 128 * GIB, "licence": 3.0, "accelerator_type:H100": 2.0}


def refused(**resources: Any) -> list[str]:
    """What is said of a `resources` section on two nodes of 8 CPUs and 2 GPUs."""
    ask = resolve_resources(ResourcesSpec.model_validate(resources), 16, CLUSTER, FLEET)
    return resource_problems(ask, Folder("file:///shared"), CLUSTER, FLEET)


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
    (problem,) = resource_problems(asked(16, 3, CPU=2.0), Folder.at(tmp_path), {"CPU": 2.0}, NODES)
    assert "resources.workers: 3 workers (1 CPU each) need 3 CPUs; the cluster has 2 CPUs and 0 GPUs" in problem


def test_one_gpu_is_not_two_workers(tmp_path):
    (problem,) = resource_problems(asked(16, 2, CPU=8.0, GPU=1.0), Folder.at(tmp_path), {}, NODES)
    assert problem == (
        "resources.workers: 2 workers (1 CPU and 1 GPU each); the cluster has 8 CPUs and 1 GPUs on 1 node(s). "
        "Lower resources.workers (auto: one for each GPU), use resources.device: cpu, or say resources.autoscale: true "
        "where nodes are started for a run"
    )


def test_what_an_autoscaler_starts_need_not_be_there_yet() -> None:
    wants = {"workers": 8, "device": "cuda", "accelerator": "A10G", "labels": {"zone": "us-1"}, "memory": 300}
    assert len(refused(**wants)) == 4 and refused(**wants, autoscale=True) == []
    ask = resolve_resources(ResourcesSpec.model_validate(wants | {"autoscale": True}), 16, {"CPU": 4.0}, NODES)
    assert (ask.workers, ask.gpu) == (8, True)
    (shared,) = resource_problems(ask, Folder("/home/ada/runs"), {"CPU": 4.0}, NODES)
    assert "is a path of one machine, but nodes will be started for the run" in shared
    for lacking in ({"workers": 8}, {"device": "cuda"}):
        with pytest.raises(ValidationError, match="autoscale: nothing is known yet of the nodes"):
            ResourcesSpec.model_validate(lacking | {"autoscale": True})


@pytest.mark.parametrize(
    "resources",
    [
        {"accelerator": "H100"},
        {"memory": 32},
        {"custom": {"licence": 0.75}},
        {"labels": {"zone": "eu-1"}, "workers": 2},
        {"labels": {"zone": "!eu-1"}},
        {"labels": {"zone": "in(eu-2, eu-9)"}},
        {"labels": {"zone": "!in(eu-1, eu-9)"}},
        {"placement": "one_per_node", "workers": 2},
        {"placement": "one_node", "workers": 2},
        {"gpus_per_worker": 0.25, "workers": 1},
        {"gpus_per_worker": 0.25, "workers": 4, "device": "cpu"},
    ],
)
def test_what_fits_is_taken(resources: dict[str, Any]) -> None:
    assert refused(**resources) == []


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        (
            {"accelerator": "H200"},
            "the cluster has no 'H200'; did you mean 'H100'? (allowed: H100)",
        ),
        ({"memory": 33}, "resources.memory: 132 GiB needed; the cluster has 128 GiB"),
        (
            {"custom": {"license": 1}},
            "license: 4 needed; the cluster has 0 (its custom resources: licence)",
        ),
        ({"labels": {"zone": "eu-3"}}, "resources.labels: no node has zone=eu-3; there are zone=eu-1, zone=eu-2"),
        ({"labels": {"zone": "!in(eu-1, eu-2)"}}, "no node has zone=!in(eu-1, eu-2)"),
        ({"placement": "one_per_node", "workers": 3}, "resources.placement: 3 workers want a node each; 2 node(s) fit"),
        ({"placement": "one_node", "workers": 4}, "no node has room for 4 workers (1 CPU and 1 GPU each); take `pack`"),
    ],
)
def test_what_no_node_has_is_told(resources: dict[str, Any], told: str) -> None:
    (problem,) = refused(**resources)
    assert told in problem


@pytest.mark.parametrize("workers", ["auto", 2, {"min": 1, "max": 2}])
def test_workers_of_one_run_do_not_share_a_gpu(workers: object) -> None:
    with pytest.raises(ValidationError, match=r"gpus_per_worker: 0\.5 needs `workers: 1`"):
        ResourcesSpec.model_validate({"workers": workers, "gpus_per_worker": 0.5})


def test_trials_may_share_a_gpu() -> None:
    shared = resolve_resources(
        ResourcesSpec.model_validate({"workers": 1, "gpus_per_worker": 0.25}), 16, CLUSTER, FLEET
    )
    assert shared.gpu and shared.per_worker == {"CPU": 1.0, "GPU": 0.25}


def test_a_kind_of_gpu_is_not_forgotten_on_a_cluster_without_any(tmp_path: Path) -> None:
    ask = resolve_resources(ResourcesSpec(accelerator="H100"), 16, {"CPU": 8.0}, NODES)
    problems = resource_problems(ask, Folder.at(tmp_path), {"CPU": 8.0}, NODES)
    assert problems[0] == "resources.accelerator: the cluster has no 'H100'; it says no kinds" and len(problems) == 2
