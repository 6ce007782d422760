"""The actor that carries messages between the driver and the workers.

Its process imports nothing heavy: it only stores what it is given.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gan_dist.events import Event


class DriverMailbox:
    """An actor between driver and workers: events go one way, the data and what is wished for the other.

    Ray starts it again when it is lost, with nothing in it; the driver sees that by `take`, and fills it again.
    """

    def __init__(self) -> None:
        self._data: list[Any] = []
        self._ready = asyncio.Event()
        self._events: list[Event] = []
        self._stop = False
        self._saves = 0
        self._fatal: dict[str, str] | None = None

    async def put(self, event: Event) -> None:
        self._events.append(event)

    async def take(self) -> tuple[list[Event], bool]:
        """Events since the last call, and whether data were offered."""
        taken, self._events = self._events, []
        return taken, self._ready.is_set()

    async def stop(self) -> None:
        self._stop = True

    async def save(self) -> None:
        """Ask for a checkpoint, after which training goes on."""
        self._saves += 1

    async def wishes(self) -> tuple[bool, int]:
        """Whether a stop is asked for, and how many checkpoints were."""
        return self._stop, self._saves

    async def fail(self, error: dict[str, str]) -> None:
        """Note an error that another try would meet again; the first one counts."""
        self._fatal = self._fatal or error

    async def fatal(self) -> dict[str, str] | None:
        return self._fatal

    async def offer(self, data: list[Any]) -> None:
        """Give the workers their data: a reference in a list, which only who asks for it unpacks and imports for."""
        self._data = data
        self._ready.set()

    async def data(self) -> list[Any]:
        """What was offered, once it is."""
        await self._ready.wait()
        return self._data
