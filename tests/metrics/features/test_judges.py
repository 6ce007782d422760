"""Small networks that judge text: a language model both ways, and a classifier, on languages whose entropy is known."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gan_dist.data.codec import Codec, Splitting
from gan_dist.data.facts import TextFacts
from gan_dist.distributed.runtime import LocalRuntime
from gan_dist.evaluation.metric_runner import MetricRunner
from gan_dist.metrics.features.classifiers import TextClassifier, split_held_out
from gan_dist.metrics.features.language_model import LanguageModel, nll_per_token
from gan_dist.metrics.text.class_accuracy import ClassAccuracy
from gan_dist.metrics.text.likelihood import LmScore, ReverseLmScore
from gan_dist.registry.metric_names import metric_value_names
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import MetricSpec
from tests.helpers import CPU

WORDS, LENGTH = 8, 10
CODEC = Codec(LENGTH, Splitting("numbers"), tuple(map(str, range(WORDS))))
NEXT = np.random.default_rng(0).dirichlet(np.full(WORDS, 0.3), WORDS)
SHAPE: dict[str, Any] = {"vocabulary": WORDS, "length": LENGTH, "bos": 0, "eos": None}


def chain(count: int, seed: int) -> NDArray[np.int64]:
    """Sentences [count, T] of a Markov chain that starts from word 0."""
    rng, before = np.random.default_rng(seed), np.zeros(count, np.int64)
    columns = []
    for _ in range(LENGTH):
        above = NEXT[before].cumsum(1) > rng.random(count)[:, None]
        before = np.where(above.any(1), above.argmax(1), WORDS - 1)
        columns.append(before)
    return np.stack(columns, 1)


def entropy() -> float:
    """Of the chain, in nats per token: that of each next word, weighted by how likely the word before it is."""
    of_next, p, total = -(NEXT * np.log(NEXT)).sum(1), np.eye(WORDS)[0], 0.0
    for _ in range(LENGTH):
        total, p = total + float(p @ of_next), p @ NEXT
    return total / LENGTH


class Sentences:
    """Rows of a data set, and what a metric is told of held-out ones."""

    def __init__(self, ids: NDArray[np.int64], labels: NDArray[np.int64] | None = None) -> None:
        self.ids, self.labels = ids, np.zeros(len(ids), np.int64) if labels is None else labels
        counts = () if labels is None else tuple(np.bincount(labels).tolist())
        classes = tuple(map(str, range(len(counts))))
        self.facts = TextFacts(count=len(ids), checksum="x", codec=CODEC, classes=classes, class_counts=counts)

    def positions(self, reals_drawn: int) -> NDArray[np.int64]:
        raise AssertionError("nothing trains here")

    def rows(self, positions: NDArray[np.int64] | None = None) -> Any:
        if positions is None:
            return self.ids
        return torch.from_numpy(self.ids[positions]), torch.from_numpy(self.labels[positions])

    def numbers(self) -> list[list[int]]:
        return self.ids.tolist()


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """A language model of the chain."""
    torch.manual_seed(0)
    made, data = LanguageModel(**SHAPE, steps=400), Sentences(chain(4000, 1))
    made.fit(data.rows, 4000)
    return made.eval()


def reverse(rows: NDArray[np.int64], steps: int = 250) -> float:
    metric = ReverseLmScore(codec=CODEC, held_out=Sentences(chain(2000, 2)), steps=steps)
    fake = torch.from_numpy(rows).float()
    return metric.compare(fake, fake)["reverse_lm"]


@pytest.mark.slow
def test_a_language_model_comes_near_the_entropy_of_its_language(model: LanguageModel) -> None:
    assert 0.5 < entropy() < 1.5
    assert model.nll(torch.from_numpy(chain(8000, 3))) == pytest.approx(entropy(), abs=0.03)
    assert reverse(chain(4000, 4)) == pytest.approx(entropy(), abs=0.05)


@pytest.mark.slow
def test_worse_text_has_a_worse_score_and_collapsed_text_is_found_out_in_reverse(model: LanguageModel) -> None:
    true, nothing = chain(1500, 5), np.random.default_rng(6).integers(0, WORDS, (1500, LENGTH))
    half = np.where(np.random.default_rng(7).random((1500, 1)) < 0.5, true, nothing)
    likely = true[np.argsort(model(torch.from_numpy(true))[:, 0].detach().numpy())[:3]]
    collapsed = np.tile(likely, (500, 1))

    def score(rows: NDArray[np.int64]) -> float:
        with torch.no_grad():
            features = model(torch.from_numpy(rows))
        return LmScore().compare(features, features)["lm"]

    assert score(true) + 0.3 < score(half) < score(nothing) - 0.3
    assert reverse(true) + 0.05 < reverse(half) < reverse(nothing) - 0.3
    assert score(collapsed) < score(true) - 0.2
    assert reverse(collapsed) > reverse(true) + 1


def test_scores_count_tokens_up_to_the_end() -> None:
    torch.manual_seed(0)
    made = LanguageModel(vocabulary=6, length=5, bos=1, eos=2).eval()
    rows = torch.tensor([[3, 2, 0, 0, 0], [4, 5, 3, 2, 0]])
    log_p = made.model.log_prob(rows)
    found = made(rows)
    assert found[:, 1].tolist() == [2, 4]
    torch.testing.assert_close(found[:, 0], -log_p.sum(1))
    assert nll_per_token(found) == pytest.approx(-log_p.sum().item() / 6, rel=1e-6)


@pytest.mark.slow
def test_the_same_text_has_the_same_score_whatever_was_drawn_before() -> None:
    rows = chain(200, 8)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = reverse(rows, steps=20)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    assert reverse(rows, steps=20) == one
    assert reverse(rows, steps=30) != one


def measuring(metrics: list[dict[str, Any]], data: Sentences, cache: Path) -> tuple[MetricRunner, list[str]]:
    told: list[str] = []
    run = LocalRuntime(CPU, lambda event: told.append(event["text"]), lambda: False)
    return MetricRunner(
        metrics=[MetricSpec.model_validate(one) for one in metrics], facts=data.facts, cache=Folder.at(cache), run=run
    ), told


def drawn(rows: NDArray[np.int64]) -> Any:
    return lambda part: torch.from_numpy(rows[part.start : part.stop])


@pytest.mark.slow
def test_the_language_model_is_trained_once_and_judged_by_what_it_did_not_see(tmp_path: Path) -> None:
    data, few = Sentences(chain(1000, 9)), {"use": "language_model", "steps": 200}
    metrics = [{"use": "lm", "samples": 128, "features": few}]
    for trained in (2, 0):
        measured, told = measuring(metrics, data, tmp_path)
        found = measured.measure(drawn(chain(128, 10)), data)
        assert list(found) == ["lm_steps200_128", "lm_real_steps200_128"] and len(told) == trained
        fact = json.loads(next(tmp_path.glob("extractor-*.json")).read_text())
        assert found["lm_real_steps200_128"] == pytest.approx(fact["nll"], rel=1e-5) and fact["steps"] == 140
    real = measured.of_held_out(data)
    assert real["lm_steps200_128"] == real["lm_real_steps200_128"] == found["lm_real_steps200_128"]
    assert len(split_held_out(1000)) == 100 == len(set(split_held_out(1000)))


def test_a_language_model_of_more_words_is_another_one(tmp_path: Path) -> None:
    """The same data beside a file with a word of its own: neither takes what the other has kept."""
    data, few = Sentences(chain(200, 9)), {"use": "language_model", "steps": 5}
    metrics = [{"use": "lm", "samples": 128, "features": few}]
    known = data.facts
    more = dataclasses.replace(known, codec=dataclasses.replace(CODEC, vocabulary=(*CODEC.vocabulary, "unicorn")))
    found = []
    for facts, trained in ((known, 2), (more, 2), (known, 0), (more, 0)):
        data.facts = facts
        measured, told = measuring(metrics, data, tmp_path)
        found.append(measured.measure(drawn(chain(128, 10)), data))
        assert len(told) == trained
    assert found[0] == found[2] != found[1] == found[3]


def of_class(labels: NDArray[np.int64], seed: int, marked: float) -> NDArray[np.int64]:
    """Sentences of words 2 to 7, in a share of which the class stands as word 0 or 1 somewhere."""
    rng = np.random.default_rng(seed)
    rows, at = rng.integers(2, WORDS, (len(labels), LENGTH)), rng.integers(0, LENGTH, len(labels))
    told = rng.random(len(labels)) < marked
    rows[told, at[told]] = labels[told]
    return rows


@pytest.mark.slow
def test_sentences_of_known_class_are_of_that_class(tmp_path: Path) -> None:
    """Where nothing tells the class, half of the guesses are right: 0.6 marked sentences are told in 0.8 of cases."""
    labels = np.random.default_rng(11).integers(0, 2, 4000)
    data, asked = Sentences(of_class(labels, 12, 0.6), labels), labels[:1024]
    measured, _ = measuring(
        [{"use": "class_accuracy", "samples": 1024, "features": {"use": "text_classifier", "steps": 250}}],
        data,
        tmp_path,
    )

    def accuracy(rows: NDArray[np.int64]) -> float:
        cls = torch.from_numpy(asked)
        found = measured.measure(drawn(rows), data, None, lambda part: cls[part.start : part.stop])
        assert found["class_accuracy_real_steps250_1024"] == pytest.approx(0.8, abs=0.06)
        return found["class_accuracy_steps250_1024"]

    assert accuracy(of_class(asked, 13, 1.0)) > 0.97
    assert accuracy(of_class(asked, 14, 0.6)) == pytest.approx(0.8, abs=0.05)
    assert accuracy(of_class(1 - asked, 15, 1.0)) < 0.03
    fact = json.loads(next(tmp_path.glob("extractor-*.json")).read_text())
    assert measured.of_held_out(data)["class_accuracy_steps250_1024"] == pytest.approx(fact["accuracy"], abs=1e-9)


def test_names_say_the_budget() -> None:
    spec = MetricSpec.model_validate({"use": "reverse_lm", "steps": 50, "samples": 64})
    assert list(metric_value_names(spec)) == ["reverse_lm_validation_64_steps50"]


def test_what_judges_cannot_do_is_said() -> None:
    for make, message in (
        (lambda: ReverseLmScore(codec=CODEC, held_out=None), "name a file or a share of the data in data.test"),
        (lambda: ClassAccuracy(class_counts=()), "set data.labels"),
        (lambda: TextClassifier(vocabulary=5, classes=0), "learns from labels, and the data have none"),
        (lambda: LanguageModel(**SHAPE, steps=0), "steps must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
