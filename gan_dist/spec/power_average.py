"""Averages of weights by a power of time (Karras et al. 2024, arXiv 2312.02696, section 3 and appendix C).

At time t a weight of time s counts as (exponent + 1) s^exponent / t^(exponent + 1). The width of this profile is a
fixed part of t, `sigma`. So an average never has to know how long the run will be, and averages of few widths, stored
at many times, can be combined to that of any other width.
"""

from __future__ import annotations

import math

WIDEST = 1 / math.sqrt(12)  # that of the plain mean; beyond, early weights would count more than late ones
NARROWEST = 1e-4


def width_of(exponent: float) -> float:
    """The standard deviation of the profile, as a part of its time (equation 123)."""
    return math.sqrt((exponent + 1) / ((exponent + 2) ** 2 * (exponent + 3)))


def exponent_of(sigma: float) -> float:
    """The exponent whose profile has this width (equation 126, by bisection).

    Raises:
        ValueError: it is out of range.
    """
    if not NARROWEST <= sigma <= round(WIDEST, 4):  # as the message shows it
        raise ValueError(
            f"sigma: {sigma:g} must be in [{NARROWEST:g}, 1/sqrt(12) = {WIDEST:.4f}], which is the width of the plain "
            "mean; 0.05 and 0.10 are usual"
        )
    if sigma >= WIDEST:
        return 0.0
    low, high = 0.0, 2 / sigma
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if width_of(middle) > sigma else (low, middle)
    return middle


def kept_share(exponent: float, batch: int, seen: int) -> float:
    """How much of the average stays in the iteration of `batch` samples that ends at `seen` (equation 127)."""
    return float((1 - batch / seen) ** (exponent + 1))


def inner_product(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The integral of the product of two profiles, each (exponent, time > 0) (equation 151)."""
    (early, start), (late, end) = sorted((one, other), key=lambda profile: profile[1])
    return float((early + 1) * (late + 1) * (start / end) ** late / ((early + late + 1) * end))
