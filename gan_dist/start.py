"""Where a fresh run takes its first weights from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Start:
    """Weights of another run.

    Args:
        folder: a checkpoint's, as a URI.
        only: the networks that are taken from there; all of the job's that it has, where there are none.
    """

    folder: str
    only: tuple[str, ...] = ()

    def takes(self, network: str) -> bool:
        return not self.only or network in self.only
