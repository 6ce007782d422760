"""Networks of text with prompts: they are fed and not scored, and D sees them; padding of a prompt changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.networks.text import pretrained
from gan_dist.objectives.policy_gradient import complete_prefixes
from tests.helpers import CPU
from tests.networks.text.test_autoregressive import DISCRIMINATORS, EOS, GENERATORS, LENGTH, VOCABULARY, every_sentence
from tests.tiny import codec, encoder_of

PROMPTS = torch.tensor([[0, 3, 4], [5, 3, 4], [0, 0, 4]])


def generator(name: str, prompt_length: int = 3, **keys: Any) -> Any:
    torch.manual_seed(0)
    shape = {"vocabulary": VOCABULARY, "length": LENGTH, "bos": 1, "eos": EOS, "prompt_length": prompt_length}
    return GENERATORS[name](**shape, **keys).double()


@pytest.mark.parametrize("name", GENERATORS)
def test_probabilities_after_a_prompt_sum_to_one(name: str) -> None:
    sentences = every_sentence(EOS)
    for prompt in PROMPTS:
        p = generator(name).log_prob(sentences, prompt.expand(len(sentences), -1)).sum(1).exp().sum().item()
        assert p == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", GENERATORS)
def test_given_text_is_scored_as_it_would_be_written_after_the_prompt(name: str) -> None:
    made, tokens = generator(name), every_sentence(EOS)[::7]
    cond = PROMPTS[torch.arange(len(tokens)) % 3]
    state, before, steps = made.begin(len(tokens), cond), torch.full((len(tokens),), 1), []
    for column in tokens.unbind(1):
        logits, state = made.step(before, state)
        steps.append(logits)
        before = column
    torch.testing.assert_close(made.logits(tokens, cond), torch.stack(steps, 1))


@pytest.mark.parametrize("name", GENERATORS)
def test_prompts_change_what_is_written(name: str) -> None:
    made, tokens = generator(name), every_sentence(EOS)[:5]
    one, other = (made.log_prob(tokens, PROMPTS[row].expand(5, -1)) for row in (0, 1))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("name", [name for name in GENERATORS if name != "transformer"])
def test_the_padding_of_a_prompt_changes_nothing(name: str) -> None:
    """Of a transformer of ours it does: its places are numbered from the beginning of the row."""
    tokens = every_sentence(EOS)[::50]
    short, long = (generator(name, count) for count in (2, 5))
    long.load_state_dict(short.state_dict())
    prompt = torch.tensor([[3, 4]]).expand(len(tokens), -1)
    padded = torch.nn.functional.pad(prompt, (3, 0))
    torch.testing.assert_close(short.log_prob(tokens, prompt), long.log_prob(tokens, padded))


@pytest.mark.parametrize("name", ["lstm", "rmc", "transformer", "pretrained_lm"])
def test_rollouts_follow_the_prompt(name: str) -> None:
    """Every completion begins with its beginning, and is as likely after its prompt as it is drawn."""
    made = generator(name).eval()
    cond, n = PROMPTS, len(PROMPTS)
    tokens = made(made.draw(n, single_lane_rng(("x",), n, CPU, torch.float64)), cond)
    uniforms = torch.rand(n, LENGTH - 1, 2, LENGTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = complete_prefixes(made, tokens, cond, uniforms)
    again = complete_prefixes(made, tokens[1:2], cond[1:2], uniforms[1:2])
    assert torch.equal(found[1:2], again)
    for g in range(1, LENGTH):
        assert torch.equal(found[:, g - 1, :, :g], tokens[:, None, :g].expand(-1, 2, -1))


@pytest.mark.parametrize("prompt_length", [0, 3])
@pytest.mark.parametrize("name", ["transformer", "rotary"])
def test_written_in_place_sentences_are_those_of_growing_states(
    name: str, prompt_length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = generator(name, prompt_length).eval()
    cond = PROMPTS if prompt_length else None
    uniforms = torch.rand(3, LENGTH, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = made.sample(uniforms, cond)
    state, grown = made.begin_sampling(3, cond), made.begin(3, cond)
    before = torch.ones(3, dtype=torch.int64)
    for place, column in enumerate(found.unbind(1)):
        one, state = made.step_sampling(before, state, place)
        other, grown = made.step(before, grown)
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
        before = column
    monkeypatch.setattr(type(made), "begin_sampling", type(made).begin)
    monkeypatch.setattr(type(made), "step_sampling", lambda self, tokens, state, place: self.step(tokens, state))
    assert torch.equal(found, made.sample(uniforms, cond))


@pytest.mark.parametrize("relax", ["gumbel", "straight_through"])
def test_relaxed_samples_follow_the_prompt(relax: str) -> None:
    made = generator("lstm", relax=relax)
    noise = made.draw(3, single_lane_rng(("x",), 3, CPU, torch.float64))
    rows = made(noise, PROMPTS)
    assert rows.shape == (3, LENGTH, VOCABULARY)
    made(noise, PROMPTS).sum().backward()


def discriminator(name: str, **keys: Any) -> Any:
    torch.manual_seed(0)
    shape = {"vocabulary": VOCABULARY, "length": LENGTH, "prompt_length": 3}
    if name != "pretrained_encoder":
        return DISCRIMINATORS[name](**shape, **keys).double().eval()
    words = ("<pad>", "<bos>", "<eos>", "<unk>", "a", "b")
    folder = str(encoder_of(("a", "b")))
    return pretrained.Discriminator(**shape, codec=codec(words), folder=folder, **keys).double().eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["textcnn", "textlstm", "multirep", "pretrained_encoder"])
def test_a_discriminator_sees_prompt_and_answer(name: str) -> None:
    made, tokens = discriminator(name), every_sentence(EOS)[::100]
    given = [PROMPTS[row].expand(len(tokens), -1) for row in (0, 1)]
    one, other = (made(tokens, cond) for cond in given)
    assert len(one) == len(tokens) and not torch.allclose(one, other)
    assert not torch.allclose(made(tokens.flip(0), given[0]), one)
    rows = torch.nn.functional.one_hot(tokens, VOCABULARY).double().requires_grad_()
    torch.testing.assert_close(made(rows, given[0]), one)
    (slope,) = torch.autograd.grad(made(rows, given[0]).sum(), rows)
    assert slope.abs().sum() > 0


def test_textlstm_judges_the_answer_alone() -> None:
    assert discriminator("textlstm")(every_sentence(EOS)[:3], PROMPTS).shape == (3, LENGTH)


def test_textcnn_judges_completions_as_it_judges_sentences() -> None:
    made, tokens = discriminator("textcnn"), every_sentence(EOS)[[3, 40, 120]]
    written = tokens[:, None, None, :].repeat(1, LENGTH - 1, 2, 1)
    written[..., -1] = torch.randint(3, VOCABULARY, written.shape[:-1], generator=torch.Generator().manual_seed(0))
    found = made.endings(tokens, written, PROMPTS)
    flat = written.reshape(-1, LENGTH)
    slow: Tensor = made(flat, PROMPTS.repeat_interleave((LENGTH - 1) * 2, 0)).view(3, LENGTH - 1, 2)
    torch.testing.assert_close(found, slow)


def test_a_class_and_a_prompt_are_too_much() -> None:
    with pytest.raises(ValueError, match="of a class or follow a prompt; there are 2 classes"):
        generator("lstm", classes=2)
