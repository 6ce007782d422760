"""Metrics of text: BLEU as NLTK counts it, the published table from the published samples, repetition, likelihoods."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from gan_dist.data.codec import Codec, Splitting
from gan_dist.metrics.text.bleu import Bleu, SelfBleu, bleu_against, bleu_among, closest_among_others, closest_lengths
from gan_dist.metrics.text.likelihood import Nll, NllOracle
from gan_dist.metrics.text.references import TokenSentences
from gan_dist.metrics.text.repetition import Repetition, distinct_ngrams
from gan_dist.networks.text.lstm import Generator
from tests.helpers import SHARED

TEXYGEN = SHARED / "text" / "texygen_samples"
# Zhu et al. 2018 (Texygen's README): BLEU-2 to BLEU-5 against 10,000 captions, Self-BLEU-2 to Self-BLEU-5.
PUBLISHED = {
    "mle": ((0.731, 0.497, 0.305, 0.189), (0.916, 0.769, 0.583, 0.408)),
    "leakgan": ((0.746, 0.528, 0.355, 0.230), (0.966, 0.913, 0.848, 0.780)),
}


def corpora(seed: int) -> tuple[list[list[int]], list[list[int]]]:
    rng = random.Random(seed)
    words = rng.choice([2, 3, 5, 20])

    def some(count: int) -> list[list[int]]:
        return [[rng.randrange(words) for _ in range(rng.randint(1, 9))] for _ in range(count)]

    return some(rng.randint(2, 7)), some(rng.randint(1, 6))


@pytest.mark.parametrize("seed", range(40))
def test_bleu_and_self_bleu_are_nltks(seed: int) -> None:
    nltk = pytest.importorskip("nltk.translate.bleu_score", reason="nltk is not installed")
    smooth = nltk.SmoothingFunction().method1
    hypotheses, references = corpora(seed)
    ours = bleu_against(TokenSentences.of(hypotheses), TokenSentences.of(references))
    among = bleu_among(TokenSentences.of(hypotheses))
    for n in range(2, 6):
        weights = [1 / n] * n
        theirs = [nltk.sentence_bleu(references, one, weights, smooth) for one in hypotheses]
        assert ours[n] == pytest.approx(np.mean(theirs), abs=1e-12)
        others = [hypotheses[:place] + hypotheses[place + 1 :] for place in range(len(hypotheses))]
        theirs = [nltk.sentence_bleu(rest, one, weights, smooth) for rest, one in zip(others, hypotheses, strict=True)]
        assert among[n] == pytest.approx(np.mean(theirs), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_samples_give_the_published_table(name: str) -> None:
    if not TEXYGEN.exists():
        pytest.skip("the published samples are not at hand")
    tokenize = pytest.importorskip("nltk.tokenize", reason="nltk is not installed").NLTKWordTokenizer().tokenize
    ids: dict[str, int] = {}

    def read(path: Any) -> TokenSentences:
        lines = path.read_text().splitlines()
        return TokenSentences.of(
            [[ids.setdefault(word, len(ids)) for word in tokenize(line.lower())] for line in lines]
        )

    captions, samples = read(SHARED / "text" / "coco" / "test.txt"), read(TEXYGEN / f"{name}.txt")
    quality, alike = PUBLISHED[name]
    assert list(bleu_against(samples, captions).values()) == pytest.approx(quality, abs=0.002)
    assert list(bleu_among(samples).values()) == pytest.approx(alike, abs=0.002)


def test_our_words_tell_the_same_of_the_published_samples() -> None:
    """The way that published protocols are cut here moves their numbers by less than 0.005."""
    if not TEXYGEN.exists():
        pytest.skip("the published samples are not at hand")
    splitting, ids = Splitting("treebank", lower=True), dict[str, int]()

    def read(path: Any) -> TokenSentences:
        lines = path.read_text().splitlines()
        return TokenSentences.of([[ids.setdefault(word, len(ids)) for word in splitting.split(line)] for line in lines])

    captions, samples = read(SHARED / "text" / "coco" / "test.txt"), read(TEXYGEN / "mle.txt")
    assert list(bleu_against(samples, captions).values()) == pytest.approx(PUBLISHED["mle"][0], abs=0.005)


def test_no_word_in_common_is_no_score() -> None:
    assert bleu_against(TokenSentences.of([[1, 2, 3]]), TokenSentences.of([[4, 5]]))[2] == 0


def test_lengths_nearest() -> None:
    assert closest_lengths(np.array([1, 4, 5, 9]), np.array([3, 5, 5])).tolist() == [3, 3, 5, 5]
    assert closest_among_others(np.array([4, 4, 7])).tolist() == [4, 4, 4]
    assert closest_among_others(np.array([4])).tolist() == [4]


CODEC = Codec(5, Splitting("blanks"), ("<pad>", "<bos>", "<eos>", "<unk>", "a", "b", "c"))


class Held:
    """Held-out sentences as the data layer gives them."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def prompts(self) -> None:
        return None

    def numbers(self) -> list[list[int]]:
        return [[CODEC.ids.get(word, 99) for word in text.split()] for text in self.texts]

    def rows(self) -> Any:
        return np.stack([CODEC.encode(text) for text in self.texts]).astype(np.int64)


