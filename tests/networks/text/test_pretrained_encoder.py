"""A pretrained encoder as discriminator, and as what whole sentences are compared by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gan_dist.data.facts import TextFacts
from gan_dist.distributed.runtime import LocalRuntime
from gan_dist.evaluation.metric_runner import MetricRunner
from gan_dist.execution.local import read_rows, run_local
from gan_dist.execution.preflight import metric_problems, network_problems
from gan_dist.metrics.features.language_model import SentenceEncoder
from gan_dist.networks.text.pretrained import Discriminator
from gan_dist.registry.metric_names import is_text_metric, metric_value_names
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec, MetricSpec
from tests.helpers import CPU, assert_same_state, request_of, stop_at, train
from tests.tiny import SPECIAL, codec, encoder_of, save_encoder

WORDS = ("cat", "a", "big", "dog", "ran")
OURS = (*SPECIAL, "a", "big", "cat", "dog", "ran")
TOKENS = torch.tensor([[4, 6, 8, 2, 0], [5, 5, 7, 6, 4], [2, 0, 0, 0, 0]])
TEXTS = ("a cat ran", "big big dog cat a", "")


def made(**keys: Any) -> Discriminator:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"vocabulary": len(OURS), "length": 5, "codec": codec(OURS)}
    return Discriminator(**shape | {"folder": str(encoder_of(WORDS))} | keys).double()


def states(*texts: str) -> list[torch.Tensor]:
    """The library's own last hidden states of `[CLS]`, the words and `[SEP]`, one sentence at a time."""
    encoder_of(WORDS)
    from transformers import BertModel

    model = BertModel.from_pretrained(encoder_of(WORDS)).double().eval()
    own = {word: at for at, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "<unk>", *WORDS])}
    rows = [[1, *(own[word] for word in text.split()), *([2] if len(text.split()) < 5 else [])] for text in texts]
    return [model(torch.tensor([row])).last_hidden_state[0] for row in rows]


def test_a_sentence_is_judged_by_the_librarys_mean_state() -> None:
    judge = made()
    wanted = torch.stack([one.mean(0) for one in states(*TEXTS)])
    torch.testing.assert_close(judge.features(TOKENS), wanted)
    torch.testing.assert_close(judge(TOKENS), judge.out(wanted).squeeze(1))


def test_rows_of_the_vocabulary_are_judged_as_their_tokens_and_pass_gradients_on_twice() -> None:
    judge = made(classes=2)
    rows, cond = torch.nn.functional.one_hot(TOKENS, len(OURS)).double().requires_grad_(), torch.tensor([0, 1, 1])
    logits = judge(rows, cond)
    torch.testing.assert_close(logits, judge(TOKENS, cond))
    (slope,) = torch.autograd.grad(logits.sum(), rows, create_graph=True)
    slope.square().sum().backward()
    assert slope.abs().sum() > 0 and judge.encoder.get_input_embeddings().weight.grad.abs().sum() > 0


def test_a_frozen_one_trains_its_last_layer_alone() -> None:
    judge = made(frozen=True)
    assert {name for name, one in judge.named_parameters() if one.requires_grad} == {"out.weight", "out.bias"}
    rows = torch.nn.functional.one_hot(TOKENS, len(OURS)).double().requires_grad_()
    judge(rows).sum().backward()
    assert rows.grad is not None and rows.grad.abs().sum() > 0
    assert all(one.requires_grad for one in made().parameters())


def spec(root: Path, folder: Path, **changes: Any) -> JobSpec:
    lines = root / "lines.txt"
    lines.write_text("a big cat\na cat\na big dog ran\nbig dog\n" * 8)
    job: dict[str, Any] = {
        "name": "encoder",
        "data": {"modality": "text", "source": str(lines), "length": 5, "tokens": str(folder / "tokenizer.json")},
        "generator": {"use": "lstm", "embedding": 4, "hidden": 5, "relax": "gumbel"},
        "discriminator": {"use": "pretrained_encoder", "folder": str(folder)},
        "objective": {"use": "relativistic"},
        "penalties": [{"use": "r1", "gamma": 0.1}],
        "batch": 8,
        "until": "5 steps",
        "every": {"report": "1 steps", "grid": "1000 steps", "checkpoint": "1000 steps"},
    }
    return JobSpec.model_validate(job | changes)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_run_with_it_goes_on_bit_for_bit(tmp_path: Path, frozen: bool) -> None:
    folder = encoder_of(WORDS)
    judge = {"use": "pretrained_encoder", "folder": str(folder), "frozen": frozen}
    job = spec(tmp_path, folder, discriminator=judge)
    rows = read_rows(job, Folder.at(tmp_path / "prepared"), smoke=False, emit=lambda event: None)
    assert isinstance(rows.facts, TextFacts) and network_problems(job, rows.facts) == []
    straight = train(job, tmp_path / "straight", rows=rows)
    train(job, tmp_path / "twice", stop_at(3), rows=rows)
    assert_same_state(straight.newest, train(job, tmp_path / "twice", attempt=2, rows=rows).newest)


