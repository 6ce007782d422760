"""TextGAIL's clipped ratios: by enumeration of all sentences of a tiny vocabulary, and what its parts promise."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.contracts import Nets
from gan_dist.networks.text.lstm import Generator
from gan_dist.objectives.textgail import TextGail, clipped_surrogate
from gan_dist.testing.bench import make_bench
from tests.networks.text.test_autoregressive import EOS, every_sentence

SHAPE: dict[str, Any] = {"vocabulary": 6, "length": 4, "bos": 1, "eos": EOS}


def generator(seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    return Generator(**SHAPE, embedding=4, hidden=5).double()


def slopes(loss: Tensor, model: nn.Module) -> Tensor:
    return torch.cat([one.flatten() for one in torch.autograd.grad(loss, tuple(model.parameters()))])


@pytest.mark.parametrize("moved", [0.0, 0.01])
def test_the_gradient_is_that_of_the_expected_advantage(moved: float) -> None:
    """Over all sentences, weighted by the policy that wrote them: where nothing is clipped, importance sampling is
    exact, also after the trained policy has moved away."""
    model, sentences = generator(), every_sentence(EOS)
    policy = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += moved * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    advantage = torch.randn(len(sentences), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    before, _ = policy.scored(sentences)
    weight = before.sum(1).exp().detach()
    now, _ = model.scored(sentences)
    found, outside = clipped_surrogate(
        now, before.detach(), advantage, mask=model.mask(sentences), clip=0.9, by_token=False
    )
    assert outside.sum() == 0
    exact = (model.log_prob(sentences).sum(1).exp() * advantage).sum()
    torch.testing.assert_close(slopes((weight * found).sum(), model), slopes(exact, model), rtol=1e-8, atol=1e-10)


def test_ratios_of_tokens_have_the_same_gradient_at_the_beginning_of_a_round() -> None:
    model, sentences = generator(), every_sentence(EOS)
    advantage = torch.randn(len(sentences), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = []
    for by_token in (False, True):
        now, _ = model.scored(sentences)
        weight, mask = now.sum(1).exp().detach(), model.mask(sentences)
        each, _ = clipped_surrogate(now, now.detach(), advantage, mask=mask, clip=0.2, by_token=by_token)
        found.append(slopes((weight * each.sum(1) if by_token else weight * each).sum(), model))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    ("advantage", "ratio", "value", "pushed"),
    [(1.0, 1.5, 1.2, False), (1.0, 0.5, 0.5, True), (-1.0, 1.5, -1.5, True), (-1.0, 0.5, -0.8, False)],
)
def test_only_what_goes_further_away_is_clipped(advantage: float, ratio: float, value: float, pushed: bool) -> None:
    now = torch.tensor([[ratio]], dtype=torch.float64).log().requires_grad_()
    one = torch.ones(1, 1)
    found, outside = clipped_surrogate(
        now, torch.zeros(1, 1), torch.tensor([advantage]), mask=one, clip=0.2, by_token=False
    )
    assert found.item() == pytest.approx(value) and outside.item() == 1
    (slope,) = torch.autograd.grad(found.sum(), now)
    assert (slope.item() != 0) == pushed


def bench(**keys: Any) -> tuple[TextGail, Nets, Any]:
    objective = TextGail(**keys)
    nets, batch = make_bench("text", ("generator",), True)
    objective.begin(nets)
    return objective, nets, batch


def test_nothing_is_clipped_in_the_first_minibatch_of_a_round() -> None:
    objective, nets, batch = bench(minibatches=2, demonstrations=0.5)
    optimizer = torch.optim.SGD(nets.G.module.parameters(), 5.0)
    clipped = []
    for _ in range(4):
        terms = objective.terms("G", nets, batch)
        optimizer.zero_grad()
        terms["policy"].total.backward()
        optimizer.step()
        clipped.append(terms["clipped"].total.item())
        means = {
            f"textgail/{name}": term.total / term.weight for name, term in terms.items() if term.weight is not None
        }
        objective.after_step("G", nets, means)
    assert clipped[0] == clipped[2] == 0 and clipped[1] > 0


def test_equal_sentences_have_half_the_reward_and_constant_ones_teach_nothing() -> None:
    objective, nets, batch = bench(momentum=0.0, demonstrations=0.0)
    objective._drawn = lambda nets, batch: batch.real  # type: ignore[method-assign]
    terms = objective.terms("G", nets, batch)
    assert terms["reward"].total / terms["reward"].weight == pytest.approx(0.5)
    for _ in range(40):
        constant = {"reward": torch.tensor(0.7), "reward_square": torch.tensor(0.7).square()}
        objective.after_step("G", nets, constant)
    assert objective.normalised(torch.tensor([0.7], dtype=torch.float64)).abs().item() < 1e-3
    assert objective.normalised(torch.tensor([0.9, 0.0])).tolist() == [2, -2]


def test_the_mean_of_rewards_forgets_as_one_sentence_after_the_other_would() -> None:
    """0.9 of the old value for each of a batch's, as published, whatever the batch."""
    objective, nets, batch = bench(momentum=0.9)
    for whole, share in ((0, 0.9**batch.n), (2, 0.81), (64, 0.9**64)):
        objective.begin(nets)
        objective.terms("G", nets, replace(batch, whole=whole))
        objective.after_step("G", nets, {"reward": torch.tensor(1.0), "reward_square": torch.tensor(1.0)})
        assert objective.mean.item() == pytest.approx(1 - share / 2)
        assert objective.square.item() == pytest.approx(1 - share * 2 / 3)


def test_demonstrations_are_real_sentences_of_a_constant_reward() -> None:
    objective, nets, batch = bench(demonstrations=1.0, demonstration_reward=1.5)
    terms, model = objective.terms("G", nets, batch), nets.G.module
    log_p = model.log_prob(batch.real, batch.cond).sum(1)  # type: ignore[operator]
    torch.testing.assert_close(
        slopes(terms["policy"].total, model), slopes(-1.5 * (log_p - log_p.detach()).exp().sum(), model)
    )


def test_the_divergence_from_the_beginning_is_exact() -> None:
    objective, nets, batch = bench(kl=0.5, demonstrations=1.0)
    model: Any = nets.G.module
    assert objective.terms("G", nets, batch)["kl"].total.item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.5
    tokens, anchor = batch.real, objective.anchor
    terms = objective.terms("G", nets, batch)
    assert anchor is not None
    p, q = (torch.softmax(one.logits(tokens), 2) for one in (model, anchor))  # type: ignore[operator]
    slow = sum(
        (p[b, t] * (p[b, t] / q[b, t]).log()).sum()
        for b, t in itertools.product(*map(range, tokens.shape))
        if model.mask(tokens)[b, t]
    )
    assert terms["kl"].total.detach().item() == pytest.approx(0.5 * float(slow.detach()) / tokens.shape[1], rel=1e-4)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"minibatches": 0}, "minibatches must be at least 1, not 0"),
        ({"ratio": "word"}, "ratio must be one of sentence, token, not 'word'"),
        ({"demonstrations": 1.5}, "demonstrations and momentum are shares, not 1.5"),
        ({"clip": 0.0}, "clip and limit must be more than 0, not 0"),
        ({"kl": -1.0}, "kl and entropy must be at least 0, not -1"),
    ],
)
def test_what_is_out_of_range_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextGail(**keys)
