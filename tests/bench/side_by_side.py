"""Paired timings: two things measured in turn, A B A B ..., the ratio of each pair, and the median of the ratios."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median


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
