"""The moving average of the generator's weights, by half-life in samples (Karras et al. 2020, arXiv 2006.06676)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gan_dist.spec.amounts import Amount
from gan_dist.spec.sections import EmaSpec
from gan_dist.training.schedule import Clock


class Ema:
    """A second generator whose weights follow the first: w_ema = b w_ema + (1 - b) w, b = 0.5^(batch/half-life).

    Buffers are not averaged over time; whoever uses `module` sets them (see `state.TrainState.published`).
    """

    def __init__(self, spec: EmaSpec, generator: nn.Module, clock: Clock) -> None:
        self.spec, self.clock = spec, clock
        self.module = copy.deepcopy(generator).eval().requires_grad_(False)
        # Looked for once: walking through a network's modules takes longer than averaging a small one.
        self._average: list[Tensor] = list(self.module.parameters())
        self._followed: list[Tensor] = list(generator.parameters())

    def beta(self, seen: int) -> float:
        """How much of the average stays at the iteration that ends at `seen`."""
        if seen <= self.clock.samples(self.spec.start):
            return 0.0
        half = self.spec.half_life
        samples = self.clock.samples(half) if isinstance(half, Amount) else self.clock.value(half, seen)
        if self.spec.ramp_up is not None:
            samples = min(samples, self.spec.ramp_up * seen)
        return float(0.5 ** (self.clock.batch / samples)) if samples > 0 else 0.0

    @torch.no_grad()
    def update(self, seen: int) -> None:
        """Follow the generator in the iteration that ends at `seen`."""
        torch._foreach_lerp_(self._average, self._followed, 1 - self.beta(seen))
