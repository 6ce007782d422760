"""Classification accuracy score: what a classifier that learnt from generated images alone knows of real ones (Ravuri
and Vinyals 2019, arXiv 1905.10887)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gan_dist.distributed.first_weights import first_weights
from gan_dist.metrics.features.classifiers import SEED, fit_classifier, split_held_out
from gan_dist.metrics.statistics import LabelledRows

WIDTHS = (16, 32, 64)
CHUNK = 256


class ClassificationAccuracy:
    """cas: share of held-out real images that a classifier takes for what they are, which learnt from generated images
    of known classes alone. cas_real: the same of one that learnt from as many real images, if there are. What is
    missing to that is missing in the generated ones: classes that are mixed up, or made alike.

    A residual network of eight layers without pretrained parts learns for ten epochs, or `steps` batches if that is
    less, the same for both; means over `seeds` first weights. Held out is a tenth of the real images that are looked
    at, which the generator has seen: one that has learnt images by heart is good at this.

    Args:
        class_counts: real samples of each class.
        steps: most batches of 64 images.
        seeds: how often each is trained.

    Raises:
        ValueError: the data have no classes, or a number is below 1.
    """

    values = ("cas", "cas_real")
    needs = "labelled"
    features = "pixels"
    costly = True
    least = 20

    def __init__(self, *, class_counts: Sequence[int], steps: int = 2000, seeds: int = 3) -> None:
        if not class_counts:
            raise ValueError("'cas' is of images of known class, and the data have none; set data.labels")
        if steps < 1 or seeds < 1:
            raise ValueError(f"steps and seeds must be at least 1, not {steps} and {seeds}")
        self.classes, self.steps, self.seeds = len(class_counts), steps, seeds

    def compare(self, real: LabelledRows, fake: LabelledRows) -> dict[str, float]:
        held = np.sort(split_held_out(real.count))
        kept = np.setdiff1d(np.arange(real.count), held)[: fake.count]
        test = real.at(held)
        return {
            "cas": self._mean_accuracy(fake.at(np.arange(fake.count)), test),
            "cas_real": self._mean_accuracy(real.at(kept), test),
        }

    def _mean_accuracy(self, learnt: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
        with torch.random.fork_rng(devices=[]):
            found = [self._accuracy(SEED + number, learnt, test) for number in range(self.seeds)]
        return sum(found) / len(found)

    def _accuracy(self, seed: int, learnt: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
        images, labels = learnt
        with first_weights(seed):
            network = SmallResNet(channels=images.shape[1], classes=self.classes)
        network.to(images.device).train()

        def loss(chosen: NDArray[np.int64]) -> Tensor:
            places = torch.from_numpy(chosen).to(images.device)
            return F.cross_entropy(network(images[places]), labels[places])

        fit_classifier(network.parameters(), loss, np.arange(len(images)), self.steps)
        network.eval()
        parts = zip(*(torch.split(one, CHUNK) for one in test), strict=True)
        with torch.no_grad():
            right = sum(int((network(rows).argmax(1) == wanted).sum()) for rows, wanted in parts)
        return right / len(test[1])


class SmallResNet(nn.Module):
    """Images [B, C, H, W] in [-1, 1] to scores of classes: three stages of a residual block, each half as high and wide
    as the one before (He et al. 2016, arXiv 1512.03385)."""

    def __init__(self, *, channels: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, WIDTHS[0], 3, padding=1, bias=False)
        pairs = zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False)
        self.blocks = nn.Sequential(*[_Block(inner, outer) for inner, outer in pairs])
        self.last = nn.Linear(WIDTHS[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.last(self.blocks(self.first(x)).mean((2, 3))))


class _Block(nn.Module):
    """[B, inner, H, W] to [B, outer, H, W], or half of the size where it is wider."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        stride = 1 if inner == outer else 2
        self.body = nn.Sequential(
            nn.Conv2d(inner, outer, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outer),
            nn.ReLU(),
            nn.Conv2d(outer, outer, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outer),
        )
        self.aside = nn.Identity() if stride == 1 else nn.Conv2d(inner, outer, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.aside(x))
