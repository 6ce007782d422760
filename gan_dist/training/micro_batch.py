"""How many samples a worker takes at once: what fits in its device's memory, and never other sums for it."""

from __future__ import annotations

import copy

import torch

from gan_dist.contracts import Nets
from gan_dist.distributed.runtime import WorkerRuntime
from gan_dist.errors import UsageError
from gan_dist.networks.layers.global_batch_norm import moments_of_one_worker
from gan_dist.training.batches import BatchFactory, StepKey
from gan_dist.training.state import TrainState


def choose_micro_batch(
    asked: int | str, began: int | None, *, state: TrainState, feed: BatchFactory, run: WorkerRuntime
) -> int:
    """The micro-batch in samples, the same on every worker.

    `auto` tries every stage's phases on the worker's whole share and halves until it fits; a CPU takes the whole share.

    Args:
        asked: the job's `micro_batch`.
        began: what `auto` halved to when the run began, which is where it begins now: sums are added up alike. None
            where the whole share fitted.
        state: what is trained.
        feed: cuts batches.
        run: this worker's.

    Raises:
        UsageError: not even one lane fits.
    """
    if asked != "auto":
        return int(asked)
    wanted = size = feed.share if began is None else min(feed.share, began)
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
        if began is not None and size < wanted:
            told = f"micro_batch: auto: this run began with {began} samples and goes on with {size}, for no more fit"
            run.emit({"event": "warning", "text": f"{told}; the last bits may differ"})
    return size


def check_equal_micros(feed: BatchFactory, run: WorkerRuntime) -> None:
    """Raises UsageError where one worker would wait for moments of micro-batches that another does not have."""
    found = [int(one) for one in run.gather(torch.tensor([feed.micros], device=run.device))]
    if len(set(found)) > 1:
        raise UsageError(
            f"micro_batch: workers have {', '.join(map(str, found))} micro-batches of {feed.micro_batch} samples, and "
            "the generator's batch normalisation takes its moments over all of them; choose a batch that divides "
            "evenly, another micro_batch, or generator.sync_batch_norm: false"
        )


def _fits_everywhere(state: TrainState, feed: BatchFactory, run: WorkerRuntime, size: int) -> bool:
    refused = torch.tensor(float(not _fits(state, feed, size)), dtype=torch.float64, device=run.device)
    return run.sum(refused).item() == 0


def _fits(state: TrainState, feed: BatchFactory, size: int) -> bool:
    """Whether every stage's forward and backward fit; networks' buffers and gradients are as before afterwards."""
    before, feed.micro_batch = feed.micro_batch, size
    buffers = {name: copy.deepcopy(dict(net.module.named_buffers())) for name, net in state.nets.items()}
    try:
        # One that has not enough memory would leave the others waiting for its moments.
        with moments_of_one_worker(*(net.module for net in state.nets.values())):
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
                batch = next(feed.draw(moment, phase, state.parameters_of(stage.borrowed_from(row))))
                parts = stage.parts(phase, nets, batch, stage.begins)
                stage.loss(parts, batch.n, 1, last=True).backward()  # type: ignore[no-untyped-call]
