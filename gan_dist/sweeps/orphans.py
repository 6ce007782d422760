"""CPUs and GPUs that a dead trial left reserved.

Ray Train's own cleaner is told of a worker group when its workers have started. If the process of a trial dies before,
Ray keeps the group's placement group for as long as the driver lives, and, if the process died while the request for it
was under way, for as long as the cluster does. Either way other trials would wait for room that nothing uses.
"""

from __future__ import annotations

import contextlib
import time

import ray
from ray.util.placement_group import PlacementGroup, remove_placement_group
from ray.util.state import list_actors, list_placement_groups
from ray.util.state.exception import RayStateApiException

LOOK_S = 10.0
IDLE_S = 30.0
MOST_LISTED = 10_000


class Orphans:
    """The placement groups of this driver's trials that nothing lives in. Tune's own, which hold memory, are Tune's."""

    def __init__(self) -> None:
        here = ray.get_runtime_context()
        # Asked without an address, Ray looks for one, and finds every cluster of this machine.
        self._address, self._job = here.gcs_address, here.get_job_id()
        self._since: dict[str, float] = {}
        self._looked = time.monotonic()

    def look(self) -> None:
        """Every LOOK_S seconds, remove those that have been granted and empty for IDLE_S seconds: workers come into
        theirs at once."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        # A dashboard that does not answer is asked again at the next look.
        with contextlib.suppress(RayStateApiException):
            empty = self._reserved({"CREATED"}) - self._lived_in()
            self._since = {group: self._since.get(group, now) for group in empty}
            for group in [group for group, since in self._since.items() if now - since >= IDLE_S]:
                _remove(group)

    def remove(self) -> None:
        """Remove all of them: no trial is left."""
        with contextlib.suppress(RayStateApiException):
            for group in self._reserved({"PENDING", "CREATED", "RESCHEDULING"}):
                _remove(group)

    def _reserved(self, states: set[str]) -> set[str]:
        """Groups that ask for a CPU or GPU."""
        groups = list_placement_groups(
            self._address, filters=[("creator_job_id", "=", self._job)], limit=MOST_LISTED, detail=True
        )
        return {
            group.placement_group_id
            for group in groups
            if group.state in states
            and any({"CPU", "GPU"} & bundle["unit_resources"].keys() for bundle in group.bundles or ())
        }

    def _lived_in(self) -> set[str]:
        """Groups with an actor in them, or one on its way."""
        actors = list_actors(
            self._address,
            filters=[("job_id", "=", self._job), ("state", "!=", "DEAD")],
            limit=MOST_LISTED,
            detail=True,
        )
        return {actor.placement_group_id for actor in actors if actor.placement_group_id}


def _remove(group: str) -> None:
    remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))
