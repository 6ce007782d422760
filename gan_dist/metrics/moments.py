"""What metrics look at: features [N, d] of one set of samples, or their mean and covariance, collected in pieces."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Sum = Callable[[Tensor], Tensor]


class Moments:
    """Count, sum and sum of outer products of features, in float64. However they come in pieces, the result is one."""

    def __init__(self, count: int, total: Tensor, outer: Tensor) -> None:
        self.count, self.total, self.outer = count, total, outer

    @classmethod
    def empty(cls, dim: int, device: torch.device) -> Moments:
        """Of no features yet."""
        zeros = torch.zeros(dim + 1, dim, dtype=torch.float64, device=device)
        return cls(0, zeros[0], zeros[1:])

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Of features [N, d]."""
        moments = cls.empty(features.shape[1], features.device)
        moments.add(0, features)
        return moments

    def add(self, start: int, features: Tensor) -> None:
        """Take in features [B, d] of the samples from `start` on."""
        exact = features.double()
        self.count += len(exact)
        self.total += exact.sum(0)
        self.outer += exact.T @ exact

    def summed(self, over: Sum) -> Moments:
        """Those of all workers."""
        count = torch.tensor([float(self.count)], dtype=torch.float64, device=self.total.device)
        flat = over(torch.cat([count, self.total, self.outer.flatten()]))
        dim = len(self.total)
        return Moments(round(flat[0].item()), flat[1 : dim + 1], flat[dim + 1 :].view(dim, dim))

    @property
    def mean(self) -> Tensor:
        """[d]."""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """[d, d], unbiased."""
        return (self.outer - self.count * torch.outer(self.mean, self.mean)) / (self.count - 1)

    def state(self) -> dict[str, Tensor]:
        """What a file holds."""
        return {"count": torch.tensor([self.count]), "total": self.total, "outer": self.outer}

    @classmethod
    def from_state(cls, state: dict[str, Tensor], device: torch.device) -> Moments:
        return cls(int(state["count"]), state["total"].to(device), state["outer"].to(device))


class FeatureRows:
    """The features themselves, each at its sample's place; a worker's others are zero until they are summed."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    @classmethod
    def empty(cls, count: int, dim: int, device: torch.device) -> FeatureRows:
        return cls(torch.zeros(count, dim, device=device))

    def add(self, start: int, features: Tensor) -> None:
        """Take in features [B, d] of the samples from `start` on."""
        self.rows[start : start + len(features)] = features

    def summed(self, over: Sum) -> FeatureRows:
        """Those of all workers."""
        return FeatureRows(over(self.rows))

    def state(self) -> dict[str, Tensor]:
        """What a file holds."""
        return {"rows": self.rows}

    @classmethod
    def from_state(cls, state: dict[str, Tensor], device: torch.device) -> FeatureRows:
        return cls(state["rows"].to(device))
