"""What a run asks of a cluster, and whether the cluster can ever give it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gan_dist.runs.storage import Folder
from gan_dist.spec.fields import WorkerRange
from gan_dist.spec.problems import suggestion
from gan_dist.spec.sections import ResourcesSpec

WORKERS_ON_CPU = 2
GIB = 2.0**30
# Ray's names of what `resources.placement` says.
STRATEGIES = {"pack": "PACK", "spread": "SPREAD", "one_node": "STRICT_PACK", "one_per_node": "STRICT_SPREAD"}
ACCELERATOR = "accelerator_type:"
OWN_LABEL = "ray.io/node-id"  # that no two nodes share


@dataclass(kw_only=True, frozen=True)
class ResolvedResources:
    """Resolved resources.

    Attributes:
        workers: a number, or (least, most) of an elastic run.
        gpus_per_worker: GPUs reserved for each, 0 where they train on CPUs.
        cpus_per_worker: CPUs reserved for each.
        others: what else is reserved for each, by Ray's names.
        accelerator, labels, strategy: which nodes, as `ray.train.ScalingConfig` takes it.
        autoscale: whether nodes may be started for the run.
        cluster_cpus, cluster_gpus, nodes: what the cluster has.
    """

    workers: int | tuple[int, int]
    gpus_per_worker: float
    cpus_per_worker: float
    others: Mapping[str, float]
    accelerator: str | None
    labels: Mapping[str, str]
    strategy: str
    autoscale: bool
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
    def gpu(self) -> bool:
        """Whether the workers train on GPUs."""
        return self.gpus_per_worker > 0

    @property
    def per_worker(self) -> dict[str, float]:
        gpus = {"GPU": self.gpus_per_worker} if self.gpu else {}
        return {"CPU": self.cpus_per_worker, **gpus, **self.others}

    @property
    def words(self) -> str:
        return "GPU" if self.gpu else "CPU"

    @property
    def asked(self) -> str:
        each = f"{self.cpus_per_worker:g} CPU" + (f" and {self.gpus_per_worker:g} GPU" if self.gpu else "")
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
    wanted = gpus >= 1 or resources.accelerator is not None
    gpu = resources.device == "cuda" or (resources.device == "auto" and wanted)
    workers: int | tuple[int, int]
    if isinstance(resources.workers, WorkerRange):
        workers = (resources.workers.min, resources.workers.max)
    elif resources.workers == "auto":
        workers = min(most_workers, max(1, int(gpus)) if gpu else WORKERS_ON_CPU)
    else:
        workers = int(resources.workers)
    each = 1.0 if resources.cpus_per_worker == "auto" else float(resources.cpus_per_worker)
    memory = {} if resources.memory is None else {"memory": resources.memory * GIB}
    return ResolvedResources(
        workers=workers,
        gpus_per_worker=resources.gpus_per_worker if gpu else 0.0,
        cpus_per_worker=each,
        others={**resources.custom, **memory},
        accelerator=resources.accelerator if gpu else None,
        labels=resources.labels,
        strategy=STRATEGIES[resources.placement],
        autoscale=resources.autoscale,
        cluster_cpus=cpus,
        cluster_gpus=gpus,
        nodes=sum(bool(node.get("Alive")) for node in nodes),
    )


def resource_problems(
    ask: ResolvedResources, storage: Folder, cluster: Mapping[str, float], nodes: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What the cluster can never give, and a storage that its nodes would not share."""
    found = [] if ask.autoscale else _capacity_problems(ask, cluster, nodes)
    if (ask.nodes > 1 or ask.autoscale) and not storage.shared:
        many = "nodes will be started for the run" if ask.autoscale else f"the cluster has {ask.nodes} nodes"
        found.append(
            f"storage: {storage.uri!r} is a path of one machine, but {many}; "
            "use a bucket (s3://bucket/runs), or a file system that all of them mount at the same path (file:///shared/runs)"
        )
    return found


def _capacity_problems(
    ask: ResolvedResources, cluster: Mapping[str, float], nodes: Sequence[Mapping[str, Any]]
) -> list[str]:
    found = _placement_problems(ask, cluster, [node for node in nodes if node.get("Alive")])
    if ask.least * ask.cpus_per_worker > ask.cluster_cpus:
        found.append(
            f"resources.workers: {ask.asked} need {ask.least * ask.cpus_per_worker:g} CPUs; the cluster has "
            f"{ask.available}. Lower resources.workers or resources.cpus_per_worker"
        )
    if ask.least * ask.gpus_per_worker > ask.cluster_gpus:
        found.append(
            f"resources.workers: {ask.asked}; the cluster has {ask.available}. Lower resources.workers "
            "(auto: one for each GPU), use resources.device: cpu, or say resources.autoscale: true where nodes are "
            "started for a run"
        )
    return found


def _placement_problems(
    ask: ResolvedResources, cluster: Mapping[str, float], nodes: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What is asked of single nodes, and no node has."""
    found = []
    for name, each in ask.others.items():
        there, wanted = cluster.get(name, 0.0), ask.least * each
        if wanted > there:
            size, unit = (GIB, " GiB") if name == "memory" else (1.0, "")
            key = "memory" if name == "memory" else f"custom.{name}"
            known = sorted(one for one in cluster if not _is_built_in(one))
            hint = "" if name == "memory" else f" (its custom resources: {', '.join(known) or 'none'})"
            found.append(
                f"resources.{key}: {wanted / size:g}{unit} needed; the cluster has {there / size:g}{unit}{hint}"
            )
    if ask.accelerator is not None and f"{ACCELERATOR}{ask.accelerator}" not in cluster:
        kinds = sorted(name.removeprefix(ACCELERATOR) for name in cluster if name.startswith(ACCELERATOR))
        told = suggestion(ask.accelerator, kinds) if kinds else "; it says no kinds"
        found.append(f"resources.accelerator: the cluster has no {ask.accelerator!r}{told}")
    fitting = [node for node in nodes if _has_labels(node.get("Labels") or {}, ask.labels)]
    if ask.labels and not fitting:
        asked = ", ".join(f"{key}={value}" for key, value in ask.labels.items())
        labels = [label for node in nodes for label in (node.get("Labels") or {}).items() if label[0] != OWN_LABEL]
        known = sorted({f"{key}={value}" for key, value in labels})
        found.append(f"resources.labels: no node has {asked}; there are {', '.join(known) or 'no labels'}")
    if ask.strategy == "STRICT_SPREAD" and ask.least > len(fitting) > 0:
        found.append(f"resources.placement: {ask.least} workers want a node each; {len(fitting)} node(s) fit")
    if ask.strategy == "STRICT_PACK" and not any(_holds(node.get("Resources") or {}, ask) for node in fitting):
        found.append(f"resources.placement: no node has room for {ask.asked}; take `pack`")
    return found


def _is_built_in(resource: str) -> bool:
    return resource in ("CPU", "GPU", "memory", "object_store_memory") or ":" in resource


def _has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether a node's labels are as Ray's selectors want them: `a`, `!a`, `in(a, b)`, `!in(a, b)`."""
    for key, condition in wanted.items():
        negated, plain = condition.startswith("!"), condition.removeprefix("!")
        inside = re.fullmatch(r"in\((.*)\)", plain)
        values = [value.strip() for value in inside[1].split(",")] if inside else [plain]
        if (labels.get(key) in values) == negated:
            return False
    return True


def _holds(node: Mapping[str, float], ask: ResolvedResources) -> bool:
    return all(node.get(name, 0.0) >= ask.least * each for name, each in ask.per_worker.items())
