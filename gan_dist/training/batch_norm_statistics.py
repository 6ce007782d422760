"""Standing statistics of batch normalisation, found anew before samples are made (Brock et al. 2019, arXiv 1809.11096).

The running statistics of training are of weights that have moved on, and of each worker's share of a batch. Those of
the averaged weights were never seen at all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.data.ingest import Ingest
from gan_dist.distributed.randomness import Rng, single_lane_rng
from gan_dist.generation.modality import modality_of
from gan_dist.networks.layers.global_batch_norm import moments_of_one_worker
from gan_dist.spec.sections import StandingSpec

BatchNorm = nn.modules.batchnorm._BatchNorm


def batch_norms_of(network: nn.Module) -> list[BatchNorm]:
    """The batch normalisations of a network that keep running statistics."""
    found = (layer for layer in network.modules() if isinstance(layer, BatchNorm))
    return [layer for layer in found if layer.running_mean is not None]


class StandingStatistics:
    """Sets a generator's batch statistics to their averages over batches of fresh noise.

    The noise, and classes as often as the data have them or inputs of pairs, depend on the seed alone, and every worker
    computes all batches: statistics are the same wherever the run stands, for any number of workers.

    Args:
        spec: how many batches.
        batch: samples in each, where `spec` does not say.
        rows: the run's data.
        seed: of the job.
    """

    def __init__(self, *, spec: StandingSpec, batch: int, rows: Ingest, seed: int, device: torch.device) -> None:
        self.batches, self.batch = spec.batches, spec.batch or batch
        self.rows, self.seed, self.device = rows, seed, device

    @torch.no_grad()
    def __call__(self, generator: nn.Module) -> None:
        """All but batch normalisation is in evaluation mode meanwhile, and all of it afterwards."""
        layers = batch_norms_of(generator.eval())
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # averages all batches alike
            layer.train()
        # Every worker computes all batches, so that no moments are left to exchange.
        with torch.random.fork_rng(devices=[]), moments_of_one_worker(generator):
            for number in range(self.batches):
                generator(*self.inputs(generator, number))
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()

    def inputs(self, generator: nn.Module, number: int) -> tuple[Any, Tensor | None]:
        """Noise and conditions of a batch."""
        maker: Any = generator
        return maker.draw(self.batch, self._rng(generator, number, "noise")), self._conditions(generator, number)

    def _conditions(self, generator: nn.Module, number: int) -> Tensor | None:
        return modality_of(self.rows.facts).conditions(
            generator=generator,
            rows=self.rows,
            numbers=range(number * self.batch, (number + 1) * self.batch),
            seed=self.seed,
            rng=self._rng(generator, number, "classes"),
            device=self.device,
        )

    def _rng(self, generator: nn.Module, number: int, purpose: str) -> Rng:
        key = (self.seed, "standing", number, purpose)
        return single_lane_rng(key, self.batch, self.device, next(generator.parameters()).dtype)
