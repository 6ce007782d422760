"""Features of a small network that was trained to tell the data's own classes apart."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

Rows = Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]
BATCH, HELD_OUT, SEED = 64, 10, 2015
FEWEST_STEPS, MOST_STEPS, EPOCHS = 200, 3000, 15


class DigitClassifier(nn.Module):
    """Four convolutions and two layers; the features are the 128 units before the classes, with mean square 1.

    Args:
        channels: 1 or 3.
        classes: how many there are; at least 2.
    """

    scale: Tensor

    def __init__(self, *, channels: int, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError("features 'classifier' learns from labels, and the data have none; use features: random")
        widths = (channels, 32, 64, 128, 128)
        pairs = itertools.pairwise(widths)
        self.convolutions = nn.ModuleList(nn.Conv2d(inner, outer, 3, padding=1) for inner, outer in pairs)
        self.hidden = nn.Linear(128 * 4, 128)
        self.last = nn.Linear(128, classes)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] to features [B, 128]."""
        return self._units(pixels) * self.scale

    def logits(self, features: Tensor) -> Tensor:
        """Features [B, 128] to scores of the classes, [B, classes]."""
        return torch.as_tensor(self.last(features.to(self.scale.dtype) / self.scale))

    def _units(self, pixels: Tensor) -> Tensor:
        x = pixels.float() / 127.5 - 1
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
            x = F.max_pool2d(x, 2) if x.shape[-1] >= 4 else x
        return F.relu(self.hidden(F.adaptive_avg_pool2d(x, 2).flatten(1)))

    def fit(self, rows: Rows, count: int) -> dict[str, float]:
        """Train on nine tenths of the data; `accuracy` on the tenth that was held out.

        Args:
            rows: pixels uint8 [n, C, H, W] and labels [n] at positions.
            count: positions there are.
        """
        shuffle = np.random.RandomState(SEED)
        order = shuffle.permutation(count)
        held, kept = np.split(order, [max(1, count // HELD_OUT)])
        steps = min(MOST_STEPS, max(FEWEST_STEPS, EPOCHS * len(kept) // BATCH))
        optimizer = torch.optim.Adam(self.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        with torch.enable_grad():
            for _ in range(steps):
                pixels, labels = self._at(rows, np.sort(shuffle.choice(kept, min(BATCH, len(kept)), replace=False)))
                optimizer.zero_grad()
                F.cross_entropy(self.last(self._units(pixels)), labels).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
        return {"accuracy": self._settle(rows, held)}

    @torch.no_grad()
    def _settle(self, rows: Rows, positions: NDArray[np.int64]) -> float:
        """Set the features' scale by samples that were not trained on; the share of them that is told right."""
        right, squares = 0, 0.0
        for part in np.array_split(positions, -(-len(positions) // 256)):
            pixels, labels = self._at(rows, part)
            units = self._units(pixels)
            squares += float(units.square().mean()) * len(part)
            right += int((self.last(units).argmax(1) == labels).sum())
        self.scale.fill_((len(positions) / squares) ** 0.5)
        return right / len(positions)

    def _at(self, rows: Rows, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        pixels, labels = rows(positions)
        device = self.last.weight.device
        return pixels.to(device), labels.to(device)
