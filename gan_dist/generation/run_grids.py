"""The sheets of a run: the published generator on the run's fixed noise, how far its samples lie apart, real ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_dist.data.facts import PairFacts
from gan_dist.data.ingest import Ingest
from gan_dist.generation.paired_samples import input_output_target, inputs_and_outputs, real_pairs
from gan_dist.generation.samples import Sheet, fixed_samples, mean_nearest_distance, real_samples, render_sheet


class SampleGrids:
    """Draws what belongs to the seed of a run.

    Args:
        rows: the run's data.
    """

    def __init__(self, rows: Ingest, seed: int, device: torch.device) -> None:
        self.rows, self.seed, self.device = rows, seed, device
        self.paired = isinstance(rows.facts, PairFacts)
        self._real_nearest: float | None = None

    def real(self) -> Sheet | None:
        """Real samples; None where each sheet has what is real beside what is made."""
        if self.paired:
            return None
        samples, labels = real_samples(self.rows, self.seed)
        return render_sheet(samples, self.rows.facts, labels if self.rows.facts.classes else None)

    def draw(self, generator: nn.Module) -> tuple[Sheet, float | None]:
        """Generated samples, and how far they lie apart as a multiple of what real ones do, if those differ at all."""
        if self.paired:
            given, made = inputs_and_outputs(generator, self.seed, self.rows, self.device)
            return input_output_target(given, made, real_pairs(self.rows, self.seed)[0]), self._apart(made)
        samples, cond = fixed_samples(generator, self.seed, self.rows.facts, self.device)
        return render_sheet(samples, self.rows.facts, cond), self._apart(samples)

    def _apart(self, samples: Tensor) -> float | None:
        if self._real_nearest is None:
            real = (real_pairs if self.paired else real_samples)(self.rows, self.seed)[0]
            distinct = torch.unique(real.flatten(1), dim=0)  # a sheet repeats what is rare
            self._real_nearest = mean_nearest_distance(distinct.view(-1, *real.shape[1:])) if len(distinct) > 1 else 0.0
        return mean_nearest_distance(samples) / self._real_nearest if self._real_nearest else None
