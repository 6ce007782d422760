"""A worker's place among the workers: rank, device, how gradients are reduced, how ranks talk. No Ray here.

`LocalRun` is one process alone; `GroupRun` is one of several in a `torch.distributed` group, which Ray Train (or a
test) has set up. Both are given what differs by launcher: where events go and who asks for a stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from inspect import signature
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Emit = Callable[[dict[str, Any]], None]
Autocast = Callable[[], AbstractContextManager[Any]]


class Dispatch(nn.Module):
    """Sends any method of a network through one `forward`, the only door that DistributedDataParallel watches."""

    def __init__(self, module: nn.Module, compile_forward: bool) -> None:
        super().__init__()
        self.module = module
        self._compiled = [torch.compile(module)] if compile_forward else []

    def forward(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if method != "forward":
            return getattr(self.module, method)(*args, **kwargs)
        if self._compiled and not _will_be_differentiated(args):
            return self._compiled[0](*args, **kwargs)
        return self.module(*args, **kwargs)


class WiredNet:
    """A network as objectives see it (`contracts.Net`).

    `reduced` is set by the loop for the networks that a phase trains; only then do calls go through
    DistributedDataParallel, so that nothing else is ever reduced.
    """

    def __init__(self, dispatch: Dispatch, parallel: nn.Module, autocast: Autocast) -> None:
        self.dispatch, self.parallel, self.autocast = dispatch, parallel, autocast
        self.reduced = False

    @property
    def module(self) -> nn.Module:
        return self.dispatch.module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call("forward", *args, **kwargs)

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        door = self.parallel if self.reduced else self.dispatch
        with self.autocast():
            made = door(method, *args, **kwargs)
        # Losses and their sums want more digits than bfloat16 has.
        return made.float() if isinstance(made, Tensor) and made.dtype == torch.bfloat16 else made


class Run(Protocol):
    """What the loop asks of its runtime."""

    rank: int
    world: int
    device: torch.device

    def wire(self, module: nn.Module, compile_forward: bool, autocast: Autocast) -> WiredNet: ...
    def sync(self, nets: list[WiredNet], when: bool) -> AbstractContextManager[None]: ...
    def sum(self, value: Tensor) -> Tensor: ...
    def sum_later(self, value: Tensor) -> Callable[[], Tensor]: ...
    def gather(self, value: Tensor) -> list[Tensor]: ...
    def emit(self, event: dict[str, Any]) -> None: ...
    def stopping(self) -> bool: ...


class LocalRun:
    """One process, nothing to reduce."""

    rank, world = 0, 1

    def __init__(self, device: torch.device, emit: Emit, stopping: Callable[[], bool]) -> None:
        self.device, self.emit, self.stopping = device, emit, stopping

    def wire(self, module: nn.Module, compile_forward: bool, autocast: Autocast) -> WiredNet:
        dispatch = Dispatch(module, compile_forward)
        return WiredNet(dispatch, dispatch, autocast)

    def sync(self, nets: list[WiredNet], when: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def sum(self, value: Tensor) -> Tensor:
        return value

    def sum_later(self, value: Tensor) -> Callable[[], Tensor]:
        return lambda: value

    def gather(self, value: Tensor) -> list[Tensor]:
        return [value]


class GroupRun:
    """One of `world` processes of the default `torch.distributed` group."""

    def __init__(self, device: torch.device, emit: Emit, stopping: Callable[[], bool]) -> None:
        import torch.distributed as dist

        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.device, self.emit, self.stopping = device, emit, stopping

    def wire(self, module: nn.Module, compile_forward: bool, autocast: Autocast) -> WiredNet:
        from torch.nn.parallel import DistributedDataParallel

        dispatch = Dispatch(module, compile_forward)
        if not any(parameter.requires_grad for parameter in module.parameters()):
            return WiredNet(dispatch, dispatch, autocast)
        # From three ranks on, buckets that are rebuilt after the first step would reduce in another order, and a
        # resumed run would differ in the last bit; looking for unused parameters keeps the first buckets.
        parallel = DistributedDataParallel(dispatch, find_unused_parameters=True, **_keep_buffers())
        return WiredNet(dispatch, parallel, autocast)

    @contextmanager
    def sync(self, nets: list[WiredNet], when: bool) -> Iterator[None]:
        """Reduce gradients of the backward inside, or with `when=False` keep adding them up locally."""
        with ExitStack() as stack:
            for net in nets:
                if not when and net.parallel is not net.dispatch:
                    stack.enter_context(net.parallel.no_sync())  # type: ignore[operator]
            yield

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


def _keep_buffers() -> dict[str, Any]:
    """The option that leaves buffers alone in training; torch renamed it."""
    from torch.nn.parallel import DistributedDataParallel

    known = signature(DistributedDataParallel.__init__).parameters
    return {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False}


def _will_be_differentiated(args: tuple[Any, ...]) -> bool:
    """Whether an input is a leaf that wants a gradient: a penalty is at work, and needs a second derivative,
    which torch.compile does not give."""
    return any(isinstance(arg, Tensor) and arg.requires_grad and arg.is_leaf for arg in args)
