"""What is asked of `evaluate`, and its answer, as plain values that may travel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gan_dist.evaluation.held_out_overlap import HeldOutOverlap
from gan_dist.evaluation.nearest_neighbors import NearestNeighbors
from gan_dist.evaluation.temperature_sweep import CurveAxes, Curves
from gan_dist.spec.fields import Held


@dataclass(frozen=True)
class EvaluationRequest:
    """What is compared by which metrics.

    Attributes:
        a, b: run, checkpoint, exported generator, folder of images or file of sentences; b is a folder or file in place
            of the run's data, or of a file the run whose data it is compared with.
        metrics: their names; none for those of the job, or else all of ours that the data allow.
        n, features: samples of A, and what images are compared by, in place of what the metrics say.
        grid: inverse temperatures at which a run of text is measured beside 1.
        twin: another run of the same text, measured beside A.
        neighbours: whether samples are shown beside the real ones that are nearest.
        split: which sentences that nothing was learnt from text is compared with.
        tokens, lower: of two files of sentences, what a token is, and whether text becomes lower case.
    """

    a: str
    b: str | None = None
    metrics: Sequence[str] = ()
    n: int | None = None
    features: str | None = None
    grid: Sequence[float] = ()
    twin: str | None = None
    neighbours: bool = False
    split: Held = "test"
    tokens: str = "words"
    lower: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> EvaluationRequest:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class EvaluationResult:
    """Every number by its exact name, what was compared, samples in B, and samples that A's generator had seen.

    Attributes:
        real: of text, the same numbers of real sentences, where they make sense of these and are enough of them.
        twin: those of the twin.
        curves: all of them at each temperature, by `model` and `twin`; empty without a grid.
        pairs: names that make a curve of quality against diversity.
        neighbours: the nearest neighbours of A's samples in B, where they were asked for.
        warnings: what is to be known of the numbers.
        held: the sentences that nothing was learnt from and that were compared with; None where none were.
    """

    values: dict[str, float]
    a: str
    b: str
    reals: int
    seen: int | None
    real: dict[str, float]
    twin: dict[str, float]
    curves: Curves
    pairs: tuple[CurveAxes, ...]
    neighbours: NearestNeighbors | None
    warnings: tuple[str, ...]
    held: HeldOutOverlap | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them; without the picture of neighbours."""
        curves = {which: list(points.items()) for which, points in self.curves.items()}
        return {**vars(self), "curves": curves, "neighbours": None, "held": self.held and asdict(self.held)}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> EvaluationResult:
        curves = {which: {inverse: values for inverse, values in points} for which, points in plain["curves"].items()}
        pairs = tuple(CurveAxes(*pair) for pair in plain["pairs"])
        held = plain["held"] and HeldOutOverlap(**plain["held"])
        return cls(**plain | {"curves": curves, "pairs": pairs, "warnings": tuple(plain["warnings"]), "held": held})
