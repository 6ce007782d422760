"""Generators of pairs on the data's own inputs: sheets to look at, and samples for metrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from gan_dist.data.encoding import image, pair
from gan_dist.data.facts import ImageFacts, PairFacts
from gan_dist.data.ingest import Ingest
from gan_dist.data.order import shuffle
from gan_dist.generation.samples import generate, metric_samples

SHOWN, TRIPLES = 24, 3


@dataclass(frozen=True)
class TargetImages:
    """What is to be made, without what it is made of: the images that metrics compare with."""

    pairs: Ingest

    @property
    def facts(self) -> ImageFacts:
        found = self.pairs.facts
        assert isinstance(found, PairFacts)
        kept = {name: getattr(found, name) for name in ImageFacts.__dataclass_fields__}
        return ImageFacts(**kept)

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.pairs.labels

    def positions(self, reals_drawn: int) -> NDArray[np.int64]:
        return self.pairs.positions(reals_drawn)

    def rows(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        stored, labels = self.pairs.rows(positions)
        return pair.split_pair(stored)[0], labels


def choose_pairs(rows: Ingest, seed: int, wanted: range) -> NDArray[np.int64]:
    """Positions of the pairs with these numbers in an order of `seed`, which begins anew after all."""
    order = shuffle(rows.facts.count, seed, "shown")
    return order[np.arange(wanted.start, wanted.stop) % len(order)]


def real_pairs(rows: Ingest, seed: int) -> tuple[Tensor, Tensor]:
    """The 24 pairs of a run's sheets, uint8 on the CPU: what is to be made, and what it is made of."""
    return pair.split_pair(rows.rows(choose_pairs(rows, seed, range(SHOWN)))[0].cpu())


def inputs_and_outputs(generator: nn.Module, seed: int, rows: Ingest, device: torch.device) -> tuple[Tensor, Tensor]:
    """The inputs of these pairs, and what a generator makes of them on fixed noise, uint8."""
    _, given = real_pairs(rows, seed)
    return given, generate(generator, SHOWN, seed, _seen(given, generator, device), device)


def input_output_target(given: Tensor, made: Tensor, real: Tensor) -> Image.Image:
    """Three pictures for each pair: the input, what is made of it, and what it should be."""
    return image.enlarge(image.make_grid(pair.in_rows(given, made, real), 3 * TRIPLES))


def targets_at(rows: Ingest, seed: int, numbers: range) -> Tensor:
    """What should be made of the inputs with these numbers, uint8 [n, C, H, W]."""
    return pair.split_pair(rows.rows(choose_pairs(rows, seed, numbers))[0])[0]


def metric_outputs(generator: nn.Module, wanted: range, seed: int, rows: Ingest, device: torch.device) -> Tensor:
    """What is made of the inputs with these numbers, uint8 [n, C, H, W]; whole lanes."""
    return metric_samples(generator, wanted, seed, None, device, inputs_at(generator, wanted, seed, rows, device))


def inputs_at(generator: nn.Module, wanted: range, seed: int, rows: Ingest, device: torch.device) -> Tensor:
    """The inputs with these numbers as a generator sees them, [n, C, H, W] in [-1, 1]."""
    stored, _ = rows.rows(choose_pairs(rows, seed, wanted))
    return _seen(pair.split_pair(stored)[1], generator, device)


def _seen(given: Tensor, generator: nn.Module, device: torch.device) -> Tensor:
    return image.encode(given, device, next(generator.parameters()).dtype)


def real_rows(rows: Ingest) -> Ingest:
    """Real samples of what a generator makes."""
    return TargetImages(rows) if isinstance(rows.facts, PairFacts) else rows
