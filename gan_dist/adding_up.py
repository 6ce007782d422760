"""Metrics that add up numbers in place of collecting features: what a generator says, and how pairs compare."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gan_dist.metrics.moments import FeatureRows
from gan_dist.runtime import Run
from gan_dist.wanted import Built, Collected, Draw


@torch.no_grad()
def summed_scores(
    metric: Any, extractor: Any, draw: Draw, wanted: Draw, samples: int, chunk: int, run: Run
) -> FeatureRows:
    """The sum of a metric's scores and their number, [2] in float64, over all workers, each of which takes every
    `world`-th chunk.

    Args:
        draw, wanted: uint8 pixels of what was made and of what it should be, by their numbers.
    """
    total = torch.zeros(2, dtype=torch.float64, device=run.device)
    for start in range(chunk * run.rank, samples, chunk * run.world):
        part, most = range(start, start + chunk), samples - start
        made, real = (extractor(one(part)[:most].to(run.device)) for one in (draw, wanted))
        scores = metric.scores(made, real).double()
        total += torch.stack([scores.sum(), torch.tensor(float(len(scores)), dtype=torch.float64, device=run.device)])
    return FeatureRows(run.sum(total))


@torch.no_grad()
def said_by(generator: nn.Module | None, one: Built, fake: Collected, run: Run) -> FeatureRows:
    """What a generator says of samples, summed over workers.

    Raises:
        ValueError: it says nothing.
    """
    if generator is None or not hasattr(generator, "log_prob"):
        raise ValueError(f"metrics: '{one.spec.use}' needs a generator that gives log p of text (log_prob)")
    metric: Any = one.metric
    assert isinstance(fake, FeatureRows)
    return FeatureRows(run.sum(metric.sums(generator, fake.rows, run.rank, run.world)))
