"""Rewards of policy gradients: laid out right, batched as if written one by one, with the exact gradient."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.contracts import Batch, Nets
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.distributed.runtime import WrappedNetwork
from gan_dist.networks.text import rmc, transformer
from gan_dist.networks.text.autoregressive import draw_tokens
from gan_dist.networks.text.lstm import Generator
from gan_dist.networks.text.textcnn import Discriminator
from gan_dist.objectives.policy_gradient import (
    bytes_of_a_row,
    complete_prefixes,
    discount_rewards,
    endings_at_a_time,
    in_eval_mode,
    rollout_rewards,
)
from gan_dist.objectives.scratchgan import ScratchGan
from gan_dist.objectives.seqgan import SeqGan
from tests.helpers import CPU

EOS = 2


def generator(vocabulary: int = 7, length: int = 5, eos: int | None = EOS, seed: int = 0, **keys: Any) -> Generator:
    torch.manual_seed(seed)
    made = Generator(vocabulary=vocabulary, length=length, bos=1 if eos else 0, eos=eos, embedding=4, hidden=5, **keys)
    return made.double()


def uniforms(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rewards_stand_at_their_sentence_and_token() -> None:
    """The layout test of the reference: with reward 10 b + t, sentence b gets [10 b, 10 b + 1, ...]."""
    batch, length, copies = 2, 4, 3
    policy = generator(length=length, eos=None)
    tokens = torch.tensor([[3, 3, 3, 3], [4, 4, 4, 4]])

    def judge(x: Tensor, cond: Tensor | None) -> Tensor:
        # Of each beginning of g tokens the copies come together, those of one sentence before those of the next.
        if len(x) == batch:
            return torch.tensor([3.0, 13.0])
        of = torch.arange(len(x)) // copies
        return 10.0 * (of // (length - 1)) + of % (length - 1)

    found = rollout_rewards(judge, policy, tokens, None, uniforms(batch, length - 1, copies, length))
    assert found.tolist() == [[0, 1, 2, 3], [10, 11, 12, 13]]


@pytest.mark.parametrize("eos", [EOS, None])
def test_batched_rollouts_are_those_written_one_by_one(eos: int | None) -> None:
    policy, batch, copies, length = generator(eos=eos), 3, 2, 5
    tokens = policy.sample(uniforms(batch, length, seed=3))
    numbers = uniforms(batch, length - 1, copies, length)
    found = complete_prefixes(policy, tokens, None, numbers)
    for b, begun, copy in itertools.product(range(batch), range(1, length), range(copies)):
        sentence = tokens[b, :begun].tolist()
        for place in range(begun, length):
            if eos is not None and eos in sentence:
                sentence.append(0)
                continue
            logits = policy.logits(torch.tensor([[*sentence, *[policy.first] * (length - place)]]))[:, place]
            sentence.append(policy.first + int(draw_tokens(logits, numbers[b, begun - 1, copy, place : place + 1])))
        assert found[b, begun - 1, copy].tolist() == sentence


WRITERS: dict[str, Any] = {
    "lstm": lambda: generator(),
    "transformer": lambda: writer(transformer.Generator, width=8, heads=2, positions="rotary"),
    "transformer with prompts": lambda: writer(transformer.Generator, width=8, heads=2, prompt_length=3),
    "rmc with classes": lambda: writer(rmc.Generator, heads=1, head_size=4, classes=2),
}


def writer(kind: Any, **keys: Any) -> Any:
    torch.manual_seed(0)
    return kind(vocabulary=7, length=5, bos=1, eos=EOS, **keys).double()


@pytest.mark.parametrize("name", WRITERS)
def test_endings_written_some_at_a_time_are_those_written_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """3 sentences x 4 beginnings x 2 copies; no more are kept than are asked for, or than the copies of a beginning."""
    policy, batch, copies, length = WRITERS[name](), 3, 2, 5
    cond = torch.tensor([[0, 3, 4], [5, 6, 3], [0, 0, 4]]) if policy.prompt_length else None
    cond = torch.tensor([0, 1, 1]) if policy.classes else cond
    tokens = policy.sample(uniforms(batch, length, seed=3), cond)
    numbers = uniforms(batch, length - 1, copies, length)
    whole = complete_prefixes(policy, tokens, cond, numbers)
    rows, step = [], policy.step_sampling

    def counted(given: Tensor, state: tuple[Tensor, ...], place: int) -> Any:
        rows.append(len(given))
        return step(given, state, place)

    monkeypatch.setattr(policy, "step_sampling", counted)
    for most in (1, 2, 5, 7, 12, 24):
        rows.clear()
        assert torch.equal(complete_prefixes(policy, tokens, cond, numbers, most), whole)
        assert max(rows) <= max(most, copies)


def test_what_endings_keep_bounds_how_many_are_written_at_a_time() -> None:
    """Keys and values of 2 layers of 128 numbers: 2 KiB for each of 512 tokens, and 8 bytes of its id."""
    policy = transformer.Generator(vocabulary=7, length=512, bos=1, eos=EOS)
    each = 512 * (2048 + 8)
    assert bytes_of_a_row(policy, None, 512, CPU) == each
    assert endings_at_a_time(policy, None, 512, CPU) == 128
    with torch.device("meta"):
        policy = transformer.Generator(vocabulary=7, length=512, bos=1, eos=EOS)
    assert endings_at_a_time(policy, None, 512, torch.device("meta")) == 2**30 // each


class Fixed(nn.Module):
    """A discriminator whose answer is a fixed function of the sentence."""

    def __init__(self, vocabulary: int, length: int) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.table = nn.Parameter(torch.randn(length, vocabulary, dtype=torch.float64))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.table[torch.arange(x.shape[1]), x].sum(1)


def wired(module: nn.Module) -> WrappedNetwork:
    return WrappedNetwork(module, False, nullcontext)


def test_the_policy_gradient_is_the_exact_one() -> None:
    """In the mean over all sentences of a tiny vocabulary, weighed by their probability, with terminal rewards and the
    exact expected reward of each beginning, REINFORCE gives the gradient of the expected reward."""
    vocabulary, length = 3, 3
    policy, judge = generator(vocabulary, length, eos=None), Fixed(vocabulary, length)
    sentences = torch.tensor(list(itertools.product(range(vocabulary), repeat=length)))
    p = policy.log_prob(sentences).sum(1).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    value = torch.sigmoid(judge(sentences)).detach()
    exact = torch.autograd.grad((p * value).sum(), list(policy.parameters()))

    def expected_of(sentence: Tensor, begun: int) -> Tensor:
        alike = (sentences[:, :begun] == sentence[:begun]).all(1)
        return (p[alike] * value[alike]).sum().detach() / p[alike].sum().detach()

    rewards = torch.stack([torch.stack([expected_of(s, g) for g in range(1, length + 1)]) for s in sentences])
    for given in (value[:, None].expand(-1, length), rewards):
        found = torch.autograd.grad(
            (p.detach()[:, None] * policy.log_prob(sentences) * given).sum(), list(policy.parameters())
        )
        for one, other in zip(found, exact, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def batch_of(policy: Generator, tokens: Tensor) -> Batch:
    n = len(tokens)
    return Batch(
        n, tokens, None, None, lambda purpose: single_lane_rng((purpose,), n, CPU, torch.float64), lambda batch: tokens
    )


@pytest.mark.parametrize("reward", ["rollout", "terminal"])
def test_seqgan_weighs_log_p_by_rewards_of_its_own_kind(reward: Any) -> None:
    policy, judge = generator(), Fixed(7, 5)
    tokens = policy.sample(uniforms(4, 5))
    nets = Nets({"generator": wired(policy), "discriminator": wired(judge)})
    objective, batch = SeqGan(reward=reward, rollouts=3), batch_of(policy, tokens)
    objective.begin(nets)
    term = objective.terms("G", nets, batch)["policy"]
    if reward == "rollout":
        numbers = batch.rng("rollout").uniform(4, 3, 5)
        given = rollout_rewards(lambda x, cond: torch.sigmoid(judge(x)), policy, tokens, None, numbers)
    else:
        given = torch.sigmoid(judge(tokens))[:, None].expand(-1, 5)
    wanted = -(policy.log_prob(tokens) * given.detach()).sum() / 5
    torch.testing.assert_close(term.total, wanted)
    assert term.weight == 4


def textcnn() -> Discriminator:
    torch.manual_seed(3)
    return Discriminator(vocabulary=7, length=5, embedding=4, widths=(1, 2, 4), filters=(3, 2, 2)).double()


class Doubtful(Discriminator):
    """A person's own, whose answers are not those of the class that it changes."""

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return -super().forward(x, cond)


