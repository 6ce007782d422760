"""BLEU against held-out sentences, and Self-BLEU among what was generated, by the protocol of Texygen (Zhu et al. 2018,
arXiv 1802.01886)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gan_dist.metrics.text.references import (
    HasEos,
    HeldOutReferences,
    Ints,
    TokenSentences,
    drop_unknown,
    strip_padding,
)

ORDER = 5


class Bleu:
    """Sentence BLEU-2 to BLEU-5 against all sentences of held-out text at once, averaged over all generated ones.

    Smoothing is method 1 of Chen and Cherry 2014; the reference nearest in length gives the brevity penalty.

    Args:
        codec: of the data, which says where sentences end.
        held_out: sentences that nothing is learnt from.
    """

    values = ("bleu2", "bleu3", "bleu4", "bleu5")
    by_split = ("bleu2", "bleu3", "bleu4", "bleu5")
    needs = "rows"
    features = "tokens"

    def __init__(self, *, codec: HasEos, held_out: HeldOutReferences | None) -> None:
        self.eos, self.known = codec.eos, TokenSentences.of(drop_unknown(held_out, "bleu").numbers())

    def compare(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        found = bleu_against(strip_padding(fake, self.eos), self.known)
        return {f"bleu{n}": value for n, value in found.items()}


class SelfBleu:
    """Sentence BLEU-2 to BLEU-5 of each generated sentence against all the others: 1 where all are alike.

    Args:
        codec: of the data, which says where sentences end.
    """

    values = ("self_bleu2", "self_bleu3", "self_bleu4", "self_bleu5")
    needs = "rows"
    features = "tokens"

    def __init__(self, *, codec: HasEos) -> None:
        self.eos = codec.eos

    def compare(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        found = bleu_among(strip_padding(fake, self.eos))
        return {f"self_bleu{n}": value for n, value in found.items()}


def bleu_against(hypotheses: TokenSentences, known: TokenSentences, order: int = ORDER) -> dict[int, float]:
    """Mean BLEU-2 to BLEU-`order` of sentences against all references."""
    matches = []
    for n in range(1, order + 1):
        ours, theirs = ngram_codes([hypotheses, known], n)
        matches.append(clip_counts(count_ngrams(*ours), count_ngrams(*theirs), len(hypotheses)))
    closest = closest_lengths(hypotheses.lengths, known.lengths)
    return {n: float(each.mean()) for n, each in bleu(matches, hypotheses.lengths, closest).items()}


def bleu_among(sentences: TokenSentences, order: int = ORDER) -> dict[int, float]:
    """Mean BLEU-2 to BLEU-`order` of each sentence against all the others."""
    matches = []
    for n in range(1, order + 1):
        (ours,) = ngram_codes([sentences], n)
        matches.append(clip_counts_by_others(count_ngrams(*ours), len(sentences)))
    closest = closest_among_others(sentences.lengths)
    return {n: float(each.mean()) for n, each in bleu(matches, sentences.lengths, closest).items()}


Floats = NDArray[np.float64]
EPSILON = 0.1


class Counts(NamedTuple):
    """How often each n-gram comes in each sentence: one entry for each (sentence, n-gram) that is there."""

    sentence: Ints
    gram: Ints
    times: Ints


def ngram_codes(sets: Sequence[TokenSentences], n: int) -> list[tuple[Ints, Ints]]:
    """(sentence, number of the n-gram) of each n-gram of each set; equal n-grams have equal numbers in all sets."""
    tokens = np.concatenate([one.tokens for one in sets])
    sentence = np.concatenate([np.repeat(np.arange(len(one)), one.lengths) + at for one, at in _from(sets)])
    codes = np.unique(tokens, return_inverse=True)[1].reshape(-1).astype(np.int64)
    words = codes.max(initial=0) + 1
    grams, owner = codes, sentence
    for size in range(1, n):
        following = codes[size:][: len(grams)]
        grams = grams[: len(following)] * words + following
        inside = sentence[size:][: len(following)] == owner[: len(following)]
        # Those that reach into the next sentence stay until the end, so that places go on to match.
        grams = np.unique(grams, return_inverse=True)[1].reshape(-1).astype(np.int64)
        owner = np.where(inside, owner[: len(following)], -1)
    kept = owner >= 0
    owner, grams = owner[kept], grams[kept]
    found, at = [], 0
    for one in sets:
        here = (owner >= at) & (owner < at + len(one))
        found.append((owner[here] - at, grams[here]))
        at += len(one)
    return found


def count_ngrams(sentence: Ints, gram: Ints) -> Counts:
    """The occurrences of each n-gram in each sentence, ordered by n-gram."""
    order = np.lexsort((sentence, gram))
    sentence, gram = sentence[order], gram[order]
    new = np.ones(len(gram), bool)
    new[1:] = (gram[1:] != gram[:-1]) | (sentence[1:] != sentence[:-1])
    starts = np.flatnonzero(new)
    return Counts(sentence[starts], gram[starts], np.diff(starts, append=len(gram)))


def clip_counts(hypotheses: Counts, references: Counts, count: int) -> Ints:
    """For each of `count` hypotheses, its n-grams that references have, each at most as often as in the one reference
    that has it most often."""
    grams, most = _most(references)
    place = np.searchsorted(grams, hypotheses.gram).clip(max=max(0, len(grams) - 1))
    known = len(grams) > 0
    limit = np.where(grams[place] == hypotheses.gram, most[place], 0) if known else np.zeros_like(hypotheses.times)
    return _summed(hypotheses.sentence, np.minimum(hypotheses.times, limit), count)


def clip_counts_by_others(sentences: Counts, count: int) -> Ints:
    """The same of each sentence against all the others: by the second most often, where it is itself the first."""
    starts = np.flatnonzero(np.diff(sentences.gram, prepend=-1))
    sizes = np.diff(starts, append=len(sentences.gram))
    order = np.lexsort((-sentences.times, sentences.gram))
    times = sentences.times[order]
    first = np.repeat(times[starts], sizes)
    second = np.repeat(np.where(sizes > 1, times[np.minimum(starts + 1, max(0, len(times) - 1))], 0), sizes)
    owner = np.repeat(sentences.sentence[order][starts], sizes)
    limit = np.where(sentences.sentence == owner, second, first)
    return _summed(sentences.sentence, np.minimum(sentences.times, limit), count)


def bleu(matches: Sequence[Ints], lengths: Ints, closest: Ints) -> dict[int, Floats]:
    """BLEU-2 and higher of each sentence with uniform weights (Papineni et al. 2002), where an n-gram precision of 0
    counts as 0.1 of one n-gram (Chen and Cherry 2014, method 1); 0 where not even a word is known.

    Args:
        matches: for n = 1, 2, ..., the n-grams of each sentence that references have.
        lengths: of each sentence.
        closest: length of the reference that is nearest in length to each, the shorter of two.
    """
    logs = []
    for n, hit in enumerate(matches, 1):
        there = np.maximum(1, lengths - n + 1)
        logs.append(np.log(np.where(hit > 0, hit, EPSILON) / there))
    with np.errstate(divide="ignore"):
        brevity = np.where(lengths >= closest, 0.0, 1 - closest / np.maximum(lengths, 1e-9))
    means = np.cumsum(logs, 0)
    known = (matches[0] > 0) & (lengths > 0)
    return {n: np.where(known, np.exp(brevity + means[n - 1] / n), 0.0) for n in range(2, len(matches) + 1)}


def closest_lengths(lengths: Ints, references: Ints) -> Ints:
    """For each length the nearest of the reference lengths, the shorter of two."""
    there = np.unique(references)
    after = np.searchsorted(there, lengths).clip(max=len(there) - 1)
    before = (after - 1).clip(min=0)
    nearer = np.abs(there[before] - lengths) <= np.abs(there[after] - lengths)
    found: Ints = np.where(nearer, there[before], there[after])
    return found


def closest_among_others(lengths: Ints) -> Ints:
    """For each sentence the length of another one that is nearest to its own, the shorter of two."""
    values, counts = np.unique(lengths, return_counts=True)
    by_length = {}
    for place, value in enumerate(values):
        others = values if counts[place] > 1 else np.delete(values, place)
        by_length[value] = closest_lengths(np.asarray([value]), others)[0] if len(others) else value
    return np.asarray([by_length[value] for value in lengths], np.int64)


def _most(counts: Counts) -> tuple[Ints, Ints]:
    """Each n-gram once, and how often the sentence that has it most often has it."""
    starts = np.flatnonzero(np.diff(counts.gram, prepend=-1))
    return counts.gram[starts], np.maximum.reduceat(counts.times, starts) if len(starts) else counts.times


def _summed(sentence: Ints, values: Ints, count: int) -> Ints:
    return np.bincount(sentence, values, count).astype(np.int64)


def _from(sets: Sequence[TokenSentences]) -> list[tuple[TokenSentences, int]]:
    """Each set with the number of its first sentence among all."""
    starts = np.cumsum([0, *(len(one) for one in sets)])
    return list(zip(sets, starts.tolist(), strict=False))
