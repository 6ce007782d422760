"""SeqGAN: a text generator rewarded by D for what it goes on to write (Yu et al. 2017, arXiv 1609.05473)."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.contracts import Batch, Nets, Phase, Term, watch
from gan_dist.objectives.adversarial import adversarial_terms, alternating_phases
from gan_dist.objectives.policy_gradient import (
    ENDINGS_TOKENS,
    JUDGED_ON_CPU,
    endings_at_a_time,
    in_eval_mode,
    logged_mean,
    rollout_rewards,
    tokens_to_judge,
)

REWARDS = ("rollout", "dense", "terminal")


class SeqGan:
    """D: -log sigmoid(real) - log(1 - sigmoid(fake)); G: -sum_t (reward_t - baseline) log p_t (equation 8).

    reward_t is sigmoid(D) of sentences that G goes on to write from the first t tokens (`rollout`, equation 4), of the
    token itself where D gives logits for each (`dense`), or of the whole sentence (`terminal`). D drops nothing out
    where it rewards. Divided by the longest length T, as maximum likelihood is.

    Args:
        d_steps: D steps for each G step, each on fresh data.
        reward: rollout, dense, or terminal.
        rollouts: sentences written from each beginning.
        update_rate: share of its old weights that the policy which writes them keeps at each G step, in [0, 1); 0
            writes with G itself, as the published code does.
        baseline: none, or mean (of all tokens' rewards, moving by a tenth at each G step).
        entropy: weight of a bonus for G's entropy, >= 0.
        chunk: most sentences that D judges at a time, which limits its memory.
    """

    modality = "text"
    from_tokens = True
    needs_methods: ClassVar = {"generator": ("scored", "mask", "begin_sampling", "step_sampling")}

    def __init__(
        self,
        *,
        d_steps: int = 1,
        reward: Literal["rollout", "dense", "terminal"] = "rollout",
        rollouts: int = 16,
        update_rate: float = 0.0,
        baseline: Literal["none", "mean"] = "none",
        entropy: float = 0.0,
        chunk: int = 4096,
    ) -> None:
        if reward not in REWARDS:
            raise ValueError(f"reward must be one of {', '.join(REWARDS)}, not {reward!r}")
        if rollouts < 1 or chunk < 1:
            raise ValueError(f"rollouts and chunk must be at least 1, not {rollouts} and {chunk}")
        if not 0 <= update_rate < 1:
            raise ValueError(f"update_rate must be in [0, 1), not {update_rate}")
        if entropy < 0:
            raise ValueError(f"entropy must be at least 0, not {entropy}")
        self.phases: tuple[Phase, ...] = alternating_phases(d_steps)
        self.reward, self.rollouts, self.update_rate = reward, rollouts, update_rate
        self.logits_per_token = reward == "dense"
        self.baseline, self.entropy, self.chunk = baseline, entropy, chunk
        self.policy: nn.Module | None = None
        self.expected = torch.zeros(1)

    def begin(self, nets: Nets) -> None:
        """The rollout policy and the baseline at the beginning of the stage."""
        generator = nets.G.module
        self.expected = torch.zeros(1, dtype=torch.float64, device=next(generator.parameters()).device)
        if self.update_rate > 0:
            self.policy = copy.deepcopy(generator).requires_grad_(False)

    def state(self) -> dict[str, Tensor | nn.Module]:
        return {"expected": self.expected} | ({} if self.policy is None else {"policy": self.policy})

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        if phase != "G":
            assert batch.real is not None
            per_token = batch.discriminate(nets, "real").logits.shape == batch.real.shape
            return tokens_to_judge(nets, batch) if per_token else _judged_sentences(phase, nets, batch)
        tokens = batch.fakes
        if tokens.is_floating_point():
            raise ValueError("seqgan learns from token ids; give the generator `relax: none`")
        mask = nets.G.call("mask", tokens)
        log_p, entropy = nets.G.call("scored", tokens, batch.cond)
        rewards = self.rewards(nets, batch, tokens) * mask
        advantage = (rewards - self.expected.to(rewards) * (self.baseline == "mean")) * mask
        per_token = log_p * advantage + self.entropy * entropy * mask
        length = tokens.shape[1]
        return {
            "policy": Term(-per_token.sum() / length, float(batch.n)),
            "reward": watch(rewards, mask),
            "entropy": watch(entropy, mask),
            "reward_sum": Term(rewards.sum(), float(batch.n), watch=True),
            "tokens": Term(mask.sum(), float(batch.n), watch=True),
        }

    def after_step(self, phase: str, nets: Nets, means: dict[str, Tensor]) -> None:
        if phase != "G":
            return
        mean = logged_mean(means, "reward_sum") / logged_mean(means, "tokens")
        self.expected.lerp_(mean.to(self.expected), 0.1)
        if self.policy is not None:
            fresh = 1 - self.update_rate
            for old, new in zip(self.policy.parameters(), nets.G.module.parameters(), strict=True):
                old.lerp_(new.detach(), fresh)

    def rewards(self, nets: Nets, batch: Batch, tokens: Tensor) -> Tensor:
        """sigmoid(D) for each token, [B, T]."""
        length = tokens.shape[1]

        def judge(x: Tensor, cond: Tensor | None) -> Tensor:
            most = min(self.chunk, JUDGED_ON_CPU) if x.device.type == "cpu" else self.chunk
            parts = torch.split(x, most)
            classes = [None] * len(parts) if cond is None else torch.split(cond, most)
            return torch.cat([_answers(nets, part, cls) for part, cls in zip(parts, classes, strict=True)])

        with torch.no_grad(), in_eval_mode(nets.D.module):
            if self.reward == "dense":
                logits = nets.D(tokens, batch.cond)
                if logits.shape != tokens.shape:
                    raise ValueError(
                        f"reward: dense wants a D with logits for each token [B, T], not {list(logits.shape)}; "
                        "use textlstm, or another reward"
                    )
                return torch.sigmoid(logits)
            if self.reward == "terminal":
                return judge(tokens, batch.cond)[:, None].expand(-1, length)
            policy: Any = self.policy if self.policy is not None else nets.G.module
            shares = tokens.device.type == "cpu" and _judges_endings(type(nets.D.module))
            endings = partial(_answers_to_endings, nets, max(1, self.chunk // self.rollouts)) if shares else None
            most = endings_at_a_time(policy, batch.cond, length, tokens.device)
            found = []
            # Some sentences at a time: all endings of a batch of long ones fit no memory.
            for part, rng in batch.rng("rollout").parts(ENDINGS_TOKENS // ((length - 1) * self.rollouts * length)):
                uniforms = rng.uniform(length - 1, self.rollouts, length)
                cond = None if batch.cond is None else batch.cond[part]
                found.append(rollout_rewards(judge, policy, tokens[part], cond, uniforms, endings, most))
            return torch.cat(found)


def _judged_sentences(phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
    return adversarial_terms(phase, nets, batch, lambda real: F.softplus(-real), F.softplus, F.softplus)


def _judges_endings(judge: type[nn.Module]) -> bool:
    """Whether D has `endings` for its own `forward`, not for that of a class that it changes."""
    owners = [next((one for one in judge.__mro__ if name in vars(one)), None) for name in ("endings", "forward")]
    return owners[0] is not None and owners[0] is owners[1]


def _answers_to_endings(nets: Nets, most: int, x: Tensor, written: Tensor, cond: Tensor | None) -> Tensor:
    classes = [None] * -(-len(x) // most) if cond is None else torch.split(cond, most)
    parts = zip(torch.split(x, most), torch.split(written, most), classes, strict=True)
    return torch.cat([torch.sigmoid(nets.D.call("endings", *part)) for part in parts])


def _answers(nets: Nets, x: Tensor, cond: Tensor | None) -> Tensor:
    """One probability of being real for each sentence: the mean of several, over its tokens where each has one."""
    p: Tensor = torch.sigmoid(nets.D(x, cond))
    if p.shape != x.shape:
        return p.flatten(1).mean(1) if p.ndim > 1 else p
    mask: Tensor = nets.G.call("mask", x)
    return (p * mask).sum(1) / mask.sum(1)