@pytest.mark.parametrize("kind", [Discriminator, Doubtful])
def test_endings_that_d_judges_at_once_get_the_rewards_of_whole_sentences(kind: type[Discriminator]) -> None:
    policy, judge = generator(), textcnn()
    judge.__class__ = kind
    tokens, objective = policy.sample(uniforms(4, 5)), SeqGan(rollouts=3, chunk=4)
    nets, batch = Nets({"generator": wired(policy), "discriminator": wired(judge)}), batch_of(policy, tokens)
    numbers = batch.rng("rollout").uniform(4, 3, 5)
    with in_eval_mode(judge):
        wanted = rollout_rewards(lambda x, cond: torch.sigmoid(judge(x)), policy, tokens, None, numbers)
    torch.testing.assert_close(objective.rewards(nets, batch, tokens), wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("judge", [Fixed(7, 5), textcnn()])
def test_chunks_change_no_reward(judge: nn.Module) -> None:
    policy = generator()
    tokens = policy.sample(uniforms(4, 5))
    nets = Nets({"generator": wired(policy), "discriminator": wired(judge)})
    found = []
    for chunk in (1, 7, 4096):
        objective = SeqGan(rollouts=2, chunk=chunk)
        objective.begin(nets)
        found.append(objective.rewards(nets, batch_of(policy, tokens), tokens))
    for other in found[:2]:
        torch.testing.assert_close(other, found[2], rtol=1e-14, atol=0)


def test_parts_of_a_batch_change_no_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 sentences in lanes of 4; endings of one of them are 4 x 3 x 5 tokens."""
    policy, judge = generator(), textcnn()
    tokens, nets = policy.sample(uniforms(10, 5)), Nets({"generator": wired(policy), "discriminator": wired(judge)})
    objective = SeqGan(rollouts=3)
    objective.begin(nets)
    whole = objective.rewards(nets, batch_of(policy, tokens), tokens)
    for most in (1, 8 * 60):
        monkeypatch.setattr("gan_dist.objectives.seqgan.ENDINGS_TOKENS", most)
        torch.testing.assert_close(objective.rewards(nets, batch_of(policy, tokens), tokens), whole, rtol=1e-14, atol=0)


def test_the_lagging_policy_and_the_baseline_move_as_said() -> None:
    policy, judge = generator(), Fixed(7, 5)
    nets = Nets({"generator": wired(policy), "discriminator": wired(judge)})
    objective = SeqGan(update_rate=0.8, baseline="mean")
    objective.begin(nets)
    before = {name: p.clone() for name, p in policy.named_parameters()}
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(1.0)
    means = {"G/reward_sum": torch.tensor(6.0), "G/tokens": torch.tensor(3.0)}
    objective.after_step("D", nets, means)
    assert objective.expected.item() == 0
    objective.after_step("G", nets, means)
    assert objective.expected.item() == pytest.approx(0.2)
    assert objective.policy is not None
    for name, p in objective.policy.named_parameters():
        torch.testing.assert_close(p, before[name] + 0.2)
    assert set(objective.state()) == {"expected", "policy"}


def test_discounted_rewards_against_their_sum() -> None:
    rewards = uniforms(3, 6)
    places = torch.arange(6)
    weights = torch.tril(0.3 ** (places[:, None] - places).clamp_min(0).double())
    torch.testing.assert_close(discount_rewards(rewards, 0.3), rewards @ weights)


def test_scratchgan_against_its_formula() -> None:
    policy = generator()
    tokens = policy.sample(uniforms(4, 5))
    mask = policy.mask(tokens)
    logits = uniforms(4, 5, seed=9).requires_grad_()

    class Judge(nn.Module):
        def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
            return logits

    nets = Nets({"generator": wired(policy), "discriminator": wired(Judge())})
    objective = ScratchGan(gamma=0.5, decay=0.25)
    objective.begin(nets)
    objective.baseline.fill_(0.2)
    terms = objective.terms("G", nets, batch_of(policy, tokens))
    returns = discount_rewards((2 * torch.sigmoid(logits.detach()) - 1) * mask, 0.5) * mask
    wanted = -(policy.log_prob(tokens) * (returns - 0.2) * mask).sum() / 5
    torch.testing.assert_close(terms["policy"].total, wanted)
    objective.after_step("G", nets, {f"G/{name}": term.total / term.weight for name, term in terms.items()})
    mean = returns.sum() / mask.sum()
    assert objective.baseline.item() == pytest.approx(0.25 * 0.2 + 0.75 * mean.item())
    loss = objective.terms("D", nets, batch_of(policy, tokens))["adversarial"]
    both = nn.functional.softplus(-logits) + nn.functional.softplus(logits)
    torch.testing.assert_close(loss.total, (both * mask).sum() / 5)


def test_the_judge_drops_nothing_out_and_trains_on() -> None:
    module = nn.Sequential(nn.Dropout(0.5)).train()
    with in_eval_mode(module):
        assert not module[0].training
    assert module[0].training


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reward": "dens"}, "reward must be one of rollout, dense, terminal, not 'dens'"),
        ({"rollouts": 0}, "rollouts and chunk must be at least 1, not 0 and 4096"),
        ({"update_rate": 1.0}, r"update_rate must be in \[0, 1\), not 1.0"),
        ({"entropy": -1.0}, "entropy must be at least 0, not -1.0"),
        ({"d_steps": 0}, "d_steps must be at least 1, not 0"),
    ],
)
def test_wrong_arguments(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SeqGan(**arguments)
