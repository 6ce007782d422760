"""What metrics look at: features [N, d] of one set of samples, or sums of them, collected in pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Sum = Callable[[Tensor], Tensor]
MOST_BYTES = 4 << 30


def _check_room(numbers: int, what: str) -> None:
    """Raises ValueError where so many numbers in float64 take too much memory."""
    if (size := 8 * numbers) > MOST_BYTES:
        raise ValueError(
            f"{what} take {size / 2**30:.0f} GiB; use features of fewer dimensions, such as random or classifier"
        )


class Moments:
    """Count, sum and sum of outer products of features, in float64. However they come in pieces, the result is one."""

    def __init__(self, count: int, total: Tensor, outer: Tensor) -> None:
        self.count, self.total, self.outer = count, total, outer

    @classmethod
    def empty(cls, dim: int, device: torch.device) -> Moments:
        """Of no features yet.

        Raises:
            ValueError: they would take too much memory.
        """
        _check_room(dim * (dim + 1), f"moments of {dim} features")
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


class ClassMoments:
    """Those of each class."""

    def __init__(self, counts: Tensor, totals: Tensor, outers: Tensor) -> None:
        self.counts, self.totals, self.outers = counts, totals, outers

    @classmethod
    def empty(cls, classes: int, dim: int, device: torch.device) -> ClassMoments:
        """Of no features yet.

        Raises:
            ValueError: they would take too much memory.
        """
        _check_room(classes * dim * (dim + 1), f"moments of {dim} features for {classes} classes")
        zeros = torch.zeros(classes, dim + 1, dim, dtype=torch.float64, device=device)
        return cls(torch.zeros(classes, dtype=torch.float64, device=device), zeros[:, 0], zeros[:, 1:])

    def add(self, start: int, features: Tensor, labels: Tensor) -> None:
        """Take in features [B, d] of samples of classes [B]."""
        for label in sorted(set(labels.tolist())):
            exact = features[labels.to(features.device) == label].double()
            self.counts[label] += len(exact)
            self.totals[label] += exact.sum(0)
            self.outers[label] += exact.T @ exact

    def summed(self, over: Sum) -> ClassMoments:
        """Those of all workers."""
        return ClassMoments(over(self.counts), over(self.totals.contiguous()), over(self.outers.contiguous()))

    def each(self) -> list[Moments]:
        """The moments, class by class."""
        parts = zip(self.counts.tolist(), self.totals, self.outers, strict=True)
        return [Moments(round(count), total, outer) for count, total, outer in parts]

    def state(self) -> dict[str, Tensor]:
        """What a file holds."""
        return {"counts": self.counts, "totals": self.totals, "outers": self.outers}

    @classmethod
    def from_state(cls, state: dict[str, Tensor], device: torch.device) -> ClassMoments:
        return cls(*(state[name].to(device) for name in ("counts", "totals", "outers")))


class PairwiseDistances:
    """Count, sum and sum of squares of features in float64, which is all that the mean distance of pairs needs."""

    def __init__(self, count: int, total: Tensor, squares: Tensor) -> None:
        self.count, self.total, self.squares = count, total, squares

    @classmethod
    def empty(cls, dim: int, device: torch.device) -> PairwiseDistances:
        """Of no features yet."""
        zeros = torch.zeros(dim + 1, dtype=torch.float64, device=device)
        return cls(0, zeros[1:], zeros[0])

    def add(self, start: int, features: Tensor) -> None:
        """Take in features [B, d] of the samples from `start` on."""
        self.count += len(features)
        self.total += features.sum(0, dtype=torch.float64)
        self.squares += features.double().square().sum()

    def summed(self, over: Sum) -> PairwiseDistances:
        """That of all workers."""
        count = torch.tensor([float(self.count)], dtype=torch.float64, device=self.total.device)
        flat = over(torch.cat([count, self.squares.view(1), self.total]))
        return PairwiseDistances(round(flat[0].item()), flat[2:], flat[1])

    @property
    def of_pairs(self) -> float:
        """Mean squared distance over all pairs of different samples: twice the sum of the features' variances."""
        about = self.squares / self.count - (self.total / self.count).square().sum()
        return float(2 * about * self.count / (self.count - 1))

    def state(self) -> dict[str, Tensor]:
        """What a file holds."""
        return {"count": torch.tensor([self.count]), "total": self.total, "squares": self.squares}

    @classmethod
    def from_state(cls, state: dict[str, Tensor], device: torch.device) -> PairwiseDistances:
        return cls(int(state["count"]), state["total"].to(device), state["squares"].to(device))


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


class LabelledRows:
    """Features of any shape with the class of each sample, at its place; a worker's others are zero until summed."""

    def __init__(self, rows: Tensor, labels: Tensor) -> None:
        self.rows, self.labels = rows, labels

    @classmethod
    def empty(cls, count: int, shape: Sequence[int], device: torch.device) -> LabelledRows:
        return cls(torch.zeros(count, *shape, device=device), torch.zeros(count, dtype=torch.int64, device=device))

    @property
    def count(self) -> int:
        return len(self.labels)

    def add(self, start: int, features: Tensor, labels: Tensor) -> None:
        """Take in features [B, ...] of samples of classes [B] from `start` on."""
        self.rows[start : start + len(features)] = features
        self.labels[start : start + len(features)] = labels.to(self.labels.device)

    def at(self, places: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Features and classes of some samples."""
        chosen = torch.from_numpy(places).to(self.labels.device)
        return self.rows[chosen], self.labels[chosen]

    def summed(self, over: Sum) -> LabelledRows:
        """Those of all workers."""
        return LabelledRows(over(self.rows), over(self.labels))

    def state(self) -> dict[str, Tensor]:
        """What a file holds."""
        return {"rows": self.rows, "labels": self.labels}

    @classmethod
    def from_state(cls, state: dict[str, Tensor], device: torch.device) -> LabelledRows:
        return cls(state["rows"].to(device), state["labels"].to(device))
