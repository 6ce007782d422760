"""Quality against diversity of text over temperatures: no single number says whether one generator beats another.

Whoever lowers the temperature buys quality with diversity, so that two generators are compared along their whole curves
(Caccia et al. 2020, arXiv 1811.02549). Several seeds of each say how far that goes beyond chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from gan_dist.errors import UsageError

DEFAULT = (0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0)
LEAST, MOST = 0.05, 20.0
STEPS = 21
KNOWN = (("bleu5", "self_bleu5"), ("nll_oracle", "nll"), ("lm", "reverse_lm"), ("fd", "duplicates"))
SURE = 0.95
MODEL, TWIN = "model", "twin"
Outcome = Literal["better", "worse", "undecided"]

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
        low, high: the range of quality that all curves reach; low >= high where they share none.
        model, twin: in how much of it each is the more diverse, in [0, 1]; of several seeds their mean curves.
        difference: diversity number of the model less the twin's, averaged over it.
        models, twins: how many seeds of each.
        margin: half of the interval that holds the true difference with a probability of 95 % (Welch 1947), by the
            spread over seeds; None where one of them has a single seed.
    """

    pair: CurveAxes
    low: float
    high: float
    model: float
    twin: float
    difference: float
    models: int = 1
    twins: int = 1
    margin: float | None = None

    @property
    def outcome(self) -> Outcome:
        """Whether the model is more diverse than its twin at equal quality, beyond the spread over seeds."""
        if self.low >= self.high or self.margin is None or abs(self.difference) <= self.margin:
            return "undecided"
        return "better" if self.difference < 0 else "worse"

    def __str__(self) -> str:
        quality, diversity = self.pair
        if self.low >= self.high:
            return f"the curves share no {quality}: widen the grid to compare {diversity} there"
        where = f"at equal {quality} ({self.low:.4g} to {self.high:.4g})"
        if 1 in (self.model, self.twin):
            who = "the model" if self.model == 1 else "the twin"
            return f"{where} {who} has the lower {diversity}, by {abs(self.difference):.4g} on average{self._seeds}"
        return (
            f"{where} neither has the lower {diversity} throughout: the model in {self.model:.0%} of the range, "
            f"the twin in {self.twin:.0%}; {self.difference:+.4g} on average{self._seeds}"
        )

    @property
    def _seeds(self) -> str:
        if self.models == self.twins == 1:
            return ""
        counted = f" ({self.models} and {self.twins} seeds"
        if self.margin is None:
            return f"{counted}; two or more of each would say how far they spread)"
        low, high = self.difference - self.margin, self.difference + self.margin
        return f"{counted}; with 95 % certainty between {low:+.4g} and {high:+.4g})"


def state_verdict(found: Sequence[CurveComparison]) -> str:
    """What the comparisons together say of the question whether the adversarial stage helps, in words."""
    question = "does the adversarial stage help?"
    compared = [one for one in found if one.low < one.high]
    if not compared:
        return f"{question} not to be told: the curves share no quality; widen the grid"
    by = {which: [one.pair.quality for one in compared if one.outcome == which] for which in ("better", "worse")}
    if any(one.margin is None for one in compared):
        return (
            f"{question} one seed cannot tell; train two more of the job and of its twin (-o seed=1, -o seed=2), then "
            "evaluate with --seeds"
        )
    words = {which: " and ".join(names) for which, names in by.items()}
    if by["better"] and by["worse"]:
        return f"{question} by some measures: more diverse at equal {words['better']}, less at equal {words['worse']}"
    if by["worse"]:
        return f"{question} no: its twin is more diverse at equal {words['worse']}"
    if len(by["better"]) == len(compared):
        return f"{question} yes: it is more diverse than its twin at equal {words['better']}"
    if by["better"]:
        return f"{question} at equal {words['better']}, and no difference beyond the spread over seeds elsewhere"
    return f"{question} not shown: no difference goes beyond the spread over seeds"


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
            "--temperature-grid shows bleu5 against self_bleu5, nll_oracle against nll, lm against reverse_lm, or fd "
            f"against duplicates, and no pair is measured ({', '.join(names)}); add --metric bleu --metric self_bleu, "
            "--metric nll_oracle --metric nll, or --metric lm --metric reverse_lm"
        )
    return found


def better_corner(pair: CurveAxes) -> Literal["right, down", "left, down"]:
    """Where the better points of a picture lie: a high BLEU is good, all other numbers are better when low."""
    return "right, down" if pair.quality.startswith("bleu") else "left, down"


def compare_curves(pair: CurveAxes, curves: Curves) -> CurveComparison:
    """Which of model and twin is more diverse at equal quality, by straight lines between their points.

    Args:
        curves: of each seed, by names that begin with `model` or `twin`.
    """
    lines = {
        side: [_line(pair, points) for which, points in curves.items() if which.partition(" ")[0] == side]
        for side in (MODEL, TWIN)
    }
    every = [line for side in lines.values() for line in side]
    low, high = max(line[0][0] for line in every), min(line[0][-1] for line in every)
    counts = {"models": len(lines[MODEL]), "twins": len(lines[TWIN])}
    if low >= high:
        return CurveComparison(pair=pair, low=low, high=high, model=0.0, twin=0.0, difference=0.0, **counts)
    at = np.linspace(low, high, STEPS)
    models, twins = (np.array([np.interp(at, *line) for line in lines[side]]) for side in (MODEL, TWIN))
    apart = models.mean(0) - twins.mean(0)
    return CurveComparison(
        pair=pair,
        low=low,
        high=high,
        model=float((apart < 0).mean()),
        twin=float((apart > 0).mean()),
        difference=float(apart.mean()),
        margin=_margin(models.mean(1), twins.mean(1)),
        **counts,
    )


def _margin(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    """Half of the 95 % interval of the difference of two means, whose spreads may differ (Welch 1947); None where a
    spread is not known."""
    if min(len(one), len(other)) < 2:
        return None
    parts = [side.var(ddof=1) / len(side) for side in (one, other)]
    if not (variance := sum(parts)):
        return 0.0
    freedom = variance**2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, (one, other), strict=True))
    return float(stdtrit(freedom, (1 + SURE) / 2) * variance**0.5)


def _line(pair: CurveAxes, points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A curve's qualities in rising order, and its diversities there."""
    both = np.array(sorted((values[pair.quality], values[pair.diversity]) for values in points.values()))
    return both[:, 0], both[:, 1]
