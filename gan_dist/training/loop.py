"""The whole of training. Only this file calls `backward`, steps optimisers and moves the clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from gan_dist.contracts import Batch, Nets, Phase
from gan_dist.distributed.runtime import WorkerRuntime
from gan_dist.errors import TrainingDiverged
from gan_dist.training.batches import BatchFactory, StepKey
from gan_dist.training.run_logger import Stats
from gan_dist.training.stages import Stage
from gan_dist.training.state import TrainState

Ending = Literal["finished", "stopped"]


class Tasks(Protocol):
    """What is done between iterations: reports, grids, metrics, checkpoints. `reached`: the run is good enough."""

    def begin(self, state: TrainState) -> None: ...
    def saves(self, state: TrainState, before: int, stage: Stage, overdue: bool) -> bool: ...
    def between(self, state: TrainState, before: int, stage: Stage, overdue: bool) -> None: ...
    def overdue(self) -> bool: ...
    def reached(self) -> bool: ...
    def end(self, state: TrainState, stage: Stage) -> None: ...


@dataclass(kw_only=True)
class Iteration:
    """What an iteration needs and leaves behind."""

    state: TrainState
    nets: Nets
    feed: BatchFactory
    run: WorkerRuntime
    stats: Stats


def train(state: TrainState, *, feed: BatchFactory, run: WorkerRuntime, stats: Stats, tasks: Tasks) -> Ending:
    """Train from where `state` stands to the end of the last stage, until it is good enough, or a stop is asked for.

    Raises:
        TrainingDiverged: something is no longer finite; nothing after the last good checkpoint is written.
    """
    control = ControlReduction(run)
    iteration = Iteration(state=state, nets=Nets(state.nets), feed=feed, run=run, stats=stats)
    tasks.begin(state)
    for stage in state.stages:
        for net in state.nets.values():
            net.forget()  # what was recorded of other stages' calls
        state.enter(stage)
        while state.seen < stage.ends and not tasks.reached():
            finite = iterate(iteration, stage)
            before, state.seen = state.seen, state.seen + stage.clock.batch
            state.update_ema()
            verdict = control.exchange(finite, stop=run.stopping(), overdue=tasks.overdue() or run.saving())
            saves = verdict.stop or tasks.saves(state, before, stage, verdict.overdue)
            if verdict.not_finite or (saves and control.now().not_finite):
                raise TrainingDiverged(_divergence(stats, run, state.seen))
            stats.next_iteration()
            tasks.between(state, before, stage, verdict.overdue)
            if verdict.stop:
                tasks.end(state, stage)
                return "stopped"
    if control.flush().not_finite:
        raise TrainingDiverged(_divergence(stats, run, state.seen))
    tasks.end(state, state.stage())
    return "finished"


def iterate(it: Iteration, stage: Stage) -> Tensor:
    """One iteration: every phase once. Returns the sum of gradient norms, which is finite when all is well."""
    state, health = it.state, torch.zeros((), dtype=torch.float64, device=it.run.device)
    stage.set_driven(state.seen)
    for row, phase in enumerate(stage.phases):
        moment = StepKey(state.seen, state.reals_drawn, phase.name, row)
        state.before_step(stage.stepped_from(row))
        with state.training(phase.train):
            means = accumulate(it, stage, phase, moment)
        norms = state.step(phase, stage)
        for name, norm in (norms or {}).items():
            it.stats.add(f"gradient_norm/{name}", norm, 1.0)
            health = health + norm.double()
        it.stats.next_phase()
        if norms is not None and stage.wants_means(phase, moment.seen):
            stage.after_step(phase, it.nets, means, moment.seen)
        state.reals_drawn += stage.clock.batch * (phase.real and not phase.shared)
    return health


def accumulate(it: Iteration, stage: Stage, phase: Phase, moment: StepKey) -> dict[str, Tensor]:
    """Forward and backward over a phase's micro-batches, with one reduction of gradients at the last.

    Returns the terms' means over the global batch where an objective wants them.
    """
    micros = it.feed.micros
    trained = [it.state.nets[name] for name in phase.train]
    shares: dict[str, Tensor] = {}
    scale = it.state.scales.get(phase.name)
    if scale is not None:
        it.stats.add(f"loss_scale/{phase.name}", torch.tensor(scale.factor, device=it.run.device), 1.0)
    wanted = stage.wants_means(phase, moment.seen)
    batches: Iterable[Batch] = it.feed.draw(moment, phase, it.state.parameters_of(stage.borrowed_from(moment.row)))
    if stage.looking_ahead(phase):
        batches = list(batches)
        stage.look_ahead(phase, it.nets, batches, it.run.sum)
    for number, batch in enumerate(batches):
        last = number == micros - 1
        it.feed.reseed(moment, number)
        with it.run.sync(trained, when=last):
            parts = stage.parts(phase, it.nets, batch, moment.seen)
            loss = stage.loss(parts, batch.n, it.run.world, last)
            scaled = loss if scale is None else loss * scale.factor
            scaled.backward()  # type: ignore[no-untyped-call]
        for part in parts:
            weight = 1.0 if part.term.weight is None else part.term.weight
            it.stats.add(part.name, part.term.total, weight)
            if wanted:
                share = part.term.total.detach().double() / (weight * stage.clock.batch / batch.n)
                shares[part.name] = shares.get(part.name, torch.zeros_like(share)) + share
        it.stats.add(f"loss/{phase.name}", loss, 1.0 / (it.run.world * micros))
    if not wanted:
        return {}
    sums = it.run.sum(torch.stack(list(shares.values())))
    return dict(zip(shares, sums.unbind(), strict=True))


@dataclass(frozen=True)
class ControlFlags:
    """What all workers agreed on."""

    not_finite: bool = False
    stop: bool = False
    overdue: bool = False


class ControlReduction:
    """One small reduction per iteration, read an iteration later so that nobody waits for it.

    Training never depends on what it says, so the delay does not touch exactness.
    """

    def __init__(self, run: WorkerRuntime) -> None:
        self.run = run
        self._pending: Callable[[], Tensor] | None = None

    def exchange(self, health: Tensor, stop: bool, overdue: bool) -> ControlFlags:
        """Send this worker's flags; what all said in the iteration before."""
        before = self.flush()
        asked = (health.new_full((), float(flag)) for flag in (stop, overdue))
        total = self.run.sum_later(torch.stack([(~torch.isfinite(health)).double(), *asked]))
        self._pending = _copied_to_host(total()) if self.run.device.type == "cuda" else total
        return before

    def now(self) -> ControlFlags:
        """What all said last, waited for before something is saved; it stays pending for the next exchange."""
        if self._pending is None:
            return ControlFlags()
        flags = self._pending()
        self._pending = lambda: flags
        return ControlFlags(*(flag > 0 for flag in flags.tolist()))

    def flush(self) -> ControlFlags:
        """What all said last; nothing is pending afterwards."""
        last = self.now()
        self._pending = None
        return last


def _copied_to_host(flags: Tensor) -> Callable[[], Tensor]:
    """Flags on their way from a GPU: the copy stands in its queue, and whoever reads them waits for it and for nothing
    that came after."""
    there = torch.empty(flags.shape, dtype=flags.dtype, pin_memory=True)
    there.copy_(flags, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()

    def read() -> Tensor:
        copied.synchronize()
        return there

    return read


def _divergence(stats: Stats, run: WorkerRuntime, seen: int) -> str:
    return f"training diverged near {seen} samples: not finite: {', '.join(stats.not_finite(run.sum))}"