def test_what_is_no_encoder_is_said(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs transformers, the extra text")
    with pytest.raises(ValueError, match="no pretrained model for features 'sentence_encoder': it holds no config"):
        SentenceEncoder(codec=codec(OURS), folder=str(tmp_path))
    with pytest.raises(ValueError, match=r"16 tokens are more than the 16 places of .*, 1 of which is its own"):
        made(length=16)
    with pytest.raises(ValueError, match=r"1 of 6 tokens of the data are not known to .*, first 'elk'"):
        made(codec=codec((*OURS, "elk")), vocabulary=len(OURS) + 1)


def test_a_sentence_is_no_longer_than_the_places_that_tokens_have(tmp_path: Path) -> None:
    """RoBERTa numbers places from that of padding on: of its 514, tokens have 512."""
    folder = save_encoder(tmp_path, WORDS)
    from transformers import RobertaConfig, RobertaModel

    shape: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"intermediate_size": 16, "max_position_embeddings": 18, "pad_token_id": 1}
    RobertaModel(RobertaConfig(vocab_size=4 + len(WORDS), **shape)).save_pretrained(folder)
    judge = made(folder=str(folder), length=15)
    assert torch.isfinite(judge(torch.full((2, 15), 5))).all()
    with pytest.raises(ValueError, match=r"16 tokens are more than the 18 places of .*, 3 of which are its own"):
        made(folder=str(folder), length=16)


def test_a_sentence_is_its_text_whatever_tokens_the_data_have() -> None:
    features = SentenceEncoder(codec=codec(OURS), folder=str(encoder_of(WORDS))).double()
    # The tokenizer that these tests make adds no [CLS] and no [SEP].
    encoder_of(WORDS)
    from transformers import BertModel

    model = BertModel.from_pretrained(encoder_of(WORDS)).double().eval()
    wanted = [model(torch.tensor([ids])).last_hidden_state[0].mean(0) for ids in ([5, 4, 8], [6, 6, 7, 4, 5], [0])]
    torch.testing.assert_close(features(TOKENS), torch.stack(wanted))
    letters = codec((*SPECIAL, *" abcdgintro"), length=9)
    letters = type(letters)(9, type(letters.splitting)("characters"), letters.vocabulary)
    spelled = SentenceEncoder(codec=letters, folder=str(encoder_of(WORDS))).double()
    row = torch.from_numpy(letters.encode("a cat").astype(np.int64))[None]
    torch.testing.assert_close(spelled(row), features(torch.tensor([[4, 6, 2, 0, 0]])))


def test_the_distance_is_named_after_the_folder_and_kept_for_the_next_run(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "mini lm-6", WORDS)
    metric = {"use": "frechet", "samples": 16, "features": {"use": "sentence_encoder", "folder": str(folder)}}
    known = MetricSpec.model_validate(metric)
    assert list(metric_value_names(known)) == ["fd_mini-lm-6_16"] and is_text_metric(known)
    job = spec(tmp_path, folder, metrics=[metric])
    rows = read_rows(job, Folder.at(tmp_path / "prepared"), smoke=False, emit=lambda event: None)
    assert metric_problems(job, rows.facts) == []
    run = LocalRuntime(CPU, lambda event: None, lambda: False)
    measuring = MetricRunner(metrics=[known], facts=rows.facts, cache=Folder.at(tmp_path / "cache"), run=run)
    real = rows.rows(np.arange(32))[0]
    same = measuring.measure(lambda part: real[[at % 32 for at in part]], rows)["fd_mini-lm-6_16"]
    other = measuring.measure(lambda part: real[[0 for _ in part]], rows)["fd_mini-lm-6_16"]
    assert same == pytest.approx(0, abs=1e-4) and other > 100 * abs(same)
    assert len(list((tmp_path / "cache").glob("moments-*.safetensors"))) == 1
    assert run_local(request_of(job, tmp_path / "run"), lambda event: None) == 0
    last = json.loads((tmp_path / "run" / "scalars.jsonl").read_text().splitlines()[-1])
    assert last["metric/fd_mini-lm-6_16"] > 0
