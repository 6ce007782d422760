"""The Fréchet distance class by class (Ravuri and Vinyals 2019, arXiv 1905.10887, call its like conditional FID)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gan_dist.metrics.image.frechet import frechet_distance
from gan_dist.metrics.statistics import ClassMoments

EXPECTED = 10


class ClassFrechet:
    """Mean over classes of the Fréchet distance between a class's real and generated features: one that makes good
    images of the wrong class is found out. NaN where a class has fewer than two samples.

    Args:
        class_counts: real samples of each class.
    """

    values = ("class_fd",)
    needs = "classes"

    def __init__(self, *, class_counts: Sequence[int]) -> None:
        if not class_counts:
            raise ValueError("'class_frechet' compares class by class, and the data have no classes; set data.labels")
        if min(class_counts) < 2:
            raise ValueError("'class_frechet' needs two real samples of each class, and one class has fewer")
        self.counts = class_counts

    @property
    def least(self) -> int:
        """So many that ten of the rarest class may be expected."""
        return math.ceil(EXPECTED * sum(self.counts) / min(self.counts))

    def compare(self, real: ClassMoments, fake: ClassMoments) -> dict[str, float]:
        distances = [
            frechet_distance(one.mean, one.covariance, other.mean, other.covariance)
            if min(one.count, other.count) > 1
            else math.nan
            for one, other in zip(real.each(), fake.each(), strict=True)
        ]
        return {"class_fd": sum(distances) / len(distances)}
