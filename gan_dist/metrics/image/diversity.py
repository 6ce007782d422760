"""How different samples are from each other (Zhu et al. 2017, arXiv 1711.11586, by LPIPS)."""

from __future__ import annotations

from gan_dist.metrics.statistics import PairwiseDistances


class Diversity:
    """Mean squared distance of the features of two samples, over all pairs. By features `lpips` this is the mean LPIPS
    of all pairs. diversity_of_real: the same of as many training samples, for comparison.
    """

    values = ("diversity", "diversity_of_real")
    needs = "spread"

    def compare(self, real: PairwiseDistances, fake: PairwiseDistances) -> dict[str, float]:
        return {"diversity": fake.of_pairs, "diversity_of_real": real.of_pairs}
