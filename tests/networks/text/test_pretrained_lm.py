"""A pretrained language model as generator: its own numbers, its tokenizer, training, and what is no such model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_dist.data.facts import TextFacts
from gan_dist.execution.local import read_rows, run_local
from gan_dist.execution.preflight import network_problems
from gan_dist.generation.model import load
from gan_dist.networks.text.autoregressive import SamplingOptions
from gan_dist.networks.text.pretrained import NEVER, Generator
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from tests.helpers import assert_same_state, request_of, stop_at, train
from tests.tiny import END, SPECIAL, UNKNOWN, codec, lm_of, save_encoder, save_lm

WORDS = ("cat", "a", "big", "dog", "ran")
OURS = (*SPECIAL, "a", "big", "cat", "dog", "ran")
SHAPE: dict[str, Any] = {"vocabulary": len(OURS), "length": 5, "bos": 1, "eos": 2, "codec": codec(OURS)}

SEQGAN = {"use": "seqgan", "rollouts": 2, "update_rate": 0.5}


def made(**keys: Any) -> Generator:
    return Generator(**SHAPE | {"folder": str(lm_of(WORDS))} | keys).double().eval()


def library(**ids: Any) -> Any:
    lm_of(WORDS)
    from transformers import GPT2LMHeadModel

    return GPT2LMHeadModel.from_pretrained(lm_of(WORDS)).double().eval()


def test_probabilities_are_the_librarys_own() -> None:
    generator, model = made(), library()
    own = {word: at for at, word in enumerate([WORDS[0], END, *WORDS[1:], UNKNOWN])}
    tokens = torch.tensor([[4, 6, 8, 2, 0], [5, 5, 7, 6, 4], [2, 0, 0, 0, 0], [3, 4, 3, 2, 0]])
    theirs = torch.tensor([[own.get(OURS[token], own[END]) for token in row] for row in tokens.tolist()])
    before = torch.cat([torch.full((4, 1), own[END]), theirs[:, :-1]], 1)
    log_p = torch.log_softmax(model(before).logits, 2).gather(2, theirs[..., None]).squeeze(2)
    torch.testing.assert_close(generator.log_prob(tokens), log_p * generator.mask(tokens))
    assert generator.log_prob(tokens)[2, 1:].abs().sum() == 0


def test_what_is_drawn_with_the_cache_is_drawn_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each token from a full pass over those before it, by the same numbers."""
    generator = made()
    uniforms = torch.rand(64, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for drawing in (SamplingOptions(), SamplingOptions(0.5, top_k=3), SamplingOptions(1.5, top_p=0.8, prefix=(4, 5))):
        tokens = torch.zeros(64, 5, dtype=torch.int64)
        over = torch.zeros(64, dtype=torch.bool)
        for place in range(5):
            logits = drawing.narrowed(generator.logits(tokens)[:, place])
            p = torch.softmax(logits, 1).cumsum(1)
            column = 2 + (p < uniforms[:, place : place + 1]).sum(1).clamp_max(p.shape[1] - 1)
            if place < len(drawing.prefix):
                column = torch.full_like(column, drawing.prefix[place])
            tokens[:, place], over = generator.ended(column, over)
        assert torch.equal(generator.sample(uniforms, drawing=drawing), tokens)
        assert (tokens == 2).any() and len(set(map(tuple, tokens.tolist()))) > 10


def test_special_tokens_are_never_written(tmp_path: Path) -> None:
    """Where the model has no <unk>, and its end is among the tokens of the data as well."""
    words = (*SPECIAL, *WORDS, END)
    generator = made(codec=codec(words), vocabulary=len(words))
    closed = generator.logits(torch.tensor([[4, 5, 6, 7, 8]]))[0, 0] == NEVER
    assert closed.tolist() == [False] * (len(words) - 3) + [True]
    config = json.loads((lm_of(WORDS) / "tokenizer_config.json").read_text())
    folder = save_lm(tmp_path, WORDS)
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "unk_token"}))
    assert made(folder=str(folder)).closed.tolist() == [False, True, *[False] * 5]


def test_a_model_that_knows_no_word_by_its_end_writes_the_end_alone(tmp_path: Path) -> None:
    """As GPT-2 is published: one token, and one logit, for both."""
    folder = save_lm(tmp_path, WORDS)
    told = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(told | {"unk_token": END}))
    generator = made(folder=str(folder))
    assert generator.closed.tolist() == [False, True, *[False] * 5]
    with torch.no_grad():
        generator.model.lm_head.weight[generator.ids[2]] = 0
        p = torch.softmax(generator.logits(torch.tensor([[4, 5, 6, 7, 8]])), 2)[0, 0]
        rest = generator._logits(torch.tensor([[1]]))[0, 0, 2:].exp().sum()
    assert p[1] == 0 and p[0].item() == pytest.approx(1 / (1 + rest.item()))


def test_a_class_is_nothing_until_it_is_learnt() -> None:
    tokens, cond = torch.tensor([[4, 5, 6, 2, 0]] * 2), torch.tensor([0, 1])
    generator = made(classes=2)
    torch.testing.assert_close(generator.log_prob(tokens, cond), made().log_prob(tokens))
    assert generator.cls is not None
    torch.nn.init.normal_(generator.cls.weight)
    one, other = generator.log_prob(tokens, cond)
    assert not torch.allclose(one, other)


def test_nothing_is_dropped_out_in_training() -> None:
    generator, tokens = made(), torch.tensor([[4, 5, 6, 2, 0]])
    torch.testing.assert_close(generator.train().log_prob(tokens), generator.eval().log_prob(tokens))


