"""The batches of a phase: real samples, classes and noise of this worker's lanes, cut into micro-batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gan_dist.contracts import Batch
from gan_dist.data.conditioning import Conditioning
from gan_dist.data.ingest import Ingest
from gan_dist.distributed.lanes import lane_size, lanes_of_rank, seed_of
from gan_dist.distributed.randomness import Rng
from gan_dist.distributed.runtime import WorkerRuntime, WrappedNetwork
from gan_dist.generation.modality import Encode


@dataclass(frozen=True)
class StepKey:
    """Where in the run a phase is: the key of its randomness. `row` is its place in the iteration."""

    seen: int
    reals_drawn: int
    phase: str
    row: int


class BatchFactory:
    """Draws what one phase needs.

    Args:
        rows: the ingest.
        generator: draws the noise and makes the fakes.
        run: whose lanes are drawn.
        seed, batch: of the job; `batch` is global.
        micro_batch: most samples in a micro-batch, at least one lane.
        dtype: of samples and noise.
        encode: makes what networks see of stored samples, with randomness of its own.
    """

    def __init__(
        self,
        *,
        rows: Ingest,
        generator: WrappedNetwork,
        run: WorkerRuntime,
        seed: int,
        batch: int,
        micro_batch: int,
        dtype: torch.dtype,
        encode: Encode,
    ) -> None:
        self.rows, self.generator, self.run = rows, generator, run
        self.seed, self.batch, self.dtype, self.encode = seed, batch, dtype, encode
        self.lane = lane_size(batch)
        self.lanes = lanes_of_rank(batch, run.rank, run.world)
        self.micro_batch = micro_batch
        self.waited_s = 0.0
        self.conditioning = Conditioning.of(rows.facts, rows, run.device, rows.facts.class_weights)

    @property
    def share(self) -> int:
        """Samples of this worker's share of a global batch."""
        return sum(map(len, self.lanes))

    @property
    def micros(self) -> int:
        """Micro-batches of this worker in each phase."""
        return len(self._micro_lanes())

    def draw(self, moment: StepKey, real: bool, train: tuple[str, ...]) -> Iterator[Batch]:
        """The micro-batches of a phase on this worker, in order, each made when asked for."""
        positions = self.rows.positions(moment.reals_drawn) if real else None
        for lanes in self._micro_lanes():
            yield self._micro(moment, lanes, positions, train)

    def reseed(self, moment: StepKey, micro: int) -> None:
        """Seed torch's global generator, for code that knows no other (a person's dropout)."""
        seed = seed_of(self.seed, moment.seen, moment.row, "global", micro, self.run.rank)
        # Not torch.manual_seed, which looks for every kind of accelerator and takes half a millisecond.
        torch.default_generator.manual_seed(seed)
        if self.run.device.type == "cuda":
            with torch.cuda.device(self.run.device):
                torch.cuda.manual_seed(seed)

    def _micro_lanes(self) -> list[list[range]]:
        each = len(self.lanes) if self.micro_batch >= self.share else max(1, self.micro_batch // self.lane)
        return [self.lanes[start : start + each] for start in range(0, len(self.lanes), each)]

    def _micro(
        self, moment: StepKey, lanes: list[range], positions: NDArray[np.int64] | None, train: tuple[str, ...]
    ) -> Batch:
        def rng(purpose: str) -> Rng:
            key = (self.seed, moment.seen, moment.phase, moment.row, purpose)
            numbered = [(lane.start // self.lane, len(lane)) for lane in lanes]
            return Rng(key, numbered, self.run.device, self.dtype)

        real, cond = None, None
        if positions is not None:
            real, cond = self._real(positions[lanes[0].start : lanes[-1].stop], rng)
        elif self.conditioning is not None:
            cond = self.conditioning.draw(rng("classes"))
        n = sum(map(len, lanes))
        generator: Any = self.generator.module
        noise = generator.draw(n, rng("noise"))
        maker = _Maker(self.generator, "generator" in train)
        return Batch(n, real, cond, noise, rng, maker, whole=self.batch, first=lanes[0].start)

    def _real(self, positions: NDArray[np.int64], rng: Callable[[str], Rng]) -> tuple[Tensor, Tensor | None]:
        began = time.perf_counter()
        stored, labels = self.rows.rows(positions)
        encoded, given = self.encode(stored, rng)
        self.waited_s += time.perf_counter() - began
        return encoded, given if self.conditioning is None else self.conditioning.at(labels)


@dataclass(frozen=True)
class _Maker:
    """Makes a batch's fakes, with a graph to the generator only where the phase trains it."""

    generator: WrappedNetwork
    trained: bool

    def __call__(self, batch: Batch) -> Tensor:
        with torch.set_grad_enabled(self.trained):
            fakes = self.generator(batch.noise, batch.cond)
        assert isinstance(fakes, Tensor)
        return fakes
