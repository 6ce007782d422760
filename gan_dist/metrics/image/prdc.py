"""Precision and recall (Kynkaanniemi et al. 2019, arXiv 1904.06991), density and coverage (Naeem et al. 2020,
arXiv 2002.09797)."""

from __future__ import annotations

import torch
from torch import Tensor

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
        precise, dense, recalled, covered = [], [], [], torch.zeros_like(reach_real, dtype=torch.bool)
        for rows in torch.split(fake, CHUNK):
            inside = torch.cdist(rows, real) <= reach_real
            precise.append(inside.any(1))
            dense.append(inside.sum(1))
            covered |= inside.any(0)
        for rows in torch.split(real, CHUNK):
            recalled.append((torch.cdist(rows, fake) <= reach_fake).any(1))
        return {
            "precision": float(torch.cat(precise).double().mean()),
            "recall": float(torch.cat(recalled).double().mean()),
            "density": float(torch.cat(dense).double().mean() / self.k),
            "coverage": float(covered.double().mean()),
        }


def knn_radii(rows: Tensor, k: int) -> Tensor:
    """Distance of each row of [N, d] to its k-th nearest other row, [N]."""
    # The nearest of all is the row itself.
    return torch.cat([torch.cdist(part, rows).kthvalue(k + 1, dim=1).values for part in torch.split(rows, CHUNK)])
