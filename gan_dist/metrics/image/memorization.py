"""Whether samples are copies of training data."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK, MOST = 1024, 5000


class Memorization:
    """memorised: share of generated samples that are at most as far from their nearest training sample as the closest
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
    for start in range(0, len(rows), CHUNK):
        far = torch.cdist(rows[start : start + CHUNK].double(), among)
        if own is not None:
            far.scatter_(1, own[start : start + CHUNK, None], torch.inf)
        places.append(far.argmin(1))
    place = torch.cat(places)
    # cdist adds up squares and leaves a rest where rows are equal.
    return (rows.double() - among[place]).norm(dim=1), place
