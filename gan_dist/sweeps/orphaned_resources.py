"""CPUs and GPUs that a dead trial left reserved.

Ray Train's own cleaner is told of a worker group when its workers have started. If the process of a trial dies before,
Ray keeps the group's placement group for as long as the driver lives, and, if the process died while the request for it
was under way, for as long as the cluster does. Either way other trials would wait for room that nothing uses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

LOOK_S = 10.0
IDLE_S = 30.0
OF_GROUP = "bundle_group_"


class Orphans:
    """The placement groups of this driver's trials that nothing lives in. Tune's own, which hold memory, are Tune's.

    Args:
        warn: told of each that is given back while trials train.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._job, self._warn = ray.get_runtime_context().get_job_id(), warn
        self._since: dict[str, float] = {}
        self._looked = time.monotonic()

    def look(self) -> None:
        """Every LOOK_S seconds, remove those that have been granted and empty for IDLE_S seconds: workers come into
        theirs at once."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        empty = {group for group, state in self._of_trials().items() if state == "CREATED"} & _empty()
        self._since = {group: self._since.get(group, now) for group in empty}
        for group in [group for group, since in self._since.items() if now - since >= IDLE_S]:
            self._warn("a trial's process died as it began; the CPUs or GPUs it had reserved are given back")
            _remove(group)

    def remove(self) -> None:
        """Remove all of them: no trial is left."""
        for group in self._of_trials():
            _remove(group)

    def _of_trials(self) -> dict[str, str]:
        """The state of each group that holds or wants a CPU or GPU. The last part of a group's id is its driver's."""
        return {
            group: row["state"]
            for group, row in placement_group_table().items()
            if group.endswith(self._job)
            and row["state"] != "REMOVED"
            and any({"CPU", "GPU"} & bundle.keys() for bundle in row["bundles"].values())
        }


def _empty() -> set[str]:
    """Granted groups that nothing lives in, or is on its way into: it would hold a little of the resource that Ray
    makes of each group."""
    cluster: Any = ray
    there, free = cluster.cluster_resources(), cluster.available_resources()
    return {
        name.removeprefix(OF_GROUP)
        for name, all_of_it in there.items()
        if name.startswith(OF_GROUP) and free.get(name, 0.0) >= all_of_it
    }


def _remove(group: str) -> None:
    remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))
