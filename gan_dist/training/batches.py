"""The batches of a phase: real samples, classes and noise of this worker's lanes, cut into micro-batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gan_dist.contracts import Batch, Phase
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
        self._lent: list[tuple[list[range], Batch]] = []
        self.conditioning = Conditioning.of(rows.facts, rows, run.device, rows.facts.class_weights)

    @property
    def share(self) -> int:
        """Samples of this worker's share of a global batch."""
        return sum(map(len, self.lanes))

    @property
    def micros(self) -> int:
        """Micro-batches of this worker in each phase."""
        return len(self._micro_lanes())

    def draw(self, moment: StepKey, phase: Phase, lends: Sequence[nn.Parameter] = ()) -> Iterator[Batch]:
        """The micro-batches of a phase on this worker, in order, each made when asked for.

        Args:
            lends: what the next phase trains, where that gets these batches too.
        """
        if phase.shared:
            yield from self._borrow(moment, phase)
            return
        self._lent = []
        positions = self.rows.positions(moment.reals_drawn) if phase.real else None
        for lanes in self._micro_lanes():
            batch = self._micro(moment, lanes, positions, "generator" in phase.train)
            if lends:
                if self.micros == 1:
                    batch.make_fakes = _Lender(self.generator, lends)
                self._lent.append((lanes, batch.anew()))
            yield batch

    def _borrow(self, moment: StepKey, phase: Phase) -> Iterator[Batch]:
        """The micro-batches of the phase before, with random numbers of this one. Fakes of one micro-batch come with
        their graph; those of several are made again, for their graphs would fill the memory together."""
        lent, self._lent = self._lent, []
        again = _Maker(self.generator, True)
        for lanes, batch in lent:
            maker = batch.make_fakes.lent if isinstance(batch.make_fakes, _Lender) else again
            real = batch.real if phase.real else None
            yield batch.anew(real=real, rng=self._rng(moment, lanes), make_fakes=maker)

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
        self, moment: StepKey, lanes: list[range], positions: NDArray[np.int64] | None, trains_generator: bool
    ) -> Batch:
        rng = self._rng(moment, lanes)
        real, cond = None, None
        if positions is not None:
            real, cond = self._real(positions[lanes[0].start : lanes[-1].stop], rng)
        elif self.conditioning is not None:
            cond = self.conditioning.draw(rng("classes"))
        n = sum(map(len, lanes))
        generator: Any = self.generator.module
        noise = generator.draw(n, rng("noise"))
        maker = _Maker(self.generator, trains_generator)
        return Batch(n, real, cond, noise, rng, maker, whole=self.batch, first=lanes[0].start)

    def _rng(self, moment: StepKey, lanes: list[range]) -> Callable[[str], Rng]:
        numbered = [(lane.start // self.lane, len(lane)) for lane in lanes]

        def rng(purpose: str) -> Rng:
            key = (self.seed, moment.seen, moment.phase, moment.row, purpose)
            return Rng(key, numbered, self.run.device, self.dtype)

        return rng

    def _real(self, positions: NDArray[np.int64], rng: Callable[[str], Rng]) -> tuple[Tensor, Tensor | None]:
        began = time.perf_counter()
        stored, labels = self.rows.rows(positions)
        encoded, given = self.encode(_sendable(stored, self.run.device), rng)
        self.waited_s += time.perf_counter() - began
        return encoded, given if self.conditioning is None else self.conditioning.at(_sendable(labels, self.run.device))


def _sendable(samples: Tensor, device: torch.device) -> Tensor:
    """Samples in pinned memory where they go to a GPU: their copy then waits for nothing that is under way there."""
    return samples.pin_memory() if device.type == "cuda" and samples.device.type == "cpu" else samples


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


class _Lender:
    """Makes fakes once for two phases: without a graph for the one that does not train the generator, with it for the
    next.

    Args:
        parameters: what the next phase trains, which wants no gradients in this one.
    """

    def __init__(self, generator: WrappedNetwork, parameters: Sequence[nn.Parameter]) -> None:
        self.generator, self.parameters = generator, parameters
        self._made: Tensor | None = None

    def __call__(self, batch: Batch) -> Tensor:
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        made = self._made = _Maker(self.generator, True)(batch)
        for parameter in self.parameters:
            parameter.requires_grad_(False)
        return made.detach()

    def lent(self, batch: Batch) -> Tensor:
        """The same samples with their graph; they are made here where the phase before had no need of them."""
        made, self._made = self._made, None
        return _Maker(self.generator, True)(batch) if made is None else made
