"""Metrics of answers to prompts: by hand on generators whose answers are known, whatever the number of workers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_dist.data.codec import Codec, Splitting
from gan_dist.data.prompts import PromptForm
from gan_dist.data.text.held_out import HeldOutText
from gan_dist.metrics.text.answers import AnswerDistance, Answers, answers_to
from gan_dist.metrics.text.likelihood import Nll
from gan_dist.networks.text.lstm import Generator
from tests.tiny import encoder_of

WORDS = ("<pad>", "<bos>", "<eos>", "<unk>", *"abcdefgh")
CODEC = Codec(6, Splitting("blanks"), WORDS, prompt=PromptForm(2))
HELD = ("a\0c d e f", "a\0c d e g", "b\0d d d d")


def held(*texts: str) -> HeldOutText:
    return HeldOutText("test", "here", CODEC, texts or HELD)


class Echo(nn.Module):
    """Answers every prompt by the same sentences, one after the other by the numbers it draws."""

    def __init__(self, *answers: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.rows = torch.from_numpy(np.stack([CODEC.encode_sentence(one) for one in answers]).astype(np.int64))
        self.length = 6

    def draw(self, n: int, rng: Any) -> Tensor:
        return rng.uniform()

    def forward(self, noise: Tensor, cond: Tensor) -> Tensor:
        assert cond.shape == (len(noise), 2)
        return self.rows[(noise * len(self.rows)).long()]


def measured(metric: Any, generator: nn.Module, samples: int = 16, world: int = 1) -> dict[str, float]:
    sums = sum(metric.sums(generator, torch.zeros(samples, 6), rank, world) for rank in range(world))
    return metric.compare(None, sums)


def test_answers_are_held_against_those_to_the_same_prompt() -> None:
    metric = Answers(codec=CODEC, held_out=held(), answers=4)
    found = measured(metric, Echo("c d e f"))
    assert found["answer_self_bleu4"] == 1
    half = measured(Answers(codec=CODEC, held_out=held("a\0c d e f", "b\0h h h h"), answers=4), Echo("c d e f"))
    assert half["answer_bleu4"] == pytest.approx(0.5) and half["answer_bleu2"] == pytest.approx(0.5)
    alone = measured(Answers(codec=CODEC, held_out=held("b\0h h h h"), answers=4), Echo("c d e f"))
    assert alone["answer_bleu2"] == 0


@pytest.mark.parametrize("world", [2, 3])
def test_any_number_of_workers_finds_the_same(world: int) -> None:
    metric = Answers(codec=CODEC, held_out=held(), answers=4)
    generator = Echo("c d e f", "d d d", "h g f")
    assert measured(metric, generator, world=world) == pytest.approx(measured(metric, generator))


def test_prompts_are_evenly_spaced_as_far_as_answers_are_wanted() -> None:
    metric = Answers(codec=CODEC, held_out=held(*(f"{a}\0c" for a in "abcdefgh")), answers=2)
    assert metric.asked(16) == list(range(8)) and metric.asked(8) == [0, 2, 4, 6] and metric.asked(1) == [0]


def test_an_answer_does_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"vocabulary": len(WORDS), "length": 6, "bos": 1, "eos": 2, "prompt_length": 2}
    generator = Generator(**shape).eval()
    prompts = torch.tensor([[0, 4], [4, 5], [0, 6]])
    together = answers_to(generator, prompts, [3, 4, 5], "x")
    assert torch.equal(together[1:2], answers_to(generator, prompts[1:2], [4], "x"))
    assert not torch.equal(together, answers_to(generator, prompts, [6, 7, 8], "x"))


def test_likelihood_of_what_follows_held_out_prompts() -> None:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"vocabulary": len(WORDS), "length": 6, "bos": 1, "eos": 2, "prompt_length": 2}
    generator, kept = Generator(**shape).eval(), held()
    metric = Nll(held_out=kept)
    found = metric.compare(None, metric.sums(generator, torch.zeros(3, 6), 0, 1))
    rows, prompts = torch.from_numpy(kept.rows()), torch.from_numpy(kept.prompts())
    slow = -generator.log_prob(rows, prompts).sum() / generator.mask(rows).sum()
    assert found["nll"] == pytest.approx(slow.item(), rel=1e-6) and found["nll_div"] > 0
    parts = sum(metric.sums(generator, torch.zeros(3, 6), rank, 2) for rank in range(2))
    assert metric.compare(None, parts) == pytest.approx(found)


def test_an_answer_is_nearer_to_its_own_prompt_s() -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    folder = str(encoder_of(tuple("abcdefgh")))
    metric = AnswerDistance(codec=CODEC, held_out=held("a\0c d", "b\0h g h"), folder=folder, answers=2)
    found = measured(metric, Echo("c d"))
    assert found["answer_distance"] == pytest.approx(found["answer_distance_other"]) and found["answer_distance"] > 0
    one = AnswerDistance(codec=CODEC, held_out=held("a\0c d", "b\0c d"), folder=folder, answers=2)
    assert measured(one, Echo("c d")) == pytest.approx({"answer_distance": 0, "answer_distance_other": 0}, abs=1e-6)


@pytest.mark.parametrize("metric", [Answers, AnswerDistance])
def test_what_they_need_is_said(metric: Any) -> None:
    plain = Codec(6, Splitting("blanks"), WORDS)
    with pytest.raises(ValueError, match=r"about what follows prompts, and the data have none; set data.prompt"):
        metric(codec=plain, held_out=None)
    with pytest.raises(ValueError, match=r"prompts that were not learnt from, and there are none; set data.test"):
        metric(codec=CODEC, held_out=None)
