"""Ending what is worse than half of the others (the median rule of Golovin et al. 2017, "Google Vizier")."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

Course = Sequence[tuple[int, float]]
FEWEST = 3


def is_below_median(course: Course, others: Sequence[Course], first: int, mode: str) -> bool:
    """Whether the best of a trial's values so far is worse than the median of the others' running averages there.

    Args:
        course: (samples seen, value) of the trial, up to now.
        others: the same of trials that have ended.
        first: samples before which nothing is ended.
        mode: "min" or "max".
    """
    if not course or course[-1][0] < first:
        return False
    seen = course[-1][0]
    averages = [statistics.fmean(values) for other in others if (values := [v for at, v in other if at <= seen])]
    if len(averages) < FEWEST:
        return False
    values = [value for _, value in course]
    middle = statistics.median(averages)
    return min(values) > middle if mode == "min" else max(values) < middle
