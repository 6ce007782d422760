"""Order among configurations that are judged by several metrics: less is better in each (Deb et al. 2002, NSGA-II)."""

from __future__ import annotations

import math
from collections.abc import Sequence

Costs = Sequence[float]


def dominates(one: Costs, other: Costs) -> bool:
    """Whether a configuration is at least as good in every metric and better in one."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def fronts(points: Sequence[Costs]) -> list[int]:
    """The front of each point: 1 for those that none dominates, 2 for those that only points of front 1 do, ..."""
    found = [0] * len(points)
    front, left = 0, list(range(len(points)))
    while left:
        front += 1
        best = [place for place in left if not any(dominates(points[other], points[place]) for other in left)]
        for place in best:
            found[place] = front
        left = [place for place in left if place not in best]
    return found


def distances(points: Sequence[Costs], front: Sequence[Costs]) -> list[float]:
    """How far each point lies from the ideal one, which has the lowest cost of the front in every metric, with each
    metric's range on the front as its unit."""
    ends = [(min(values), max(values)) for values in zip(*front, strict=True)]

    def share(value: float, low: float, high: float) -> float:
        return (value - low) / (high - low) if high > low else 0.0

    return [math.hypot(*(share(v, *end) for v, end in zip(point, ends, strict=True))) for point in points]
