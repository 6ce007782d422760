"""Flow matching, a kind of diffusion: what GANs are compared with where it must be what people ask for today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over
from gan_dist.distributed.randomness import single_lane_rng


class FlowMatching:
    """E |v(x_t, t) - (x - e)|^2 over pixels, x_t = (1 - t) e + t x on the line from noise e to a real image x.

    The field v then carries noise to images (Lipman et al. 2023, arXiv 2210.02747, equation 23 with a smallest
    deviation of 0; Liu, Gong and Liu 2023, arXiv 2209.03003, equation 1). t = s(spread n), n normal and s the logistic,
    looks at the middle more often than at both ends (Esser et al. 2024, arXiv 2403.03206, section 3.1). The job needs a
    generator with `velocity(x, t, cond)`, as `flow` has it, and no discriminator.

    Args:
        spread: of the times, above 0; 0 for times that are uniform in [0, 1).
    """

    needs_discriminator = False
    phases = (Phase("flow", ("generator",)),)
    needs_methods: ClassVar = {"generator": ("velocity",)}
    tried_on: ClassVar = {"generator": {"use": "flow", "width": 4, "steps": 1}}

    def __init__(self, *, spread: float = 1.0) -> None:
        if spread < 0:
            raise ValueError(f"spread must be at least 0, not {spread}")
        self.spread = spread

    def problems(self, networks: Mapping[str, nn.Module]) -> Iterator[str]:
        """What keeps it from training these networks."""
        generator: Any = networks["generator"]
        noise = generator.draw(1, single_lane_rng(("flow",), 1, torch.device("cpu")))
        if not isinstance(noise, Tensor):
            yield "the generator's noise is not as many numbers as an image has, as that of flow is"

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        real = batch.real
        assert real is not None
        noise = batch.noise.view(real.shape).to(real.dtype)
        time = self._times(batch).to(real.dtype)
        at = time.view(-1, *[1] * (real.ndim - 1))
        moved: Tensor = nets.G.call("velocity", torch.lerp(noise, real, at), time, batch.cond)
        return {"velocity": mean_over((moved - (real - noise)).square())}

    def _times(self, batch: Batch) -> Tensor:
        """One for each sample, [B]."""
        rng = batch.rng("time")
        return torch.sigmoid(self.spread * rng.normal()) if self.spread else rng.uniform()
