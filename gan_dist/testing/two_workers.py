"""Two workers as threads of this process, so that a component can be tried on both without starting any."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.distributed.runtime import Autocast, WrappedNetwork
from gan_dist.events import Event

WORLD = 2
PATIENCE_S = 60.0


class Exchange:
    """Where the workers meet: each leaves a value and takes those of all."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(WORLD, timeout=PATIENCE_S)
        self.values: list[Any] = [None] * WORLD

    def all(self, rank: int, value: Any) -> list[Any]:
        self.values[rank] = value
        self.barrier.wait()
        found = list(self.values)
        self.barrier.wait()  # nobody leaves the next value before all have taken this one
        return found


class ThreadRuntime:
    """One of the two workers (`distributed.runtime.WorkerRuntime`)."""

    world = WORLD

    def __init__(self, rank: int, exchange: Exchange) -> None:
        self.rank, self.exchange, self.device = rank, exchange, torch.device("cpu")

    def wire(self, module: nn.Module, compile_forward: bool, autocast: Autocast) -> WrappedNetwork:
        return WrappedNetwork(module, compile_forward, autocast)

    def sync(self, nets: list[WrappedNetwork], when: bool) -> AbstractContextManager[None]:
        return self._summed(nets) if when else nullcontext()

    @contextmanager
    def _summed(self, nets: list[WrappedNetwork]) -> Iterator[None]:
        yield
        parameters = [parameter for net in nets for parameter in net.module.parameters() if parameter.requires_grad]
        ours = [None if parameter.grad is None else parameter.grad.clone() for parameter in parameters]
        for parameter, *each in zip(parameters, *self.exchange.all(self.rank, ours), strict=True):
            found = [gradient for gradient in each if gradient is not None]
            parameter.grad = torch.stack(found).sum(0) if found else None

    def sum(self, value: Tensor) -> Tensor:
        return torch.stack(self.gather(value)).sum(0)

    def sum_later(self, value: Tensor) -> Callable[[], Tensor]:
        total = self.sum(value)
        return lambda: total

    def gather(self, value: Tensor) -> list[Tensor]:
        return self.exchange.all(self.rank, value.clone())

    def emit(self, event: Event) -> None:
        """Nobody listens."""

    def stopping(self) -> bool:
        return False

    def saving(self) -> bool:
        return False


def on_two_workers(work: Callable[[ThreadRuntime], Any]) -> list[Any]:
    """What each of two workers returns, in the order of their ranks.

    Raises:
        Exception: the first that a worker raised of its own.
    """
    exchange = Exchange()

    def member(rank: int) -> Any:
        try:
            return work(ThreadRuntime(rank, exchange))
        except BaseException:
            exchange.barrier.abort()  # the other one waits for what will not come
            raise

    with ThreadPoolExecutor(WORLD) as pool:
        futures = [pool.submit(member, rank) for rank in range(WORLD)]
    errors = [future.exception() for future in futures]
    own = [error for error in errors if error is not None and not isinstance(error, threading.BrokenBarrierError)]
    for error in own or [error for error in errors if error is not None]:
        raise error
    return [future.result() for future in futures]
