"""Quality against diversity of text over temperatures: no single number says whether one generator beats another.

Whoever lowers the temperature buys quality with diversity, so that two generators are compared along their whole curves
(Caccia et al. 2020, arXiv 1811.02549).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gan_dist.errors import UsageError

DEFAULT = (0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0)
LEAST, MOST = 0.05, 20.0
STEPS = 21
KNOWN = (("bleu5", "self_bleu5"), ("nll_oracle", "nll"), ("lm", "reverse_lm"))

Points = Mapping[float, Mapping[str, float]]
Curves = Mapping[str, Points]


class CurveAxes(NamedTuple):
    """Exact names of a number for quality, and of one for diversity that is better when lower."""

    quality: str
    diversity: str


@dataclass(kw_only=True, frozen=True)
class CurveComparison:
    """Model and twin at equal quality.

    Attributes:
        pair: what was compared.
        low, high: the range of quality that both curves reach; equal where they share none.
        model, twin: in how much of it each is the more diverse, in [0, 1].
        difference: diversity number of the model less the twin's, averaged over it.
    """

    pair: CurveAxes
    low: float
    high: float
    model: float
    twin: float
    difference: float

    def __str__(self) -> str:
        quality, diversity = self.pair
        if self.low >= self.high:
            return f"the curves share no {quality}: widen the grid to compare {diversity} there"
        where = f"at equal {quality} ({self.low:.4g} to {self.high:.4g})"
        if 1 in (self.model, self.twin):
            who = "the model" if self.model == 1 else "the twin"
            return f"{where} {who} has the lower {diversity}, by {abs(self.difference):.4g} on average"
        return (
            f"{where} neither has the lower {diversity} throughout: the model in {self.model:.0%} of the range, "
            f"the twin in {self.twin:.0%}; {self.difference:+.4g} on average"
        )


def parse_temperatures(text: str) -> tuple[float, ...]:
    """Inverse temperatures from a list with commas, in rising order.

    Raises:
        ValueError: one is no number, or out of range.
    """
    found = []
    for word in text.split(","):
        try:
            value = float(word)
        except ValueError:
            raise UsageError(f"--inverse-temperatures: {word!r} is no number; write 0.7,1,1.3") from None
        if not LEAST <= value <= MOST:
            raise UsageError(f"--inverse-temperatures: {word.strip()} must be in [{LEAST:g}, {MOST:g}]")
        found.append(value)
    return tuple(sorted(set(found)))


def curves_of(names: Mapping[str, str]) -> tuple[CurveAxes, ...]:
    """The curves that can be drawn.

    Args:
        names: exact name -> value of what is measured.

    Raises:
        ValueError: there is none.
    """
    by_value = {value: name for name, value in reversed(list(names.items()))}
    found = tuple(CurveAxes(by_value[one], by_value[other]) for one, other in KNOWN if {one, other} <= by_value.keys())
    if not found:
        raise UsageError(
            "--temperature-grid shows bleu5 against self_bleu5, nll_oracle against nll, or lm against reverse_lm, "
            f"and no pair is measured ({', '.join(names)}); add --metric bleu --metric self_bleu, "
            "--metric nll_oracle --metric nll, or --metric lm --metric reverse_lm"
        )
    return found


def better_corner(pair: CurveAxes) -> Literal["right, down", "left, down"]:
    """Where the better points of a picture lie: a high BLEU is good, all other numbers are better when low."""
    return "right, down" if pair.quality.startswith("bleu") else "left, down"


def compare_curves(pair: CurveAxes, curves: Curves) -> CurveComparison:
    """Which of `model` and `twin` is more diverse at equal quality, by straight lines between their points."""
    model, twin = (_line(pair, curves[which]) for which in ("model", "twin"))
    low, high = max(model[0][0], twin[0][0]), min(model[0][-1], twin[0][-1])
    if low >= high:
        return CurveComparison(pair=pair, low=low, high=low, model=0.0, twin=0.0, difference=0.0)
    at = np.linspace(low, high, STEPS)
    apart = np.interp(at, *model) - np.interp(at, *twin)
    return CurveComparison(
        pair=pair,
        low=low,
        high=high,
        model=float((apart < 0).mean()),
        twin=float((apart > 0).mean()),
        difference=float(apart.mean()),
    )


def _line(pair: CurveAxes, points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A curve's qualities in rising order, and its diversities there."""
    both = np.array(sorted((values[pair.quality], values[pair.diversity]) for values in points.values()))
    return both[:, 0], both[:, 1]
