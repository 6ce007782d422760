"""First weights that depend on the seed alone, not on the processor's instruction set.

torch draws normal and scaled uniform numbers, inverts the error function and factorises in float32 by code of its own
for each instruction set, and what comes differs in the last digits. A matrix product turns these into other last
digits, and Adam, which divides a gradient by its size, into other steps. So while networks are built, such numbers are
computed in float64 and rounded: where two processors differ in the 16th digit, they agree in the 7th.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
BLOCK = 16  # torch's normal numbers are made so many at a time, of as many uniform ones


@contextmanager
def first_weights(seed: int) -> Iterator[None]:
    """Draw what is drawn inside from this seed, the same on every CPU, and leave torch's own generator as it was."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which also looks for every kind of accelerator and takes longer than a small network.
        torch.default_generator.manual_seed(seed)
        with _InDoublePrecision():  # type: ignore[no-untyped-call]
            yield


class _InDoublePrecision(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Operations of `_COMPUTED` on float32 tensors of the CPU are computed in float64 and rounded."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and torch's guard against it takes longer than most operations

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        computed = _COMPUTED.get(func)
        made = None if computed is None else computed(func, *args, **given)
        return func(*args, **given) if made is None else made


def _fits(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu"


def _has_no_numbers(tensor: Tensor) -> bool:
    """Whether a tensor has a shape alone. Torch would import its compiler to fill it, which takes two seconds."""
    return tensor.is_meta


def _fill_normal(
    func: Any, tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: torch.Generator | None = None
) -> Tensor | None:
    if _has_no_numbers(tensor):
        return tensor
    # Fewer numbers, and those of a view with gaps, torch itself makes in float64, one by one.
    if not _fits(tensor) or tensor.numel() < BLOCK or not tensor.is_contiguous():
        return None
    return tensor.copy_((normal_numbers(tensor.numel(), generator) * std + mean).view(tensor.shape))


def _fill_uniform(
    func: Any, tensor: Tensor, low: float = 0.0, high: float = 1.0, generator: torch.Generator | None = None
) -> Tensor | None:
    if _has_no_numbers(tensor):
        return tensor
    if not _fits(tensor):
        return None
    # Between 0 and 1 nothing is rounded; what differs is whether scale and shift are rounded once or twice.
    unit = torch.empty_like(tensor).uniform_(generator=generator)
    return tensor.copy_(unit.double() * (high - low) + low)


def _new_normal(func: Any, size: Sequence[int], generator: torch.Generator | None = None, **like: Any) -> Tensor:
    made = torch.empty(size, **like)
    filled = _fill_normal(func, made, generator=generator)
    return made.normal_(generator=generator) if filled is None else filled


def _new_normal_like(func: Any, tensor: Tensor, **like: Any) -> Tensor:
    made = torch.empty_like(tensor, **like)
    filled = _fill_normal(func, made)
    return made.normal_() if filled is None else filled


def _inverse_error_function(func: Any, tensor: Tensor) -> Tensor | None:
    if _has_no_numbers(tensor):
        return tensor
    return tensor.copy_(tensor.double().erfinv_()) if _fits(tensor) else None


def _factorize(func: Any, matrix: Tensor, mode: str = "reduced") -> tuple[Tensor, Tensor] | None:
    if not _fits(matrix):
        return None
    q, r = torch.linalg.qr(matrix.double(), mode)
    return q.float(), r.float()


def normal_numbers(count: int, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal numbers, at least 16, in float64: those that torch makes in float32, before they are rounded.

    Also takes as many random numbers as torch, so that what is drawn afterwards is the same.
    """
    made = _box_muller(torch.rand(count, generator=generator)[: count - count % BLOCK])
    if count % BLOCK == 0:
        return made
    return torch.cat([made[: count - BLOCK], _box_muller(torch.rand(BLOCK, generator=generator))])


def _box_muller(uniform: Tensor) -> Tensor:
    """In each block of 16 the first half are radii, the second angles; then cosines and sines."""
    halves = uniform.double().view(-1, 2, BLOCK // 2)
    radius, angle = torch.sqrt(-2 * torch.log1p(-halves[:, 0])), 2 * math.pi * halves[:, 1]
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], 1).flatten()


_COMPUTED: dict[Any, Callable[..., Any]] = {
    aten.normal_.default: _fill_normal,
    aten.uniform_.default: _fill_uniform,
    aten.randn.default: _new_normal,
    aten.randn.generator: _new_normal,
    aten.randn_like.default: _new_normal_like,
    aten.erfinv_.default: _inverse_error_function,
    aten.linalg_qr.default: _factorize,
}
