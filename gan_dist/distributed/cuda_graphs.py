"""Calls of text networks as CUDA graphs of their forward and backward pass, in training."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

MOST = 8


class Recorder:
    """Calls methods of one of our networks, in training on CUDA, by recordings of them.

    They are the keys of the network's dict `recorded`; the values name plain numbers among its attributes that the
    method reads and that training may change (schedules). What a method launches must follow from the shapes of its
    inputs alone; it reads nothing back from the device, changes no buffer, and gives no gradient of a gradient. A
    person's own network is called plainly, one that is derived from ours too: nobody has promised this of it.

    There is one recording for each method, shape of inputs, set of trained parameters and value of each other plain
    attribute; beyond `MOST` of them (an attribute that changes at each step and is not named) calls are plain. So is a
    call while the backward pass of the one before it is still to come.

    Args:
        module: the network.
        numbers: its `recorded`.
        run: calls a function as the network is always called (precision).
    """

    def __init__(self, module: nn.Module, numbers: Mapping[str, tuple[str, ...]], run: Callable[..., Any]) -> None:
        self.module, self.numbers, self.run = module, numbers, run
        self.changing = {name for names in numbers.values() for name in names}
        self.parameters = list(module.parameters())
        self.found: dict[Hashable, Recording | None] = {}

    def takes(self, method: str) -> bool:
        return method in self.numbers and self.module.training and _records_on(self.parameters[0].device)

    def __call__(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        leaves, tree = tree_flatten((args, kwargs))
        key = self._key(method, leaves, tree)
        if key not in self.found and len(self.found) < MOST:
            self.found[key] = self._recording(method, leaves, tree)
        recording = self.found.get(key)
        if recording is None or recording.awaits_backward():
            args, kwargs = tree_unflatten(leaves, tree)
            return self.run(self._called(method), args, kwargs)
        numbers = {name: getattr(self.module, name) for name in self.numbers[method]}
        return recording(_tensors(leaves), [one for one in self.parameters if one.requires_grad], numbers)

    def forget(self) -> None:
        """Give back the memory of all recordings."""
        self.found = {}

    def _called(self, method: str) -> Callable[..., Any]:
        return self.module if method == "forward" else getattr(self.module, method)

    def _key(self, method: str, leaves: list[Any], tree: Any) -> Hashable:
        shapes = [(one.shape, one.dtype, one.requires_grad) if isinstance(one, Tensor) else one for one in leaves]
        plain = [
            (name, value)
            for name, value in vars(self.module).items()
            if isinstance(value, Hashable) and not name.startswith("_") and name not in self.changing
        ]
        trained = tuple(parameter.requires_grad for parameter in self.parameters)
        return method, str(tree), tuple(shapes), tuple(plain), trained, self._has_slopes(leaves)

    def _has_slopes(self, leaves: list[Any]) -> bool:
        """Whether a gradient may be asked for."""
        return torch.is_grad_enabled() and any(one.requires_grad for one in (*_tensors(leaves), *self.parameters))

    def _recording(self, method: str, leaves: list[Any], tree: Any) -> Recording | None:
        """None where there is no memory for one, which holds on to what a plain call gives back."""

        def function(inputs: list[Tensor]) -> Any:
            given = iter(inputs)
            args, kwargs = tree_unflatten([next(given) if isinstance(one, Tensor) else one for one in leaves], tree)
            return self.run(self._called(method), args, kwargs)

        device = self.parameters[0].device
        numbers = {name: torch.zeros((), dtype=torch.float64, device=device) for name in self.numbers[method]}
        trained, slopes = [one for one in self.parameters if one.requires_grad], self._has_slopes(leaves)
        # A graph made before may still hold on to the parameters themselves, on another stream. Where no gradient is
        # wanted all say that they are trained, with gradients off: such are rounded to bfloat16 once in a call, others
        # at every use.
        aliases = {one: nn.Parameter(one.detach(), one.requires_grad or not slopes) for one in self.parameters}
        with _standing_in(self.module, numbers, aliases), torch.set_grad_enabled(slopes):
            try:
                return Recording(function, _tensors(leaves), [aliases[one] for one in trained], numbers)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                return None


def make_recorder(module: nn.Module, run: Callable[..., Any]) -> Recorder | None:
    """Make the recorder of a network whose class says in `recorded` which of its calls may be recorded; else None."""
    # Of the class itself: a subclass may do what a recording would leave out.
    numbers = vars(type(module)).get("recorded")
    return Recorder(module, numbers, run) if numbers else None


def _tensors(leaves: list[Any]) -> list[Tensor]:
    return [one for one in leaves if isinstance(one, Tensor)]


def _records_on(device: torch.device) -> bool:
    return device.type == "cuda"


@contextmanager
def _standing_in(
    module: nn.Module, numbers: Mapping[str, Tensor], parameters: Mapping[nn.Parameter, nn.Parameter]
) -> Iterator[None]:
    """The module reads these in place of its own numbers and parameters."""
    before = {name: getattr(module, name) for name in numbers}
    places = [(part, name, own) for part in module.modules() for name, own in part.named_parameters(recurse=False)]
    try:
        vars(module).update(numbers)
        for part, name, own in places:
            setattr(part, name, parameters[own])
        _weights_stay(module)
        yield
    finally:
        vars(module).update(before)
        for part, name, own in places:
            setattr(part, name, own)
        _weights_stay(module)


def _weights_stay(module: nn.Module) -> None:
    """Recurrent layers move weights that are other objects than before into memory of their own, where recordings would
    not find them."""
    for part in module.modules():
        if isinstance(part, nn.RNNBase):
            part._flat_weight_refs = [None if one is None else weakref.ref(one) for one in part._flat_weights]


WARM_UP = 3


class Recording:
    """One function as CUDA graphs of its forward and backward pass. Replays run the kernels of a plain call on the
    same numbers, so that results are the same.

    One function's forward pass and, where gradients are wanted, its backward pass.

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
