"""What metrics are of: a generator's samples, their classes, and the real samples they are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from gan_dist.data.class_balance import class_shares
from gan_dist.data.facts import DataFacts, PairFacts
from gan_dist.data.ingest import Ingest
from gan_dist.generation.paired_samples import metric_outputs, targets_at
from gan_dist.generation.samples import metric_classes, metric_samples

if TYPE_CHECKING:
    from gan_dist.evaluation.metric_inputs import Draw, Labels


def generator_draw(generator: nn.Module, facts: DataFacts, seed: int, device: torch.device) -> Draw:
    """Draws samples by their numbers, of classes as often as the data have them."""
    shares = class_shares(facts, device)
    return lambda part: metric_samples(generator, part, seed, shares, device)


def generator_labels(generator: nn.Module, facts: DataFacts, seed: int, device: torch.device) -> Labels | None:
    """The classes of those samples; None where there are none."""
    shares = class_shares(facts, device)
    return None if shares is None else lambda part: metric_classes(generator, part, seed, shares, device)


def paired_generator_draw(rows: Ingest, generator: nn.Module, seed: int, device: torch.device) -> Draw:
    """Draws what a generator makes, of pairs from the data's own inputs."""
    if isinstance(rows.facts, PairFacts):
        return lambda part: metric_outputs(generator, part, seed, rows, device)
    return generator_draw(generator, rows.facts, seed, device)


def target_draw(rows: Ingest, seed: int) -> Draw | None:
    """Gives what the samples of `paired_generator_draw` should be, of pairs; else None."""
    return (lambda part: targets_at(rows, seed, part)) if isinstance(rows.facts, PairFacts) else None
