"""The runs of a cluster, which wait for their turn in order before they read or load anything.

Ray starts the driver of every job at once, and gives CPUs and GPUs to whose worker group asks first. Thirty drivers
that have loaded torch fill 25 GB of memory to wait; here they hold 150 MB each, and the order is told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

NAME, NAMESPACE = "gan-dist-run-queue", "gan-dist"
ASK_EVERY_S = 1.0
RENEW_EVERY_S = 10.0
FORGET_S = 60.0  # a driver that has not been heard of for so long holds nothing


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a run asks for, and how it is ranked among those that wait.

    Attributes:
        key: of this attempt among all of the cluster, whatever others are called.
        run, owner: what others are told.
        cpus, gpus: of the fewest workers that it begins with.
        most_cpus, most_gpus: of all that it may have in time, as an elastic run or a sweep.
        priority: the higher goes first.
    """

    key: str
    run: str
    owner: str
    cpus: float
    gpus: float
    most_cpus: float
    most_gpus: float
    priority: int = 0


@dataclass
class _Entry:
    place: Place
    granted: bool
    heard: float = field(default_factory=time.monotonic)


class RunQueue:
    """What all drivers of a cluster ask whether it is their turn: the first in line goes when the CPUs and GPUs that it
    asks for are held by no other run. What is held by others than runs is Ray's to wait for.

    Args:
        restarted: whether there was one before, whose holders have not been heard of again.
    """

    def __init__(self, restarted: bool = False) -> None:
        self._entries: dict[str, _Entry] = {}
        self._learning_until = time.monotonic() + 2 * RENEW_EVERY_S if restarted else 0.0

    def ask(self, place: Place, cluster: dict[str, float], granted: bool) -> str:
        """Why a run has to wait; empty when it may go. A run that has gone asks again now and then, to be remembered.

        Args:
            cluster: CPUs and GPUs that the cluster has.
            granted: whether it has gone already; the actor may be another by now.
        """
        now = time.monotonic()
        self._entries = {key: one for key, one in self._entries.items() if now - one.heard < FORGET_S}
        entry = self._entries.setdefault(place.key, _Entry(place, granted))
        entry.heard, entry.granted = now, entry.granted or granted
        if entry.granted:
            return ""
        waiting = [one.place for one in self._entries.values() if not one.granted]
        line = sorted(waiting, key=lambda one: -one.priority)  # stable: those of one priority stay as they came
        held = [one.place for one in self._entries.values() if one.granted]
        told = _lacking(place, cluster, held)
        if (ahead := line.index(entry.place)) or told:
            return _words(told, ahead, held)
        if now < self._learning_until:
            return "waiting; the cluster's queue was lost, and learns who holds what"
        entry.granted = True
        return ""

    def leave(self, key: str) -> None:
        """Forget a run: it has ended."""
        self._entries.pop(key, None)


class RunQueueActor(RunQueue):
    """The queue as a detached actor, which Ray starts again should its node be lost."""

    def __init__(self) -> None:
        import ray

        super().__init__(restarted=ray.get_runtime_context().was_current_actor_reconstructed)


def _lacking(place: Place, cluster: dict[str, float], held: list[Place]) -> list[str]:
    """What a run asks for and others hold."""
    asked = {
        "CPU": (place.cpus, sum(one.most_cpus for one in held)),
        "GPU": (place.gpus, sum(one.most_gpus for one in held)),
    }
    return [
        f"{want:g} {kind}{'s' if want != 1 else ''}: {max(0.0, cluster.get(kind, 0.0) - taken):g} free of "
        f"{cluster.get(kind, 0.0):g}"
        for kind, (want, taken) in asked.items()
        if want and want > cluster.get(kind, 0.0) - taken
    ]


def _words(told: list[str], ahead: int, held: list[Place]) -> str:
    holders = ", ".join(f"{one.run} of {one.owner}" for one in held)
    said = f"waiting for {' and '.join(told)}" if told else "waiting"
    said += f"; {holders} hold{'s' if len(held) == 1 else ''} the rest" if told and holders else ""
    return said + (f"; {ahead} run{'s' if ahead > 1 else ''} ahead" if ahead else "")


class Turn:
    """A driver's place in the cluster's queue.

    Args:
        place: what it asks for.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._over = threading.Event()
        self._renewing: threading.Thread | None = None
        self._fitted = False

    def wait(self, say: Callable[[str], None], stop: threading.Event) -> None:
        """Return when it is this run's turn, or when a stop is asked for.

        Args:
            say: hears why it waits, when that changes, and an empty text when it has waited long enough.

        The place is kept until `leave`. What a cluster can never give is not waited for: preflight refuses it.
        """
        told = ""
        while not stop.is_set():
            if (why := self._ask(granted=False)) != told:
                say(why)
                told = why
            if not why:
                self._renewing = threading.Thread(target=self._renew, daemon=True)
                self._renewing.start()
                return
            stop.wait(ASK_EVERY_S)

    def leave(self) -> None:
        """Give the place up."""
        from ray.exceptions import RayError

        self._over.set()
        if self._renewing is not None:
            self._renewing.join(ASK_EVERY_S)  # else it might come after, and hold the place for who has gone
        try:
            _queue().leave.remote(self.place.key)
        except RayError:
            return  # the cluster is going down, and its queue with it

    def _ask(self, granted: bool) -> str:
        import ray
        from ray.exceptions import RayError

        cluster: Any = ray
        found = cluster.cluster_resources()
        there = {kind: float(found.get(kind, 0.0)) for kind in ("CPU", "GPU")}
        fits = self.place.cpus <= there["CPU"] and self.place.gpus <= there["GPU"]
        self._fitted = self._fitted or fits
        if not (self._fitted or granted):
            return ""
        try:
            return str(ray.get(_queue().ask.remote(self.place, there, granted)))
        except RayError:
            return "waiting; the cluster's queue does not answer"

    def _renew(self) -> None:
        while not self._over.wait(RENEW_EVERY_S):
            self._ask(granted=True)


def _queue() -> Any:
    """The cluster's queue; the first who asks starts it, and Ray again should its node be lost."""
    import ray

    made: Any = ray.remote(num_cpus=0)(RunQueueActor)
    return made.options(
        name=NAME, namespace=NAMESPACE, lifetime="detached", get_if_exists=True, max_restarts=-1, max_task_retries=3
    ).remote()