def spec(root: Path, folder: Path, **changes: Any) -> JobSpec:
    lines = root / "lines.txt"
    lines.write_text("a big cat\na cat\na big dog ran\nthe dog\n" * 8)
    job: dict[str, Any] = {
        "name": "pretrained",
        "data": {"modality": "text", "source": str(lines), "length": 5, "tokens": str(folder / "tokenizer.json")},
        "generator": {"use": "pretrained_lm", "folder": str(folder)},
        "discriminator": {"use": "textcnn", "embedding": 4, "widths": [1, 2], "filters": [3, 3]},
        "batch": 8,
        "stages": [
            {"name": "likelihood", "objective": "mle", "for": "3 steps"},
            {
                "name": "adversarial",
                "objective": {"use": "seqgan", "rollouts": 2, "update_rate": 0.5},
                "for": "3 steps",
            },
        ],
        "every": {"report": "1 steps", "grid": "1000 steps", "checkpoint": "1000 steps"},
    }
    return JobSpec.model_validate(job | changes)


@pytest.mark.slow
def test_a_run_goes_on_bit_for_bit_and_its_checkpoint_carries_the_weights(tmp_path: Path) -> None:
    folder = save_lm(tmp_path / "lm", WORDS)
    job = spec(tmp_path, folder)
    rows = read_rows(job, Folder.at(tmp_path / "prepared"), smoke=False, emit=lambda event: None)
    assert isinstance(rows.facts, TextFacts)
    assert network_problems(job, rows.facts) == []
    straight = train(job, tmp_path / "straight", rows=rows)
    for k in (2, 4):
        train(job, tmp_path / f"twice{k}", stop_at(k), rows=rows)
        assert_same_state(straight.newest, train(job, tmp_path / f"twice{k}", attempt=2, rows=rows).newest)
    model = load(straight.newest.folder.uri)
    lines = model.sample(8, seed=3)
    save_lm(folder, WORDS, seed=5)
    assert load(straight.newest.folder.uri).sample(8, seed=3) == lines
    assert all(line.startswith("a big") for line in model.sample(4, prefix="a big", top_k=2))


@pytest.mark.slow
def test_textgail_pushes_it_in_rounds_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """In the first minibatch of a round it is the very policy that wrote: nothing is clipped, and all is pushed."""
    folder = save_lm(tmp_path / "lm", WORDS)
    textgail = {"use": "textgail", "minibatches": 2, "kl": 0.1, "demonstrations": 0.3}
    job = spec(tmp_path, folder, stages=None, objective=textgail, until="6 steps", optimizer={"lr": 0.01})
    rows = read_rows(job, Folder.at(tmp_path / "prepared"), smoke=False, emit=lambda event: None)
    straight = train(job, tmp_path / "straight", rows=rows)
    lines = [json.loads(line) for line in (tmp_path / "straight" / "scalars.jsonl").read_text().splitlines()]
    clipped = [line["G/clipped"] for line in lines]
    assert clipped[::2] == [0, 0, 0] and all(share > 0 for share in clipped[1::2])
    assert all(line["gradient_norm/generator"] > 0 for line in lines)
    weights = straight.newest.tensors("generator")
    before = dict(Generator(**SHAPE | {"folder": str(folder)}).named_parameters())
    assert all(not torch.equal(weights[name], one) for name, one in before.items())
    train(job, tmp_path / "twice", stop_at(3), rows=rows)
    assert_same_state(straight.newest, train(job, tmp_path / "twice", attempt=2, rows=rows).newest)


def test_what_is_no_pretrained_model_is_said_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_lm(tmp_path / "lm", WORDS)
    job = spec(tmp_path, folder)
    facts = read_rows(job, Folder.at(tmp_path / "prepared"), smoke=False, emit=lambda event: None).facts

    def problem(where: Path, **data: Any) -> str:
        asked = spec(tmp_path, folder, generator={"use": "pretrained_lm", "folder": str(where)})
        asked = asked.model_copy(update={"data": asked.data.model_copy(update=data)})
        known = (
            read_rows(asked, Folder.at(tmp_path / "prepared"), smoke=False, emit=lambda event: None).facts
            if data
            else facts
        )
        (found,) = network_problems(asked, known)
        return found

    assert "is no pretrained model for generator 'pretrained_lm': it holds no config.json" in problem(tmp_path)
    words = problem(folder, tokens="characters", length=15)
    assert "tokens of the data are not known to the tokenizer of" in words and "set data.tokens: " in words
    assert "40 tokens are more than the 16 places" in problem(folder, length=40)
    assert "holds a BertModel, which is no causal language model" in problem(save_encoder(tmp_path / "bert", WORDS))
    (save_lm(tmp_path / "bare", WORDS) / "model.safetensors").unlink()
    assert "holds no weights" in problem(tmp_path / "bare")
    broken = save_lm(tmp_path / "broken", WORDS)
    (broken / "tokenizer.json").write_text("{")
    assert "is no pretrained model for generator 'pretrained_lm'" in problem(broken)
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "generator 'pretrained_lm' needs transformers: pip install 'gan-dist[text]'" in problem(folder)


@pytest.mark.slow
def test_it_runs_from_a_job_to_a_measured_run(tmp_path: Path) -> None:
    folder = save_lm(tmp_path / "lm", WORDS)
    metrics = [{"use": "nll", "samples": 16}, {"use": "repetition", "samples": 16}]
    job = spec(tmp_path, folder, metrics=metrics)
    job = job.model_copy(update={"data": job.data.model_copy(update={"validation": 0.3})})
    assert run_local(request_of(job, tmp_path / "run"), lambda event: None) == 0
    last = json.loads((tmp_path / "run" / "scalars.jsonl").read_text().splitlines()[-1])
    assert 0 < last["metric/nll_validation_16"] < 20
