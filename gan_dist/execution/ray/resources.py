"""What a run asks of a cluster, and whether the cluster can ever give it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gan_dist.runs.storage import Folder
from gan_dist.spec.fields import WorkerRange
from gan_dist.spec.sections import ResourcesSpec

WORKERS_ON_CPU = 2


@dataclass(kw_only=True, frozen=True)
class ResolvedResources:
    """Resolved resources.

    Attributes:
        workers: a number, or (least, most) of an elastic run.
        gpu: whether each worker gets one GPU.
        cpus_per_worker: CPUs reserved for each.
        cluster_cpus, cluster_gpus, nodes: what the cluster has.
    """

    workers: int | tuple[int, int]
    gpu: bool
    cpus_per_worker: float
    cluster_cpus: float
    cluster_gpus: float
    nodes: int

    @property
    def least(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    @property
    def per_worker(self) -> dict[str, float]:
        return {"CPU": self.cpus_per_worker} | ({"GPU": 1.0} if self.gpu else {})

    @property
    def words(self) -> str:
        return "GPU" if self.gpu else "CPU"

    @property
    def asked(self) -> str:
        each = f"{self.cpus_per_worker:g} CPU" + (" and 1 GPU" if self.gpu else "")
        return f"1 worker ({each})" if self.least == 1 else f"{self.least} workers ({each} each)"

    @property
    def available(self) -> str:
        return f"{self.cluster_cpus:g} CPUs and {self.cluster_gpus:g} GPUs on {self.nodes} node(s)"


def resolve_resources(
    resources: ResourcesSpec, most_workers: int, cluster: Mapping[str, float], nodes: Sequence[Mapping[str, Any]]
) -> ResolvedResources:
    """The `resources` section on a cluster: `auto` is one worker per GPU, else two on CPU, but never more than
    `most_workers`, the number of lanes in a batch."""
    gpus, cpus = cluster.get("GPU", 0.0), cluster.get("CPU", 0.0)
    gpu = resources.device == "cuda" or (resources.device == "auto" and gpus >= 1)
    workers: int | tuple[int, int]
    if isinstance(resources.workers, WorkerRange):
        workers = (resources.workers.min, resources.workers.max)
    elif resources.workers == "auto":
        workers = min(most_workers, max(1, int(gpus)) if gpu else WORKERS_ON_CPU)
    else:
        workers = int(resources.workers)
    each = 1.0 if resources.cpus_per_worker == "auto" else float(resources.cpus_per_worker)
    alive = sum(bool(node.get("Alive")) for node in nodes)
    return ResolvedResources(
        workers=workers, gpu=gpu, cpus_per_worker=each, cluster_cpus=cpus, cluster_gpus=gpus, nodes=alive
    )


def resource_problems(resources: ResourcesSpec, ask: ResolvedResources, storage: Folder) -> list[str]:
    """What the cluster can never give, and a storage that its nodes would not share."""
    found = []
    if ask.least * ask.cpus_per_worker > ask.cluster_cpus:
        found.append(
            f"resources.workers: {ask.asked} need {ask.least * ask.cpus_per_worker:g} CPUs; the cluster has "
            f"{ask.available}. Lower resources.workers or resources.cpus_per_worker"
        )
    if ask.gpu and ask.least > ask.cluster_gpus:
        found.append(
            f"resources.workers: {ask.asked}; the cluster has {ask.available}. Lower resources.workers "
            "(auto: one for each GPU), or use resources.device: cpu"
        )
    if ask.nodes > 1 and not storage.shared:
        found.append(
            f"storage: {storage.uri!r} is a path of one machine, but the cluster has {ask.nodes} nodes; "
            "use a shared file system mounted at the same path on all, and say so with file://PATH"
        )
    return found
