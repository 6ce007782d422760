"""Gradients summed over workers while `backward` is still running."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

FIRST_BYTES, BUCKET_BYTES = 1 << 20, 25 << 20


@dataclass
class _Bucket:
    """Parameters that travel together. `flat` holds their gradients, then one flag each: whether it has one."""

    parameters: list[nn.Parameter]
    flat: Tensor
    views: list[Tensor]
    waiting: set[int] = field(default_factory=set)
    absent: list[int] = field(default_factory=list)
    work: Any = None

    def begin(self) -> None:
        self.waiting, self.work = set(range(len(self.parameters))), None

    def send(self) -> None:
        import torch.distributed as dist

        self.fill()
        self.work = dist.all_reduce(self.flat, async_op=True)

    def fill(self) -> None:
        """Copy the gradients in, zeros where there is none."""
        flags = self.flat[-len(self.parameters) :]
        flags.fill_(1.0)
        self.absent = [i for i, parameter in enumerate(self.parameters) if parameter.grad is None]
        for i in self.absent:
            self.views[i].zero_()
            flags[i] = 0.0
        views = [view for view, p in zip(self.views, self.parameters, strict=True) if p.grad is not None]
        if views:
            torch._foreach_copy_(views, [p.grad for p in self.parameters if p.grad is not None])

    def hand_out(self) -> None:
        """Give each parameter its sum; one without a gradient on any worker keeps none."""
        for parameter, view in zip(self.parameters, self.views, strict=True):
            parameter.grad = view
        if self.absent:
            flags = self.flat[-len(self.parameters) :].tolist()
            for i in self.absent:
                if flags[i] == 0:
                    self.parameters[i].grad = None


class GradientSum:
    """The buckets of one network, with a hook on each parameter that sees its gradient complete.

    So whatever method of the network made it takes part. Buckets are fixed by the order of the parameters, so a
    resumed run adds in the order of the run it continues.

    Args:
        parameters: those that are trained; at least one, all on one device.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.buckets = [_bucket(group) for group in _groups(parameters)]
        self.queue: _Queue | None = None
        for bucket in self.buckets:
            for number, parameter in enumerate(bucket.parameters):
                hook = self._hook(bucket, number)
                parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]

    def _hook(self, bucket: _Bucket, number: int) -> Any:
        def complete(_: Tensor) -> None:
            if self.queue is not None:
                self.queue.ready(bucket, number)

        return complete


class _Queue:
    """Sends buckets in one order on every worker, each as soon as it and those before it are complete."""

    def __init__(self, sums: Sequence[GradientSum]) -> None:
        self.buckets = [bucket for one in sums for bucket in one.buckets]
        self.next = 0
        for bucket in self.buckets:
            bucket.begin()

    def ready(self, bucket: _Bucket, number: int) -> None:
        if bucket.work is not None:
            raise ValueError(
                "a gradient was completed twice in one backward; with torch.utils.checkpoint say use_reentrant=False"
            )
        bucket.waiting.discard(number)
        while self.next < len(self.buckets) and not self.buckets[self.next].waiting:
            self.buckets[self.next].send()
            self.next += 1

    def finish(self) -> None:
        for bucket in self.buckets[self.next :]:
            bucket.send()
        for bucket in self.buckets:
            bucket.work.wait()
            bucket.hand_out()


@contextmanager
def reduce_gradients(sums: Sequence[GradientSum]) -> Iterator[None]:
    """Inside, one `backward` ends with every gradient of these networks being the sum over workers.

    Every worker must enter, with the same networks in the same order.
    """
    queue = _Queue(sums)
    for one in sums:
        one.queue = queue
    try:
        yield
    finally:
        for one in sums:
            one.queue = None
    queue.finish()


def _groups(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Parameters in the order in which `backward` completes them, cut where a bucket is full or the type changes.

    The first bucket is small so that it leaves early.
    """
    groups: list[list[nn.Parameter]] = []
    held, most = 0, FIRST_BYTES
    for parameter in reversed(parameters):
        size = parameter.numel() * parameter.element_size()
        if not groups or held + size > most or groups[-1][0].dtype != parameter.dtype:
            most = BUCKET_BYTES if groups else FIRST_BYTES
            groups.append([])
            held = 0
        groups[-1].append(parameter)
        held += size
    return groups


def _bucket(parameters: list[nn.Parameter]) -> _Bucket:
    """Views have the strides of their parameters, so that channels-last gradients are copied in memory order."""
    count = sum(parameter.numel() for parameter in parameters)
    flat = torch.zeros(count + len(parameters), dtype=parameters[0].dtype, device=parameters[0].device)
    views, start = [], 0
    for parameter in parameters:
        dense = parameter.detach()
        strides = dense.stride() if is_dense(dense) else dense.contiguous().stride()
        views.append(flat.as_strided(dense.shape, strides, start))
        start += dense.numel()
    return _Bucket(parameters, flat, views)


def is_dense(tensor: Tensor) -> bool:
    """Whether its elements fill one block of memory, in whatever order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True
