"""Batch normalisation by the moments of all workers' samples, so that a run does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class GlobalBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose moments in training are over the samples of all workers (cross-replica normalisation, as
    Brock et al. 2019, arXiv 1809.11096, have it in G); alone it is that layer.

    Forward and backward exchange sums of C numbers each, so every worker must call both, as often. Samples that one
    step accumulates in several micro-batches are normalised micro-batch by micro-batch. It has no second derivative.
    The running statistics are the same on all workers.
    """

    over_workers = True

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.over_workers and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        axes = (0, 2, 3)
        count = torch.full((1,), wide.numel() / wide.shape[1], dtype=wide.dtype, device=wide.device)
        total: Tensor = _SumOverWorkers.apply(torch.cat([wide.sum(axes), count]))
        mean = total[:-1] / total[-1]
        # The squares are of what is left without the mean: a difference of large sums would lose digits.
        centred = wide - mean[:, None, None]
        variance: Tensor = _SumOverWorkers.apply(centred.square().sum(axes)) / total[-1]
        self._follow(mean.detach(), variance.detach(), total[-1].detach())
        made = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            made = made * self.weight[:, None, None] + self.bias[:, None, None]
        return made.to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics, whose variance is unbiased, as `nn.BatchNorm2d` does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), share)


class _SumOverWorkers(torch.autograd.Function):
    """A sum over workers, whose gradient is that of all workers' losses."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def global_batch_norms(*networks: nn.Module) -> list[GlobalBatchNorm]:
    """All of these networks."""
    return [layer for network in networks for layer in network.modules() if isinstance(layer, GlobalBatchNorm)]


@contextmanager
def moments_of_one_worker(*networks: nn.Module) -> Iterator[None]:
    """Inside, these networks normalise by what this worker sees alone, and nobody waits for another."""
    layers = global_batch_norms(*networks)
    before = [layer.over_workers for layer in layers]
    for layer in layers:
        layer.over_workers = False
    try:
        yield
    finally:
        for layer, one in zip(layers, before, strict=True):
            layer.over_workers = one
