"""TextGAIL: a text generator rewarded by a contrastive D (Wu et al. 2021, arXiv 2004.13796) and stepped by clipped
ratios, as in proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347)."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over, watch
from gan_dist.networks.text.autoregressive import SamplingOptions
from gan_dist.objectives.policy_gradient import in_eval_mode, logged_mean
from gan_dist.objectives.relativistic import phases_with_reals

RATIOS = ("sentence", "token")
STEEPEST = 20.0  # of the logarithm of a ratio, which is clipped long before
EVENLY = (1 / 2, 1 / 3)  # mean and mean square of numbers that spread evenly over [0, 1]
SMALLEST = 1e-4  # spread of rewards, below which they differ by rounding


class TextGail:
    """D: -log of the share of a real sentence in the softmax over it and a generated one; G: -min(A r, A clip(r)).

    A round is `minibatches` G steps. All its sentences come from G as it was when the round began, whose weights are
    kept: drawing them minibatch by minibatch is the published buffer, without holding it. r is the probability of a
    sentence under G over that under the kept one. The reward is the share of the generated sentence in D's softmax,
    normalised by a running mean and spread, and cut at +-`limit`. Real and generated sentence of a pair follow the same
    prompt. Some sentences are demonstrations: real ones, of a constant reward. D drops nothing out where it rewards.

    Args:
        d_steps: D steps for each G step, each on fresh data.
        minibatches: G steps of a round.
        clip: how far a ratio may be from 1 and still be pushed on, > 0.
        ratio: sentence (as published), or token, which long sentences need: their ratio is a product of hundreds.
        demonstrations: share of G's sentences that are real ones, in [0, 1]; a schedule may end at 0, as published.
        demonstration_reward: the normalised reward of these.
        momentum: share of their old value that the mean and spread of rewards keep for each sentence of a G step, in
            [0, 1): momentum^B of a batch of B, as published.
        limit: most of a normalised reward, > 0.
        temperature: at which sentences are drawn, > 0; their probabilities are of temperature 1.
        top_p: share of the probability that tokens are drawn from, in (0, 1].
        kl: weight of the divergence from G as it was when the stage began, >= 0; 0 as published.
        entropy: weight of a bonus for G's entropy, >= 0; 0 as published.
    """

    modality = "text"
    from_tokens = True
    threshold: ClassVar[float | None] = None
    needs_methods: ClassVar = {"generator": ("scored", "mask", "sample", "distributions")}

    def __init__(
        self,
        *,
        d_steps: int = 1,
        minibatches: int = 16,
        clip: float = 0.2,
        ratio: Literal["sentence", "token"] = "sentence",
        demonstrations: float = 0.2,
        demonstration_reward: float = 2.0,
        momentum: float = 0.9,
        limit: float = 2.0,
        temperature: float = 0.9,
        top_p: float = 0.9,
        kl: float = 0.0,
        entropy: float = 0.0,
    ) -> None:
        if minibatches < 1:
            raise ValueError(f"minibatches must be at least 1, not {minibatches}")
        if ratio not in RATIOS:
            raise ValueError(f"ratio must be one of {', '.join(RATIOS)}, not {ratio!r}")
        if not 0 <= demonstrations <= 1 or not 0 <= momentum < 1:
            raise ValueError(f"demonstrations and momentum are shares, not {demonstrations} and {momentum}")
        if clip <= 0 or limit <= 0:
            raise ValueError(f"clip and limit must be more than 0, not {clip} and {limit}")
        if kl < 0 or entropy < 0:
            raise ValueError(f"kl and entropy must be at least 0, not {kl} and {entropy}")
        self.phases: tuple[Phase, ...] = phases_with_reals(d_steps)
        self.minibatches, self.clip, self.ratio = minibatches, clip, ratio
        self.demonstrations, self.demonstration_reward = demonstrations, demonstration_reward
        self.momentum, self.limit, self.kl, self.entropy = momentum, limit, kl, entropy
        self.drawing = SamplingOptions(temperature=temperature, top_p=top_p)
        self.batch = 1  # sentences of a G step, over all workers
        self.steps = torch.zeros(1, dtype=torch.int64)
        self.mean, self.square = (torch.full((1,), x, dtype=torch.float64) for x in EVENLY)
        self.policy: nn.Module | None = None
        self.anchor: nn.Module | None = None

    def begin(self, nets: Nets) -> None:
        """The first round, from G as it is; rewards are taken to spread evenly over [0, 1]."""
        generator = nets.G.module
        device = next(generator.parameters()).device
        self.policy = copy.deepcopy(generator).requires_grad_(False)
        self.anchor = copy.deepcopy(generator).requires_grad_(False) if self.kl else None
        self.steps = torch.zeros(1, dtype=torch.int64)  # on the CPU, where it is asked after every step
        self.mean, self.square = (torch.full((1,), x, dtype=torch.float64, device=device) for x in EVENLY)

    def state(self) -> dict[str, Tensor | nn.Module]:
        copies = {name: one for name in ("policy", "anchor") if (one := getattr(self, name)) is not None}
        return {"steps": self.steps, "mean": self.mean, "square": self.square, **copies}

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        assert batch.real is not None
        tokens = self._drawn(nets, batch)
        if phase == "D":
            ahead = _scores(nets, batch.real, batch.cond) - _scores(nets, tokens, batch.cond)
            return {"adversarial": mean_over(F.softplus(-ahead)), "accuracy": watch(ahead > 0)}
        with torch.no_grad(), in_eval_mode(nets.D.module):
            reward = torch.sigmoid(_scores(nets, tokens, batch.cond) - _scores(nets, batch.real, batch.cond))
        self.batch = batch.whole or batch.n
        shown = batch.rng("demonstrations").uniform() < self.demonstrations
        tokens = torch.where(shown[:, None], batch.real, tokens)
        advantage = torch.where(shown, self.demonstration_reward, self.normalised(reward))
        return {
            **self._policy_terms(nets, batch, tokens, advantage),
            "reward": Term(reward.sum(), float(batch.n), watch=True),
            "reward_square": Term(reward.square().sum(), float(batch.n), watch=True),
        }

    def after_step(self, phase: str, nets: Nets, means: dict[str, Tensor]) -> None:
        if phase != "G":
            return
        for kept, name in ((self.mean, "reward"), (self.square, "reward_square")):
            kept.lerp_(logged_mean(means, name).to(kept), 1 - self.momentum**self.batch)
        self.steps += 1
        if self.policy is not None and int(self.steps) % self.minibatches == 0:
            for old, new in zip(self.policy.parameters(), nets.G.module.parameters(), strict=True):
                old.copy_(new.detach())

    def normalised(self, reward: Tensor) -> Tensor:
        """Rewards less their running mean, over their running spread, cut at +-`limit`."""
        spread = (self.square - self.mean.square()).clamp_min(0).sqrt()
        found = (reward.double() - self.mean) / (spread + SMALLEST)
        return found.clamp(-self.limit, self.limit).to(reward)

    def _writer(self, nets: Nets) -> Any:
        """The policy of this round; before a stage has begun, G."""
        return nets.G.module if self.policy is None else self.policy

    @torch.no_grad()
    def _drawn(self, nets: Nets, batch: Batch) -> Tensor:
        """Sentences of the policy of this round, ids [B, T]."""
        policy = self._writer(nets)
        return torch.as_tensor(policy.sample(batch.rng("round").uniform(policy.length), batch.cond, self.drawing))

    def _policy_terms(self, nets: Nets, batch: Batch, tokens: Tensor, advantage: Tensor) -> dict[str, Term]:
        policy = self._writer(nets)
        generator: Any = nets.G.module
        mask = nets.G.call("mask", tokens)
        with torch.no_grad():
            before, _ = policy.scored(tokens, batch.cond)
        now = nets.G.call("distributions", tokens, batch.cond)
        given, entropy = generator.of_tokens(now, tokens), -(now.exp() * now).sum(2)
        found, outside = clipped_surrogate(
            given, before, advantage, mask=mask, clip=self.clip, by_token=self.ratio == "token"
        )
        length, n = tokens.shape[1], float(batch.n)
        bonus = self.entropy * (entropy * mask).sum() / length
        terms = {
            "policy": Term(-found.sum() / (length if self.ratio == "token" else 1) - bonus, n),
            "entropy": watch(entropy, mask),
            "clipped": watch(outside, mask if self.ratio == "token" else None),
        }
        if self.anchor is not None:
            anchor: Any = self.anchor
            with torch.no_grad():
                first = anchor.distributions(tokens, batch.cond)
            apart = (now.exp() * (now - first)).sum(2)
            terms |= {"kl": Term(self.kl * (apart * mask).sum() / length, n), "nats_apart": watch(apart, mask)}
        return terms


def clipped_surrogate(
    now: Tensor, before: Tensor, advantage: Tensor, *, mask: Tensor, clip: float, by_token: bool
) -> tuple[Tensor, Tensor]:
    """min(A r, A clip(r, 1 - clip, 1 + clip)) and which r lie outside (Schulman et al. 2017, equation 7).

    Args:
        now, before: log p of each token, [B, T], under the policy that is trained and the one that wrote.
        advantage: of each sentence, [B].
        mask: 1 for tokens of a sentence, [B, T].
        clip: the distance from 1.
        by_token: whether r is of each token, [B, T], and not of whole sentences, [B].
    """
    apart = (now - before) * mask
    if by_token:
        advantage = advantage[:, None] * mask
    else:
        apart = apart.sum(1)
    ratio = apart.clamp(-STEEPEST, STEEPEST).exp()
    found = torch.minimum(advantage * ratio, advantage * ratio.clamp(1 - clip, 1 + clip))
    return found, ((ratio - 1).abs() > clip).float()


def _scores(nets: Nets, tokens: Tensor, cond: Tensor | None) -> Tensor:
    """One logit of D for each sentence, [B]: the mean of several, over its tokens where each has one."""
    logits: Tensor = nets.D(tokens, cond)
    if logits.shape == tokens.shape:
        mask: Tensor = nets.G.call("mask", tokens)
        return (logits * mask).sum(1) / mask.sum(1)
    return logits.flatten(1).mean(1) if logits.ndim > 1 else logits
