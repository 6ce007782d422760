"""How a worker computes: the number format of forward passes, and what the GPU's libraries may choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from gan_dist.distributed.runtime import Autocast, WorkerRuntime, has_bf16
from gan_dist.errors import UsageError


def resolve_precision(asked: str, began: str | None, run: WorkerRuntime) -> str:
    """The number format of this attempt, the same on every worker.

    Args:
        asked: the job's `precision`. `auto` is bf16 where every worker's device has it, else fp32.
        began: what `auto` was when the run began; None at its beginning. It stays so, for another format gives other
            weights, unless a device cannot compute in it.
        run: this worker's.

    Raises:
        UsageError: bf16 was asked for, and this worker's GPU has none.
    """
    if asked == "bf16" and run.device.type == "cuda" and not has_bf16(run.device):
        raise UsageError(
            f"precision: bf16, but {torch.cuda.get_device_name(run.device)} has none; use fp16, fp32 or auto"
        )
    if asked != "auto":
        return asked
    without = run.sum(torch.tensor(float(not has_bf16(run.device)), dtype=torch.float64, device=run.device)).item()
    here = "fp32" if without else "bf16"
    if began is None or began == here:
        return here
    went_on = began if began == "fp32" else here
    if run.rank == 0:
        why = "as it began" if went_on == began else f"though it began with {began}, which a device here does not have"
        run.emit({"event": "warning", "text": f"precision: auto: this run goes on with {went_on}, {why}"})
    return went_on


def arithmetic(precision: str, device: torch.device) -> tuple[Autocast, torch.dtype]:
    """How forward passes compute, and the type of weights, samples and noise."""
    if precision == "fp64":
        return nullcontext, torch.float64
    if precision in ("bf16", "fp16"):
        return _autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16), torch.float32
    return nullcontext, torch.float32


def _autocast(device_type: str, dtype: torch.dtype) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: torch.autocast(device_type, dtype)


@contextmanager
def library_choices(determinism: str, run: WorkerRuntime) -> Iterator[None]:
    """Let a GPU's libraries choose by speed while the job trains, where it says `determinism: fast`.

    cuDNN times its kernels for each shape and takes the fastest, and float32 matrix products round to TF32. A CPU has
    nothing to choose.
    """
    if determinism == "exact" or run.device.type != "cuda":
        yield
        return
    if run.rank == 0:
        told = "determinism: fast: cuDNN chooses kernels by their speed and matrix products round to TF32"
        run.emit({"event": "warning", "text": f"{told}, so that a run that resumes need not have the same bits"})
    before = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before[0]
        torch.set_float32_matmul_precision(before[1])
