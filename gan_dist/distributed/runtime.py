"""A worker's place among the workers: rank, device, how gradients are reduced, how ranks talk. No Ray here.

`LocalRuntime` is one process alone; `DistributedRuntime` is one of several in a `torch.distributed` group, which Ray
Train (or a test) has set up. Both are given what differs by launcher: where events go and who asks for a stop.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gan_dist.distributed.cuda_graphs import make_recorder
from gan_dist.distributed.gradient_reduction import GradientSum, reduce_gradients
from gan_dist.events import Emit, Event

Autocast = Callable[[], AbstractContextManager[Any]]


class WrappedNetwork:
    """A network as objectives see it (`contracts.Net`)."""

    def __init__(self, module: nn.Module, compile_forward: bool, autocast: Autocast) -> None:
        self.module, self.autocast = module, autocast
        self._recorder = make_recorder(module, self._run)
        compiles = compile_forward and self._recorder is None
        self._compiled: Callable[..., Any] | None = torch.compile(module) if compiles else None

    @property
    def raw(self) -> WrappedNetwork:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _will_be_differentiated(args):
            return self._run(self.module, args, kwargs)
        if self._recorder is not None and self._recorder.takes("forward"):
            return self._recorder("forward", args, kwargs)
        return self._run(self.module if self._compiled is None else self._compiled, args, kwargs)

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if self._recorder is not None and self._recorder.takes(method):
            return self._recorder(method, args, kwargs)
        return self._run(getattr(self.module, method), args, kwargs)

    def forget(self) -> None:
        """Give back the memory of what has been recorded of its calls."""
        if self._recorder is not None:
            self._recorder.forget()

    def _run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self.autocast():
            made = function(*args, **kwargs)
        # Losses and their sums want more digits than bfloat16 has, and a wider range than float16.
        return made.float() if isinstance(made, Tensor) and made.dtype in (torch.bfloat16, torch.float16) else made


class WorkerRuntime(Protocol):
    """What the loop asks of its runtime."""

    rank: int
    world: int
    device: torch.device

    def wire(self, module: nn.Module, compile_forward: bool, autocast: Autocast) -> WrappedNetwork: ...
    def sync(self, nets: list[WrappedNetwork], when: bool) -> AbstractContextManager[None]: ...
    def sum(self, value: Tensor) -> Tensor: ...
    def sum_later(self, value: Tensor) -> Callable[[], Tensor]: ...
    def gather(self, value: Tensor) -> list[Tensor]: ...
    def emit(self, event: Event) -> None: ...
    def stopping(self) -> bool: ...
    def saving(self) -> bool: ...


def never() -> bool:
    """A question that is always answered by no."""
    return False


class LocalRuntime:
    """One process, nothing to reduce."""

    rank, world = 0, 1

    def __init__(self, device: torch.device, emit: Emit, stopping: Callable[[], bool]) -> None:
        self.device, self.emit, self.stopping, self.saving = device, emit, stopping, never

    def wire(self, module: nn.Module, compile_forward: bool, autocast: Autocast) -> WrappedNetwork:
        return WrappedNetwork(module, compile_forward, autocast)

    def sync(self, nets: list[WrappedNetwork], when: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def sum(self, value: Tensor) -> Tensor:
        return value

    def sum_later(self, value: Tensor) -> Callable[[], Tensor]:
        return lambda: value

    def gather(self, value: Tensor) -> list[Tensor]:
        return [value]


class DistributedRuntime:
    """One of `world` processes of the default `torch.distributed` group.

    Args:
        device: its own.
        emit: where its events go.
        stopping: whether a checkpoint and an end are asked for.
        saving: whether a checkpoint is asked for, after which it goes on.
    """

    def __init__(
        self, device: torch.device, emit: Emit, stopping: Callable[[], bool], saving: Callable[[], bool] | None = None
    ) -> None:
        import torch.distributed as dist

        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.device, self.emit, self.stopping, self.saving = device, emit, stopping, saving or never
        self._sums: dict[WrappedNetwork, GradientSum] = {}

    def wire(self, module: nn.Module, compile_forward: bool, autocast: Autocast) -> WrappedNetwork:
        """A network whose workers all start from the first one's weights."""
        self._share(module)
        net = WrappedNetwork(module, compile_forward, autocast)
        if trained := [parameter for parameter in module.parameters() if parameter.requires_grad]:
            self._sums[net] = GradientSum(trained)
        return net

    def _share(self, module: nn.Module) -> None:
        import torch.distributed as dist

        with torch.no_grad():
            for tensor in (*module.parameters(), *module.buffers()):
                whole = tensor.contiguous()
                dist.broadcast(whole, src=0)
                tensor.copy_(whole)

    def sync(self, nets: list[WrappedNetwork], when: bool) -> AbstractContextManager[None]:
        """Sum gradients of the backward inside, or with `when=False` keep adding them up locally."""
        return reduce_gradients([self._sums[net] for net in nets if net in self._sums]) if when else nullcontext()

    def sum(self, value: Tensor) -> Tensor:
        """The sum over workers of one small tensor, on every worker."""
        return self.sum_later(value)()

    def sum_later(self, value: Tensor) -> Callable[[], Tensor]:
        """Start a sum over workers; the returned function waits for it."""
        import torch.distributed as dist

        total = value.clone()
        work = dist.all_reduce(total, async_op=True)

        def finish() -> Tensor:
            work.wait()
            return total

        return finish

    def gather(self, value: Tensor) -> list[Tensor]:
        """The tensor of each worker, in rank order, on every worker."""
        import torch.distributed as dist

        parts = [torch.empty_like(value) for _ in range(self.world)]
        dist.all_gather(parts, value.contiguous())
        return parts


def _will_be_differentiated(args: tuple[Any, ...]) -> bool:
    """Whether an input is a leaf that wants a gradient: a penalty is at work, and needs a second derivative,
    which torch.compile does not give."""
    return any(isinstance(arg, Tensor) and arg.requires_grad and arg.is_leaf for arg in args)


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 natively (NVIDIA from compute capability 8.0)."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def pick_device(asked: str) -> torch.device:
    """The device of a process that has the machine to itself.

    Raises:
        ValueError: CUDA was asked for and is not there.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise ValueError("resources.device: cuda, but this machine has no usable CUDA device")
    return torch.device("cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu")
