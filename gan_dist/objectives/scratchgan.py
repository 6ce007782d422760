"""ScratchGAN: text without pretraining, rewarded token by token (d'Autume et al. 2019, arXiv 1905.09922)."""

from __future__ import annotations

from contextlib import nullcontext
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gan_dist.contracts import Batch, Nets, Phase, Term, watch
from gan_dist.objectives.adversarial import alternating_phases
from gan_dist.objectives.policy_gradient import discount_rewards, in_eval_mode, logged_mean, tokens_to_judge

BASELINES = ("tokens", "places")


class ScratchGan:
    """D: binary cross-entropy at each token of real and generated sentences; G: -sum_t (R_t - b) log p_t.

    r_t = 2 sigmoid(D_t) - 1 is the reward of a token, R_t = sum_s gamma^(s - t) r_s what it leads to, and b the moving
    average of R over all tokens of all workers. D gives logits [B, T]. Divided by the longest length T, as maximum
    likelihood is. The paper's batch of 512 is what keeps the gradient's variance low.

    Args:
        d_steps: D steps for each G step, each on fresh data.
        gamma: discount of later rewards, in [0, 1].
        decay: share of its old value that b keeps at each G step, in [0, 1).
        baseline_over: tokens, or places (padding too, whose returns are 0, as the published code averages).
        judge_dropout: whether D drops out where it rewards, as in the published code.
    """

    modality = "text"
    from_tokens = True
    logits_per_token = True
    needs_methods: ClassVar = {"generator": ("scored", "mask")}

    def __init__(
        self,
        *,
        d_steps: int = 1,
        gamma: float = 0.23,
        decay: float = 0.08,
        baseline_over: Literal["tokens", "places"] = "tokens",
        judge_dropout: bool = False,
    ) -> None:
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma must be in [0, 1], not {gamma}")
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), not {decay}")
        if baseline_over not in BASELINES:
            raise ValueError(f"baseline_over must be one of {', '.join(BASELINES)}, not {baseline_over!r}")
        self.phases: tuple[Phase, ...] = alternating_phases(d_steps)
        self.gamma, self.decay = gamma, decay
        self.baseline_over, self.judge_dropout = baseline_over, judge_dropout
        self.baseline = torch.zeros(1, dtype=torch.float64)

    def begin(self, nets: Nets) -> None:
        """The baseline at the beginning of the stage."""
        self.baseline = torch.zeros_like(self.baseline, device=next(nets.G.module.parameters()).device)

    def state(self) -> dict[str, Tensor | nn.Module]:
        return {"baseline": self.baseline}

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        return tokens_to_judge(nets, batch) if phase == "D" else self._write(nets, batch)

    def after_step(self, phase: str, nets: Nets, means: dict[str, Tensor]) -> None:
        if phase == "G":
            mean = logged_mean(means, "return_sum") / logged_mean(means, "tokens")
            self.baseline.lerp_(mean.to(self.baseline), 1 - self.decay)

    def _write(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        tokens = batch.fakes
        if tokens.is_floating_point():
            raise ValueError("scratchgan learns from token ids; give the generator `relax: none`")
        mask = nets.G.call("mask", tokens)
        with torch.no_grad(), nullcontext() if self.judge_dropout else in_eval_mode(nets.D.module):
            rewards = (2 * torch.sigmoid(nets.D(tokens, batch.cond)) - 1) * mask
        returns = discount_rewards(rewards, self.gamma) * mask
        advantage = (returns - self.baseline.to(returns)) * mask
        log_p, entropy = nets.G.call("scored", tokens, batch.cond)
        return {
            "policy": Term(-(log_p * advantage).sum() / tokens.shape[1], float(batch.n)),
            "reward": watch(rewards, mask),
            "entropy": watch(entropy, mask),
            "return_sum": Term(returns.sum().detach(), float(batch.n), watch=True),
            "tokens": Term(self._counted(mask).sum(), float(batch.n), watch=True),
        }

    def _counted(self, mask: Tensor) -> Tensor:
        """What the baseline is averaged over, [B, T]."""
        return torch.ones_like(mask) if self.baseline_over == "places" else mask
