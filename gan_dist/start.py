"""Where a fresh run takes its first weights from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Start:
    """Weights of another run.

    Args:
        folder: a checkpoint's, as a URI.
        only: the networks that are taken from there; all of the job's that it has, where there are none.
    """

    folder: str
    only: tuple[str, ...] = ()

    @classmethod
    def read(cls, told: Mapping[str, Any] | None) -> Start | None:
        """What a request's JSON says."""
        return None if told is None else cls(told["folder"], tuple(told["only"]))

    def takes(self, network: str) -> bool:
        return not self.only or network in self.only
