"""What happens to a cluster's nodes while a run trains on them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from gan_dist.errors import PreflightError
from gan_dist.execution.node_secrets import read_secrets
from gan_dist.execution.ray.private import draining_nodes


class NodeWatch:
    """Tells what has changed since it was asked before."""

    def __init__(self) -> None:
        self._alive = self._look()
        self._warned: set[str] = set()

    def lost(self) -> list[str]:
        """Addresses of nodes that were there and are gone."""
        before, self._alive = self._alive, self._look()
        return [address for node, address in before.items() if node not in self._alive]

    def leaving(self) -> list[str]:
        """A sentence for each node that the cluster is warned to lose, as of a spot instance two minutes ahead."""
        # Nodes that joined since; those that are gone stay, for `lost` to tell.
        self._alive = {**self._look(), **self._alive}
        found = []
        for node, deadline_ms in draining_nodes().items():
            if node not in self._warned and node in self._alive:
                self._warned.add(node)
                left = f" in {max(0.0, deadline_ms / 1000 - time.time()):.0f} s" if deadline_ms else ""
                found.append(f"node {self._alive[node]} is going to be taken away{left}: saving a checkpoint")
        return found

    def _look(self) -> dict[str, str]:
        import ray

        cluster: Any = ray
        return {node["NodeID"]: str(node["NodeManagerAddress"]) for node in cluster.nodes() if node["Alive"]}


def on_this_node() -> dict[str, Any]:
    """Options of an actor that lives where this process does, and is lost with this node and no other."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id=here, soft=False)}


def check_secrets(files: Mapping[str, str]) -> None:
    """Look on every node of this process's cluster whether the files of `environment.secrets` are there.

    Raises:
        PreflightError: some are not; all of them are named.
    """
    if not files:
        return
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    cluster: Any = ray
    look: Any = ray.remote(num_cpus=0)(read_secrets)
    asked = [
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)).remote(
            files, node["NodeManagerAddress"]
        )
        for node in cluster.nodes()
        if node["Alive"]
    ]
    if problems := [problem for found in ray.get(asked) for problem in found]:
        raise PreflightError("\n".join(problems))
