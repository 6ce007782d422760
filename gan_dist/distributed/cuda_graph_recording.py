"""One function as CUDA graphs of its forward and backward pass. Replays run the kernels of a plain call on the same
numbers, so that results are the same."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

WARM_UP = 3


class Recording:
    """One function's forward pass and, where gradients are wanted, its backward pass.

    Args:
        function: of a list of tensors; gives tensors, alone or in tuples and dicts. Its kernels follow from shapes
            alone.
        inputs: examples of these tensors; those that want a gradient get one.
        parameters: what else gradients are wanted by.
        numbers: scalars that the function reads, and that each call sets.
    """

    def __init__(
        self,
        function: Callable[[list[Tensor]], Any],
        inputs: Sequence[Tensor],
        parameters: Sequence[Tensor],
        numbers: Mapping[str, Tensor],
    ) -> None:
        self.inputs = [one.detach().clone().requires_grad_(one.requires_grad) for one in inputs]
        self.parameters, self.numbers = list(parameters), numbers
        self.wanted = [one for one in (*self.inputs, *self.parameters) if one.requires_grad]
        self.pending: Callable[[], object] = _nothing
        for number in numbers.values():
            number.fill_(1.0)
        with _nothing_collected():
            self._record(function)

    def _record(self, function: Callable[[list[Tensor]], Any]) -> None:
        with _random_numbers_kept(), _aside():
            for _ in range(WARM_UP):
                self._slopes(tree_flatten(function(self.inputs))[0])
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        pool = torch.cuda.graph_pool_handle()
        with _random_numbers_kept(), torch.cuda.graph(self.forward, pool, capture_error_mode="thread_local"):
            made, self.tree = tree_flatten(function(self.inputs))
        self.trained = [one.requires_grad for one in made]
        if any(self.trained):
            with _random_numbers_kept(), torch.cuda.graph(self.backward, pool, capture_error_mode="thread_local"):
                self.given, self.slopes = self._slopes(made)
        self.made = [one.detach() for one in made]

    def _slopes(self, made: list[Tensor]) -> tuple[list[Tensor], list[Tensor | None]]:
        """Slopes of a loss by what was made, to be filled in, and those by what is wanted that follow."""
        ends = [one for one in made if one.requires_grad]
        if not ends:
            return [], []
        given = [torch.empty_like(one) for one in ends]  # a fill would be recorded, and undo what replays fill in
        return given, list(torch.autograd.grad(ends, self.wanted, given, allow_unused=True))

    def awaits_backward(self) -> bool:
        """Whether what it keeps is still needed for the gradients of the call before."""
        return self.pending() is not None

    def __call__(self, inputs: Sequence[Tensor], parameters: Sequence[Tensor], numbers: Mapping[str, float]) -> Any:
        """The function of these inputs; the parameters, which are those of the recording, get their gradients."""
        for name, number in self.numbers.items():
            number.fill_(numbers[name])
        return tree_unflatten(list(_Replayed.apply(self, *inputs, *parameters)), self.tree)

    def replay(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        for static, one in zip(self.inputs, inputs, strict=True):
            static.detach().copy_(one)
        self.forward.replay()
        return tuple(one.clone() for one in self.made)

    def replay_backward(self, slopes: Sequence[Tensor]) -> list[Tensor | None]:
        """Slopes by all inputs and parameters from those by what was made."""
        used = (slope for slope, trained in zip(slopes, self.trained, strict=True) if trained)
        for static, slope in zip(self.given, used, strict=True):
            static.copy_(slope)
        self.backward.replay()
        found = iter([None if one is None else one.clone() for one in self.slopes])
        return [next(found) if one.requires_grad else None for one in (*self.inputs, *self.parameters)]


class _Call:
    """Lives as long as the gradients of a call may be asked for."""


class _Replayed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recording: Recording, *tensors: Tensor) -> tuple[Tensor, ...]:
        made = recording.replay(tensors[: len(recording.inputs)])
        ctx.mark_non_differentiable(*(one for one, trained in zip(made, recording.trained, strict=True) if not trained))
        ctx.recording = recording
        if any(recording.trained):
            ctx.call = _Call()
            recording.pending = weakref.ref(ctx.call)
        return made

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Any, ...]:
        recording: Recording = ctx.recording
        if torch.is_grad_enabled():
            raise ValueError("on CUDA, calls of this generator are recorded and give no gradient of a gradient")
        assert recording.pending() is ctx.call, "a recorded call has one backward pass"
        recording.pending = _nothing
        return None, *recording.replay_backward(slopes)


def _nothing() -> None:
    """No call is awaited."""


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """A graph that Python found to be garbage while another is recorded would take that one with it."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """What is drawn inside is not missed afterwards."""
    before = torch.cuda.get_rng_state()
    try:
        yield
    finally:
        torch.cuda.set_rng_state(before)


@contextmanager
def _aside() -> Iterator[None]:
    """Another stream, after and before all else, as a warm-up before a recording must be."""
    here, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(here)
    try:
        with torch.cuda.stream(aside):
            yield
    finally:
        here.wait_stream(aside)