def rows(*texts: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([CODEC.encode(text) for text in texts])).float()


def test_what_comes_after_the_end_counts_nowhere() -> None:
    made = rows("a b c", "a b")
    metric = Bleu(codec=CODEC, held_out=Held("a b c", "c c"))
    assert metric.compare(made, made)["bleu2"] == pytest.approx(
        bleu_against(TokenSentences.of([[4, 5, 6], [4, 5]]), TokenSentences.of([[4, 5, 6], [6, 6]]))[2]
    )
    assert SelfBleu(codec=CODEC).compare(made, rows("a b c", "a b c"))["self_bleu3"] == pytest.approx(1)


def test_repetition_counts() -> None:
    made = rows("a b", "a b", "b c", "c c c")
    found = Repetition(codec=CODEC).compare(rows("b c", "a a a"), made)
    assert found == {"distinct2": 3 / 5, "distinct4": 0.0, "duplicates": 0.25, "copies": 0.25}
    assert distinct_ngrams(TokenSentences.of([[1, 2], [2, 1]]), 2) == 1


def test_likelihoods_are_means_over_tokens_with_ends() -> None:
    torch.manual_seed(0)
    generator = Generator(vocabulary=7, length=5, bos=1, eos=2, embedding=3, hidden=4)
    metric, fake = Nll(held_out=Held("a b", "c", "a a a a a")), rows("a", "b b", "c")
    found = metric.compare(None, sum(metric.sums(generator, fake, rank, 2) for rank in (0, 1)))
    known = torch.from_numpy(Held("a b", "c", "a a a a a").rows())
    assert found["nll"] == pytest.approx(-generator.log_prob(known).sum().item() / (3 + 2 + 5), rel=1e-6)
    assert found["nll_div"] == pytest.approx(-generator.log_prob(fake.long()).sum().item() / (2 + 3 + 2), rel=1e-6)


def test_words_that_the_generator_has_not_are_unknown_to_it() -> None:
    torch.manual_seed(0)
    generator = Generator(vocabulary=6, length=5, bos=1, eos=2, embedding=3, hidden=4)
    metric, fake = Nll(held_out=Held("a c", "c")), rows("a", "b")
    found = metric.compare(None, metric.sums(generator, fake, 0, 1))
    wanted = -generator.log_prob(torch.tensor([[4, 3, 2, 0, 0], [3, 2, 0, 0, 0]])).sum().item() / 5
    assert found["nll"] == pytest.approx(wanted, rel=1e-6)


def test_metrics_without_what_they_compare_with() -> None:
    for make in (lambda: Bleu(codec=CODEC, held_out=None), lambda: Nll(held_out=None)):
        with pytest.raises(ValueError, match=r"compares with sentences that were not learnt from, and .* data.test"):
            make()
    with pytest.raises(ValueError, match="needs data that an oracle drew"):
        NllOracle(oracle=None)
