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
    """What a run asks for: CPUs and GPUs of its workers, and how it is ranked among those that wait."""

    run: str
    owner: str
    cpus: float
    gpus: float
    priority: int = 0


@dataclass
class _Entry:
    place: Place
    granted: bool
    heard: float = field(default_factory=time.monotonic)


class RunQueue:
    """An actor that all drivers of a cluster ask whether it is their turn: the first in line goes when the CPUs and
    GPUs that it asks for are held by no other run. What is held by others than runs is Ray's to wait for."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def ask(self, place: Place, cluster: dict[str, float], granted: bool) -> str:
        """Why a run has to wait; empty when it may go. A run that has gone asks again now and then, to be remembered.

        Args:
            cluster: CPUs and GPUs that the cluster has.
            granted: whether it has gone already; the actor may be another by now.
        """
        now = time.monotonic()
        self._entries = {run: one for run, one in self._entries.items() if now - one.heard < FORGET_S}
        entry = self._entries.setdefault(place.run, _Entry(place, granted))
        entry.heard, entry.granted = now, entry.granted or granted
        if entry.granted:
            return ""
        waiting = [one.place for one in self._entries.values() if not one.granted]
        line = sorted(waiting, key=lambda one: -one.priority)  # stable: those of one priority stay as they came
        held = [one.place for one in self._entries.values() if one.granted]
        told = _lacking(place, cluster, held)
        if (ahead := line.index(place)) or told:
            return _words(place, told, ahead, held)
        entry.granted = True
        return ""

    def leave(self, run: str) -> None:
        """Forget a run: it has ended."""
        self._entries.pop(run, None)


def _lacking(place: Place, cluster: dict[str, float], held: list[Place]) -> list[str]:
    """What a run asks for and others hold."""
    asked = {"CPU": (place.cpus, sum(one.cpus for one in held)), "GPU": (place.gpus, sum(one.gpus for one in held))}
    return [
        f"{want:g} {kind}{'s' if want != 1 else ''}: {max(0.0, cluster.get(kind, 0.0) - taken):g} free of "
        f"{cluster.get(kind, 0.0):g}"
        for kind, (want, taken) in asked.items()
        if want and want > cluster.get(kind, 0.0) - taken
    ]


def _words(place: Place, told: list[str], ahead: int, held: list[Place]) -> str:
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
                threading.Thread(target=self._renew, daemon=True).start()
                return
            stop.wait(ASK_EVERY_S)

    def leave(self) -> None:
        """Give the place up."""
        from ray.exceptions import RayError

        self._over.set()
        try:
            _queue().leave.remote(self.place.run)
        except RayError:
            return  # the cluster is going down, and its queue with it

    def _ask(self, granted: bool) -> str:
        import ray

        cluster: Any = ray
        there = cluster.cluster_resources()
        if self.place.cpus > there.get("CPU", 0.0) or self.place.gpus > there.get("GPU", 0.0):
            return ""
        asked = {kind: float(there.get(kind, 0.0)) for kind in ("CPU", "GPU")}
        return str(ray.get(_queue().ask.remote(self.place, asked, granted)))

    def _renew(self) -> None:
        from ray.exceptions import RayError

        while not self._over.wait(RENEW_EVERY_S):
            try:
                self._ask(granted=True)
            except RayError:
                continue  # the actor is being started again


def _queue() -> Any:
    """The cluster's queue; the first who asks starts it, and Ray again should its node be lost."""
    import ray

    made: Any = ray.remote(num_cpus=0)(RunQueue)
    return made.options(
        name=NAME, namespace=NAMESPACE, lifetime="detached", get_if_exists=True, max_restarts=-1, max_task_retries=3
    ).remote()
