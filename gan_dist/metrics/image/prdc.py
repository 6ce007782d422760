"""Precision and recall (Kynkaanniemi et al. 2019, arXiv 1904.06991), density and coverage (Naeem et al. 2020,
arXiv 2002.09797)."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_dist.metrics.statistics import PairwiseDistances

CHUNK = 1024


class Prdc:
    """Quality and variety apart, from balls around samples that reach to the k-th nearest of their own set.

    precision: share of generated samples inside some real sample's ball.
    recall: share of real samples inside some generated sample's ball.
    density: in how many real balls a generated sample lies on average, over k; may exceed 1.
    coverage: share of real samples whose ball holds a generated one.

    Args:
        k: neighbours that a ball reaches to; 5 in Naeem et al., 3 in Kynkaanniemi et al.
    """

    values = ("precision", "recall", "density", "coverage")
    needs = "rows"

    def __init__(self, *, k: int = 5) -> None:
        if k < 1:
            raise ValueError(f"k: {k} is out of range; must be at least 1")
        self.k = k

    @property
    def least(self) -> int:
        """A sample and its k neighbours."""
        return self.k + 1

    def compare(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        real, fake = real.double(), fake.double()
        reach_real, reach_fake = knn_radii(real, self.k), knn_radii(fake, self.k)
        around, covered = [], torch.zeros_like(reach_real, dtype=torch.bool)
        recalled = torch.zeros_like(covered)
        for rows, reach in zip(torch.split(fake, CHUNK), torch.split(reach_fake, CHUNK), strict=True):
            far = torch.cdist(rows, real)
            inside = far <= reach_real
            around.append(inside.sum(1))
            covered |= inside.any(0)
            recalled |= (far <= reach[:, None]).any(0)
        balls = torch.cat(around).double()  # of real samples, around each generated one
        return {
            "precision": float((balls > 0).double().mean()),
            "recall": float(recalled.double().mean()),
            "density": float(balls.mean() / self.k),
            "coverage": float(covered.double().mean()),
        }


def knn_radii(rows: Tensor, k: int) -> Tensor:
    """Distance of each row of [N, d] to its k-th nearest other row, [N]."""
    # The nearest of all is the row itself. `kthvalue` takes seven times as long as the few smallest.
    parts = (torch.cdist(part, rows).topk(k + 1, largest=False) for part in torch.split(rows, CHUNK))
    return torch.cat([part.values[:, -1] for part in parts])


MEMORIZATION_CHUNK, MOST = 1024, 5000


class Memorization:
    """Whether samples are copies of training data.

    memorised: share of generated samples that are at most as far from their nearest training sample as the closest
    `quantile` of training samples are from their nearest other one. About `quantile` for new samples of the same
    distribution, 1 for copies, and, like precision, small for bad samples.
    nearest: median distance of generated samples from their nearest training sample, over that of training samples.

    Args:
        quantile: share of training samples that are that close to another one.
    """

    values = ("memorised", "nearest")
    needs = "all"

    def __init__(self, *, quantile: float = 0.01) -> None:
        if not 0 < quantile < 1:
            raise ValueError(f"quantile: {quantile} is out of range; must be between 0 and 1")
        self.quantile = quantile

    def compare(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        among = leave_one_out_distances(real)
        found, _ = nearest_distances(fake, real)
        close = torch.quantile(among, self.quantile)
        return {
            "memorised": float((found <= close).double().mean()),
            "nearest": float(found.median() / among.median()),
        }


def leave_one_out_distances(rows: Tensor) -> Tensor:
    """Distances of rows [N, d] from their nearest other row; of at most 5000 evenly spaced ones among all."""
    step = -(-len(rows) // MOST)
    return nearest_distances(rows[::step], rows, own=torch.arange(0, len(rows), step, device=rows.device))[0]


def nearest_distances(rows: Tensor, among: Tensor, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Distance and place of the row of [M, d] that is nearest to each of [N, d], in float64; 0 for equal ones.

    Args:
        own: the place of each row itself in `among`, which does not count.
    """
    among, places = among.double(), []
    for start in range(0, len(rows), MEMORIZATION_CHUNK):
        far = torch.cdist(rows[start : start + MEMORIZATION_CHUNK].double(), among)
        if own is not None:
            far.scatter_(1, own[start : start + MEMORIZATION_CHUNK, None], torch.inf)
        places.append(far.argmin(1))
    place = torch.cat(places)
    # cdist adds up squares and leaves a rest where rows are equal.
    return (rows.double() - among[place]).norm(dim=1), place


class Diversity:
    """How different samples are from each other (Zhu et al. 2017, arXiv 1711.11586, by LPIPS).

    Mean squared distance of the features of two samples, over all pairs. By features `lpips` this is the mean LPIPS
    of all pairs. diversity_of_real: the same of as many training samples, for comparison.
    """

    values = ("diversity", "diversity_of_real")
    needs = "spread"

    def compare(self, real: PairwiseDistances, fake: PairwiseDistances) -> dict[str, float]:
        return {"diversity": fake.of_pairs, "diversity_of_real": real.of_pairs}
