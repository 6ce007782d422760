"""Features of small networks that were trained on the data: with a fixed budget from a fixed seed, the same for all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gan_dist.distributed.first_weights import first_weights

SEED, HELD_OUT = 2015, 10
BATCH, EPOCHS, LR, CLIP = 64, 10, 5e-3, 5.0


def split_held_out(count: int) -> NDArray[np.int64]:
    """The positions among `count` that metrics train nothing on: a tenth, in the order in which they were drawn."""
    return np.random.RandomState(SEED).permutation(count)[: tenth(count)]


def tenth(count: int) -> int:
    """How many those are."""
    return max(1, count // HELD_OUT)


def fit_classifier(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[NDArray[np.int64]], Tensor],
    positions: NDArray[np.int64],
    most: int,
) -> int:
    """Minimise a loss by Adam, at a rate that falls to 0 as a cosine, over ten epochs of batches of 64, or `most`
    batches if that is fewer. How many there were.

    Args:
        parameters: what is trained.
        loss: of the samples at some positions, in rising order.
        positions: all that it may be asked of.
        most: batches.
    """
    steps = min(most, max(1, EPOCHS * len(positions) // BATCH))
    trained, choice = list(parameters), np.random.RandomState(SEED)
    optimizer = torch.optim.Adam(trained, lr=LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.enable_grad():
        for _ in range(steps):
            chosen = np.sort(choice.choice(positions, min(BATCH, len(positions)), replace=False))
            optimizer.zero_grad()
            loss(chosen).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained, CLIP)
            optimizer.step()
            schedule.step()
    return steps


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A network with the same first weights each time, whatever random numbers were drawn before."""
    with first_weights(SEED):
        return make()


Rows = Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]
CLASSIFIER_BATCH, CLASSIFIER_HELD_OUT, CLASSIFIER_SEED = 64, 10, 2015
FEWEST_STEPS, MOST_STEPS, CLASSIFIER_EPOCHS = 200, 3000, 15


class DigitClassifier(nn.Module):
    """Features of a small network that was trained to tell the data's own classes apart.

    Four convolutions and two layers; the features are the 128 units before the classes, with mean square 1.

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
            x = F.max_pool2d(x, 2) if min(x.shape[2:]) >= 4 else x
        return F.relu(self.hidden(F.adaptive_avg_pool2d(x, 2).flatten(1)))

    def fit(self, rows: Rows, count: int) -> dict[str, float]:
        """Train on nine tenths of the data; `accuracy` on the tenth that was held out.

        Args:
            rows: pixels uint8 [n, C, H, W] and labels [n] at positions.
            count: positions there are.
        """
        shuffle = np.random.RandomState(CLASSIFIER_SEED)
        order = shuffle.permutation(count)
        held, kept = np.split(order, [max(1, count // CLASSIFIER_HELD_OUT)])
        steps = min(MOST_STEPS, max(FEWEST_STEPS, CLASSIFIER_EPOCHS * len(kept) // CLASSIFIER_BATCH))
        optimizer = torch.optim.Adam(self.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        with torch.enable_grad():
            for _ in range(steps):
                pixels, labels = self._at(
                    rows, np.sort(shuffle.choice(kept, min(CLASSIFIER_BATCH, len(kept)), replace=False))
                )
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


EMBEDDING, FILTERS, WIDTHS, CHUNK = 64, 64, (1, 2, 3), 256


class TextClassifier(nn.Module):
    """A small network that was trained to tell the classes of real sentences apart.

    Convolutions over one, two and three words, and their largest answers (Kim 2014, arXiv 1408.5882). The features
    of token ids [B, T] are [B, classes]: 1 for the class that it takes a sentence to be of, and 0.

    Args:
        vocabulary: tokens there are.
        classes: how many there are; at least 2.
        steps: most batches of 64 sentences that it is trained on.
    """

    in_name = False
    of_text = True

    def __init__(self, *, vocabulary: int, classes: int, steps: int = 1000) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError("features 'text_classifier' learns from labels, and the data have none; set data.labels")
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        self.classes, self.steps = classes, steps
        self.tokens = nn.Embedding(vocabulary, EMBEDDING)
        self.convolutions = nn.ModuleList(nn.Conv1d(EMBEDDING, FILTERS, width, padding=width - 1) for width in WIDTHS)
        self.last = nn.Linear(FILTERS * len(WIDTHS), classes)

    def forward(self, rows: Tensor) -> Tensor:
        return F.one_hot(self.logits(rows).argmax(1), self.classes).to(self.last.weight.dtype)

    def logits(self, rows: Tensor) -> Tensor:
        """Token ids [B, T] to scores of the classes, [B, classes]."""
        found = self.tokens(rows.to(self.last.weight.device).long()).transpose(1, 2)
        pooled = torch.cat([F.relu(one(found)).amax(2) for one in self.convolutions], 1)
        return torch.as_tensor(self.last(pooled))

    def fit(self, rows: Rows, count: int) -> dict[str, float]:
        """Train on nine tenths of the data; `accuracy` on the tenth that was held out."""

        def loss(chosen: NDArray[np.int64]) -> Tensor:
            sentences, labels = rows(chosen)
            return F.cross_entropy(self.logits(sentences), labels.to(self.last.weight.device))

        held = np.sort(split_held_out(count))
        steps = fit_classifier(self.parameters(), loss, np.setdiff1d(np.arange(count), held), self.steps)
        return {"accuracy": self._accuracy(rows, held), "steps": steps}

    @torch.no_grad()
    def _accuracy(self, rows: Rows, positions: NDArray[np.int64]) -> float:
        right = 0
        for part in np.array_split(positions, -(-len(positions) // CHUNK)):
            sentences, labels = rows(part)
            right += int((self.logits(sentences).argmax(1).cpu() == labels.cpu()).sum())
        return right / len(positions)
