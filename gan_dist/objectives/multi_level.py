"""Pictures on the way to the finished one are judged with it, each noised in its own degree: the loss of GAT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.contracts import Batch, Nets, Term, mean_over, watch
from gan_dist.distributed.randomness import Rng
from gan_dist.objectives.reconstruction import precise
from gan_dist.objectives.relativistic import phases_with_reals, watch_scores

LEVELS = 4
CLEANEST, NOISIEST = 0.01, 0.125


class MultiLevel:
    """The relativistic loss of four pictures at once, with approximate R1 and R2 (Hyun et al. 2025, arXiv 2509.24935).

    Level i of 0 to 3 is (1 - t) x + t e with t = 1 - 0.125^(1 - i/3) + 0.01, from mostly noise to nearly none; e of a
    level is that of the next cleaner one and more. Of a real sample all levels are the same picture. R1 and R2 are
    gamma / 2 ((D(x + step e) - D(x)) / step)^2, with the same noise of the levels and the same augmentation in both
    passes; see `approximate_r1`. G must have `levels(noise, cond)`, pictures [B, 4, C, H, W], and D take [B, 4 C, H,
    W], as `gat`.

    Args:
        gamma: strength of R1 and R2, >= 0.
        step: deviation of the noise of R1 and R2 on pixels in [-1, 1], above 0; 0.05 where D computes in bfloat16.

    Raises:
        ValueError: a number is out of its range.
    """

    needs_methods: ClassVar = {"generator": ("levels",)}
    tried_on: ClassVar = {
        "generator": {"use": "gat", "hidden": 16, "depth": 4, "heads": 2},
        "discriminator": {"use": "gat", "hidden": 16, "depth": 4, "heads": 2},
    }
    threshold: ClassVar[float | None] = None

    def __init__(self, *, gamma: float = 0.1, step: float = 0.01) -> None:
        if gamma < 0 or step <= 0:
            raise ValueError(f"gamma must be at least 0 and step above it, not {gamma} and {step}")
        self.phases = phases_with_reals(1)
        self.gamma, self.step = gamma, step

    def problems(self, networks: Mapping[str, nn.Module]) -> Iterator[str]:
        """What keeps it from training these networks."""
        judge: Any = networks.get("discriminator")
        if not hasattr(judge, "blocks") or getattr(judge, "channels", None) is None:
            yield "the discriminator does not judge four pictures at once, as that of gat does"

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        assert batch.real is not None
        with torch.set_grad_enabled(phase == "G"):
            made: Tensor = nets.G.call("levels", batch.noise, batch.cond)
        of_real, of_fake = judged_reals(nets, batch), JudgedLevels(nets, batch, "fake", made)
        ahead = of_real.logits - of_fake.logits
        if phase == "G":
            return {"adversarial": mean_over(F.softplus(ahead))}
        terms = {"adversarial": mean_over(F.softplus(-ahead)), "accuracy": watch(ahead > 0)}
        terms |= watch_scores(of_real.logits, of_fake.logits)
        if self.gamma:
            moved = self.step * batch.rng("moved real").normal(*batch.real.shape[1:])[:, None].to(batch.real.dtype)
            others = self.step * batch.rng("moved fake").normal(*made.shape[1:]).to(made.dtype)
            terms["r1"] = self._slope(of_real.again(nets, batch, of_real.levels + moved) - of_real.logits)
            terms["r2"] = self._slope(of_fake.again(nets, batch, made + others) - of_fake.logits)
        return terms

    def _slope(self, ahead: Tensor) -> Term:
        return mean_over(self.gamma / 2 * (ahead / self.step).square())


class JudgedLevels:
    """D on real or on generated pictures [B, 4, C, H, W], with the noise of their levels.

    It holds neither the networks nor the batch, which may hold it.

    Attributes:
        logits: [B].
        tokens: what a D that is taught found them with, [B, 1 + T, hidden]; None of any other D.
    """

    def __init__(self, nets: Nets, batch: Batch, which: str, levels: Tensor, with_tokens: bool = False) -> None:
        self.which, self.levels, self.with_tokens = which, levels, with_tokens
        self.logits, self.tokens = self._judged(nets.D, self._noised(batch, levels), batch)
        self.number = getattr(nets.D, "passes", 0)

    def augmented(self, nets: Nets, x: Tensor) -> Tensor:
        """Other pictures [B, 4 C, H, W], augmented as those before."""
        changed: Any = getattr(nets.D, "augmented", None)
        shown: Tensor = x if changed is None else changed(self.number, x)
        return shown

    def again(self, nets: Nets, batch: Batch, levels: Tensor) -> Tensor:
        """Logits of other pictures, noised and augmented as those before."""
        shown = self.augmented(nets, self._noised(batch, levels))
        return self._judged(getattr(nets.D, "raw", nets.D), shown, batch)[0]

    def _judged(self, judge: Any, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None]:
        if not self.with_tokens:
            return judge(x, batch.cond), None
        logits, tokens = judge.call("forward_tokens", x, batch.cond)
        return precise(logits), tokens

    def _noised(self, batch: Batch, levels: Tensor) -> Tensor:
        return noised_levels(levels, batch.rng(f"levels {self.which}")).flatten(1, 2)


def judged_reals(nets: Nets, batch: Batch) -> JudgedLevels:
    """D's pass over the real pictures of a batch, made once for all objectives that look at it."""

    def made() -> JudgedLevels:
        assert batch.real is not None
        levels = batch.real[:, None].expand(-1, LEVELS, -1, -1, -1)
        return JudgedLevels(nets, batch, "real", levels, with_tokens=bool(getattr(nets.D.module, "taught", 0)))

    return batch.once("judged reals", made)


def noised_levels(levels: Tensor, rng: Rng) -> Tensor:
    """Pictures [B, 4, C, H, W], each noised in its own degree; the noise of a level holds that of cleaner ones."""
    times = level_times()
    found: list[Tensor] = []
    noise, before = torch.zeros_like(levels[:, 0]), 0.0
    for number in range(LEVELS - 1, -1, -1):
        time = times[number]
        kept = (1 - time) / (1 - before)
        more = (time**2 - (kept * before) ** 2) ** 0.5
        noise = kept * noise + more * rng.normal(*noise.shape[1:]).to(noise.dtype)
        found.append((1 - time) * levels[:, number] + noise)
        before = time
    return torch.stack(found[::-1], 1)


def level_times() -> list[float]:
    """How much of each level is noise, the noisiest first."""
    return [1 - NOISIEST ** (1 - number / (LEVELS - 1)) + CLEANEST for number in range(LEVELS)]
