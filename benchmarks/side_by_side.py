"""Paired timings: two things measured in turn, A B A B ..., the ratio of each pair, and the median of the ratios."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import NamedTuple


class Rates(NamedTuple):
    """Things per second, or seconds each, by the clock and by CPU time: of the process that used most, or of all of
    them where a benchmark says so."""

    wall: float
    cpu: float


def compare(name: str, ours: Callable[[], float], theirs: Callable[[], float], repeats: int, unit: str) -> float:
    """Print each pair and the median ratio ours / theirs, which is returned."""
    ratios = []
    for number in range(repeats):
        other, own = theirs(), ours()
        ratios.append(own / other)
        print(
            f"{name} {number + 1}: ours {own:.4g} {unit}, other {other:.4g} {unit}, ratio {ratios[-1]:.3f}", flush=True
        )
    print(f"{name}: median ratio {median(ratios):.3f} over {repeats} pairs")
    return median(ratios)


def compare_rates(name: str, ours: Callable[[], Rates], theirs: Callable[[], Rates], repeats: int, unit: str) -> None:
    """The same by either clock, of the same pairs."""
    pairs = [(ours(), theirs()) for _ in range(repeats)]
    for by in Rates._fields:
        own, other = (iter([getattr(pair[side], by) for pair in pairs]) for side in (0, 1))
        compare(f"{name} by {by}", own.__next__, other.__next__, repeats, unit)
