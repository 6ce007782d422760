"""BLEU against held-out sentences, and Self-BLEU among what was generated, by the protocol of Texygen (Zhu et al. 2018,
arXiv 1802.01886)."""

from __future__ import annotations

from torch import Tensor

from gan_dist.metrics.text.ngrams import (
    TokenSentences,
    bleu,
    clip_counts,
    clip_counts_by_others,
    closest_among_others,
    closest_lengths,
    count_ngrams,
    ngram_codes,
)
from gan_dist.metrics.text.references import HasEos, HeldOutReferences, drop_unknown, strip_padding

ORDER = 5


class Bleu:
    """Sentence BLEU-2 to BLEU-5 against all sentences of held-out text at once, meant over all generated ones.

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
