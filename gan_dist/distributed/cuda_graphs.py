"""Methods of a network that launch thousands of small kernels, recorded once as CUDA graphs and replayed from then on.

Text is written token by token, each token by dozens of kernels that take a GPU less time than Python needs to ask for
them. A replay is one request.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from gan_dist.distributed.cuda_graph_recording import Recording

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
    """Of a network that is recorded."""
    ours, numbers = type(module).__module__.startswith("gan_dist.networks."), getattr(module, "recorded", None)
    return Recorder(module, numbers, run) if ours and numbers else None


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
