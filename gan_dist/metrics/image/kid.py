"""Kernel inception distance (Binkowski et al. 2018, arXiv 1801.01401)."""

from __future__ import annotations

from torch import Tensor

BLOCKS = 10


class Kid:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y/d + 1)^3 (section 4 of the paper).

    Both sets are cut into ten blocks. The mean of the blocks' estimates is unbiased whatever their size; since they
    share no sample, their spread gives the standard error.
    """

    values = ("kid", "kid_se")
    needs = "rows"
    least = 2 * BLOCKS

    def compare(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        pairs = zip(real.double().tensor_split(BLOCKS), fake.double().tensor_split(BLOCKS), strict=True)
        estimates = [squared_mmd(*pair) for pair in pairs]
        mean = sum(estimates) / BLOCKS
        variance = sum((one - mean) ** 2 for one in estimates) / (BLOCKS - 1)
        return {"kid": mean, "kid_se": float((variance / BLOCKS) ** 0.5)}


def squared_mmd(real: Tensor, fake: Tensor) -> float:
    """The unbiased estimate (equation 4 of the paper) from [N, d] and [M, d]; a sample is never paired with itself."""
    within = _mean_of_pairs(real) + _mean_of_pairs(fake)
    return float(within - 2 * _kernel(real, fake).mean())


def _mean_of_pairs(rows: Tensor) -> Tensor:
    count, kernel = len(rows), _kernel(rows, rows)
    return (kernel.sum() - kernel.trace()) / (count * (count - 1))


def _kernel(one: Tensor, other: Tensor) -> Tensor:
    return (one @ other.T / one.shape[1] + 1) ** 3
