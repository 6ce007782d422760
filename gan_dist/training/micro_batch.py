"""How many samples a worker takes at once: as the job says, or as many as its memory holds."""

from __future__ import annotations

import copy

import torch

from gan_dist.contracts import Nets
from gan_dist.distributed.runtime import WorkerRuntime
from gan_dist.errors import UsageError
from gan_dist.training.batches import BatchFactory, StepKey
from gan_dist.training.state import TrainState


def choose_micro_batch(asked: int | str, state: TrainState, feed: BatchFactory, run: WorkerRuntime) -> int:
    """The micro-batch in samples, the same on every worker.

    `auto` tries every stage's phases on the worker's whole share and halves until it fits; a CPU takes the whole share.

    Raises:
        ValueError: not even one lane fits.
    """
    if asked != "auto":
        return int(asked)
    size = feed.share
    if run.device.type == "cuda":
        while not _fits_everywhere(state, feed, run, size):
            for net in state.nets.values():
                net.forget()
            torch.cuda.empty_cache()
            if size <= feed.lane:
                raise UsageError(
                    f"micro_batch: not even {feed.lane} samples fit in the memory of {run.device}; "
                    "make the networks narrower or data.size smaller"
                )
            size = max(feed.lane, size // 2)
        torch.cuda.empty_cache()
    if run.rank == 0:
        run.emit({"event": "micro_batch", "samples": size, "share": feed.share})
    return size


def _fits_everywhere(state: TrainState, feed: BatchFactory, run: WorkerRuntime, size: int) -> bool:
    refused = torch.tensor(float(not _fits(state, feed, size)), dtype=torch.float64, device=run.device)
    return run.sum(refused).item() == 0


def _fits(state: TrainState, feed: BatchFactory, size: int) -> bool:
    """Whether every stage's forward and backward fit; networks' buffers and gradients are as before afterwards."""
    before, feed.micro_batch = feed.micro_batch, size
    buffers = {name: copy.deepcopy(dict(net.module.named_buffers())) for name, net in state.nets.items()}
    try:
        _try_phases(state, feed)
    except torch.OutOfMemoryError:
        return False
    finally:
        feed.micro_batch = before
        for name, net in state.nets.items():
            net.module.load_state_dict(buffers[name], strict=False)
            net.module.zero_grad(set_to_none=True)
    return True


def _try_phases(state: TrainState, feed: BatchFactory) -> None:
    nets = Nets(state.nets)
    for stage in state.stages:
        for row, phase in enumerate(stage.phases):
            moment = StepKey(state.seen, state.reals_drawn, phase.name, row)
            with state.training(phase.train):
                batch = next(feed.draw(moment, phase.real, phase.train))
                parts = stage.parts(phase, nets, batch, stage.begins)
                stage.loss(parts, batch.n, 1, last=True).backward()  # type: ignore[no-untyped-call]
