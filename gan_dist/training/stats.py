"""Numbers of training, gathered on the device as (sum, weight) and reduced over workers once per report."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

FOLD = 256


class Stats:
    """Means since the last report. Nothing is read from the device before `means`.

    Every worker adds the same names in the same iterations.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._sums: dict[str, list[Tensor]] = {}
        self._weights: dict[str, float | Tensor] = {}
        # By name, for each phase of the iteration before this one and of this one.
        self._before: list[dict[str, list[Tensor]]] = []
        self._now: list[dict[str, list[Tensor]]] = [{}]

    def add(self, name: str, total: Tensor, weight: float | Tensor) -> None:
        """Add a sum over `weight` things (samples, pixels, steps)."""
        value = total.detach()
        values = self._sums.setdefault(name, [])
        values.append(value)
        self._now[-1].setdefault(name, []).append(value)
        self._weights[name] = self._weights.get(name, 0.0) + weight
        if len(values) == FOLD:
            self._sums[name] = [_sum(values)]

    def means(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The mean of each name over all workers since the last call; starts over."""
        names = sorted(self._sums)
        if not names:
            return {}
        sums = torch.stack([_sum(self._sums[name]) for name in names])
        counts = [self._weights[name] for name in names]
        weights = torch.stack([torch.as_tensor(one, dtype=torch.float64, device=self.device) for one in counts])
        both = reduce(torch.stack([sums, weights])).tolist()
        self._sums, self._weights = {}, {}
        return {name: total / weight if weight else 0.0 for name, total, weight in zip(names, *both, strict=True)}

    def next_phase(self) -> None:
        """A phase is over."""
        self._now.append({})

    def next_iteration(self) -> None:
        """An iteration is over: its values are kept for one more, in which the workers' verdict on it is read."""
        self._before, self._now = self._now, [{}]

    def not_finite(self, reduce: Callable[[Tensor], Tensor]) -> list[str]:
        """What was NaN or infinite on any worker in the first phase that had such, in the order it was added: after a
        bad step everything is bad and says nothing. Every worker must call this."""
        for values in filter(None, self._before + self._now):
            flags = torch.stack([(~torch.isfinite(_sum(each))).double() for each in values.values()])
            if named := [name for name, flag in zip(values, reduce(flags).tolist(), strict=True) if flag]:
                return named
        return []


def _sum(values: list[Tensor]) -> Tensor:
    return torch.stack([value.double() for value in values]).sum()


def memory_gib(device: torch.device) -> float:
    """Peak memory of the device, or of this process on a CPU, in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import psutil

    return float(psutil.Process().memory_info().rss / 2**30)
