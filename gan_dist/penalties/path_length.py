"""Path length: a step in G's styles shall change the picture by the same amount anywhere (Karras et al. 2020,
arXiv 1912.04958, equation 4)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from gan_dist.contracts import Batch, Nets, Term


class PathLength:
    """gamma * E (|J_w^T y| - a)^2 over styles w, y a picture of normal noise and a the moving mean of these lengths.

    G must have `styles(noise, cond)` and `synthesis(styles, noise)`. Each micro-batch gives its every `shrink`-th
    sample, with noise of its own. The mean that lengths are compared with is that before the step, because the
    step's own is known to all workers only afterwards. Meant to be lazy: the paper has `every: 8`, its later code 4.

    Args:
        gamma: strength, >= 0.
        decay: how much of the mean is replaced in a step, in (0, 1].
        shrink: of how many samples one is looked at, to save memory.

    Raises:
        ValueError: a number is out of its range.
    """

    phase = "G"
    needs_methods: ClassVar = {"generator": ("styles", "synthesis")}

    def __init__(self, *, gamma: float = 2.0, decay: float = 0.01, shrink: int = 2) -> None:
        if gamma < 0 or not 0 < decay <= 1 or shrink < 1:
            raise ValueError(
                f"gamma must be at least 0, decay in (0, 1] and shrink at least 1, not {gamma}, {decay} and {shrink}"
            )
        self.gamma, self.decay, self.shrink = gamma, decay, shrink
        self.mean = torch.zeros((), dtype=torch.float64, device="cpu")

    def terms(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        generator: Any = nets.G.module
        noise = _every(generator.draw(batch.n, batch.rng("path_length")), self.shrink)
        cond = batch.cond[:: self.shrink] if batch.cond is not None else None
        styles = nets.G.call("styles", noise, cond)
        if not styles.requires_grad:
            styles = styles.requires_grad_()
        made = nets.G.call("synthesis", styles, noise)
        target = batch.rng("path_length pictures").normal(*made.shape[1:])[:: self.shrink]
        lengths = path_lengths(made, styles, target)
        off = lengths - self.mean.to(lengths.device, lengths.dtype)
        weight = batch.n / self.shrink
        return {
            "path_length": Term(self.gamma * off.square().sum(), weight),
            # With all its digits, unlike what is only shown: the next lengths are compared with it.
            "length": Term(lengths.detach().sum(), weight, watch=True),
        }

    def after_step(self, means: dict[str, Tensor]) -> None:
        length = means["length"]
        self.mean = torch.lerp(self.mean.to(length.device), length, self.decay)

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean}


def path_lengths(made: Tensor, styles: Tensor, target: Tensor) -> Tensor:
    """|J^T y| of each sample, [B]: pictures [B, C, H, W] by styles [B, layers, w], the square a mean over layers, and
    y the `target` over the root of its pixels."""
    scaled = target / math.sqrt(made.shape[-1] * made.shape[-2])
    (slopes,) = torch.autograd.grad((made * scaled).sum(), styles, create_graph=True)
    wide = torch.promote_types(slopes.dtype, torch.float32)
    # The tiny number keeps the root differentiable where a picture does not depend on its style.
    lengths: Tensor = (slopes.to(wide).square().sum(2).mean(1) + 1e-16).sqrt()
    return lengths


def _every(noise: Any, step: int) -> Any:
    """Each `step`-th sample of a generator's noise, whatever it is made of."""
    if isinstance(noise, Tensor):
        return noise[::step]
    if isinstance(noise, dict):
        return {name: _every(part, step) for name, part in noise.items()}
    return type(noise)(_every(part, step) for part in noise)
