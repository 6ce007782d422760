"""Fréchet distance between two Gaussians fitted to features (Heusel et al. 2017, arXiv 1706.08500, equation 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from gan_dist.metrics.statistics import ClassMoments, Moments


class Frechet:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of the means and covariances of real and generated features."""

    published: ClassVar = {"fd": "fid"}
    values = ("fd",)
    needs = "moments"
    least = 2

    def compare(self, real: Moments, fake: Moments) -> dict[str, float]:
        return {"fd": frechet_distance(real.mean, real.covariance, fake.mean, fake.covariance)}


def frechet_distance(mean_1: Tensor, covariance_1: Tensor, mean_2: Tensor, covariance_2: Tensor) -> float:
    """Squared Fréchet (2-Wasserstein) distance of two Gaussians, float64 [d] and [d, d]; NaN for what is not finite.

    The trace of (C1 C2)^(1/2) is the sum of the square roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is
    symmetric: nothing turns complex, and covariances of deficient rank need no help.
    """
    if not all(torch.isfinite(one).all() for one in (mean_1, covariance_1, mean_2, covariance_2)):
        return math.nan
    eigenvalues, vectors = torch.linalg.eigh(covariance_1)
    root = vectors * eigenvalues.clamp_min(0).sqrt()
    cross = torch.linalg.eigvalsh(root.T @ covariance_2 @ root).clamp_min(0).sqrt().sum()
    between = (mean_1 - mean_2).square().sum()
    return max(0.0, float(between + covariance_1.trace() + covariance_2.trace() - 2 * cross))


EXPECTED = 10


class ClassFrechet:
    """The Fréchet distance class by class (Ravuri and Vinyals 2019, arXiv 1905.10887, call its like conditional FID).

    Mean over classes of the Fréchet distance between a class's real and generated features: one that makes good
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
