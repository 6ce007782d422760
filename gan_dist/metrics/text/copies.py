"""Passages that generated sentences take from the training text word for word, and where these stand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from gan_dist.metrics.text.bleu import ngram_codes
from gan_dist.metrics.text.references import HasEos, Ints, TokenSentences, strip_padding

LOOKED_AT = 16


class CopiedPassage(NamedTuple):
    """A passage of `length` tokens from token `begins` on of a generated sentence, which stands in a training sentence
    from token `stands` on; both sentences by their numbers. It is as long as it can be."""

    sentence: int
    begins: int
    length: int
    source: int
    stands: int


class Copied:
    """How much of generated sentences stands in the training text word for word, by passages of n tokens.

    copied_ngrams: share of their n-grams that do. copied_sentences: share of sentences with such an n-gram; shorter
    sentences have none. `gan-dist evaluate RUN --copies FILE` lists the passages (as McCoy et al. 2021, arXiv
    2111.09509, look for them).

    Args:
        codec: of the data, which says where sentences end.
        n: tokens of a passage.
    """

    values = ("copied_ngrams", "copied_sentences")
    needs = "all"
    features = "tokens"

    def __init__(self, *, codec: HasEos, n: int = 8) -> None:
        if n < 1:
            raise ValueError(f"n must be at least 1, not {n}")
        self.eos, self.n = codec.eos, n

    def compare(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        known, made = (strip_padding(rows, self.eos) for rows in (real, fake))
        (sentence, grams), (_, there) = ngram_codes([made, known], self.n)
        copied = np.isin(grams, there)
        return {
            "copied_ngrams": float(copied.mean()) if len(copied) else 0.0,
            "copied_sentences": len(np.unique(sentence[copied])) / max(1, len(made)),
        }


def find_copies(made: TokenSentences, known: TokenSentences, n: int) -> list[CopiedPassage]:
    """Every passage of n tokens or more that stands in `known`, once each: the longest one that begins with its first n
    tokens, among the first 16 places where these stand."""
    (sentence, grams), (source, there) = ngram_codes([made, known], n)
    wanted = set(grams.tolist())
    places: dict[int, list[tuple[int, int]]] = {}
    for gram, which, place in zip(there.tolist(), source.tolist(), _places(source).tolist(), strict=True):
        if gram in wanted and len(at := places.setdefault(gram, [])) < LOOKED_AT:
            at.append((which, place))
    found: list[CopiedPassage] = []
    ours, theirs = (np.split(text.tokens, text.ends[:-1]) for text in (made, known))
    for which, place, gram in zip(sentence.tolist(), _places(sentence).tolist(), grams.tolist(), strict=True):
        if gram not in places or (found and found[-1].sentence == which and place + n <= _end(found[-1])):
            continue
        passages = [
            CopiedPassage(which, place, _shared(ours[which][place:], theirs[origin][stands:]), origin, stands)
            for origin, stands in places[gram]
        ]
        found.append(max(passages, key=lambda one: one.length))
    return found


def _shared(one: Ints, other: Ints) -> int:
    """How many tokens two sequences begin with in common."""
    most = min(len(one), len(other))
    apart = np.flatnonzero(one[:most] != other[:most])
    return int(apart[0]) if len(apart) else most


def _end(passage: CopiedPassage) -> int:
    return passage.begins + passage.length


def _places(sentence: Ints) -> Ints:
    """Of n-grams in order, the place of each in its sentence."""
    starts = np.flatnonzero(np.diff(sentence, prepend=-1))
    counts = np.diff(starts, append=len(sentence))
    places: Ints = np.arange(len(sentence)) - np.repeat(starts, counts)
    return places
