"""Measures that need no grammar: how long sentences are, and how fast new tokens come, beside real ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gan_dist.metrics.text.references import HasEos, TokenSentences, strip_padding

POINTS = 32


class Profile:
    """Lengths and the type-token curve of generated sentences, beside as many real ones (Heaps 1978).

    length, length_real: mean tokens of a sentence. length_distance: mean difference between the sorted lengths of both
    (the Wasserstein-1 distance, in tokens); 0 where lengths spread alike. types, types_real: different tokens among the
    first tokens, as many as the smaller text has. type_token_distance: mean absolute difference of the logarithms of
    both curves, at 32 evenly spaced logarithms of the number of tokens read; 0.1 is a vocabulary 10 % off.

    Args:
        codec: of the data, which says where sentences end.
    """

    values = ("length", "length_real", "length_distance", "types", "types_real", "type_token_distance")
    needs = "rows"
    features = "tokens"

    def __init__(self, *, codec: HasEos) -> None:
        self.eos = codec.eos

    def compare(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        known, made = (strip_padding(rows, self.eos) for rows in (real, fake))
        at = spaced_counts(min(len(known.tokens), len(made.tokens)))
        curves = [type_curve(one, at) for one in (made, known)]
        return {
            "length": float(made.lengths.mean()),
            "length_real": float(known.lengths.mean()),
            "length_distance": length_distance(made.lengths, known.lengths),
            "types": float(curves[0][-1]),
            "types_real": float(curves[1][-1]),
            "type_token_distance": float(np.abs(np.log(curves[0].clip(1)) - np.log(curves[1].clip(1))).mean()),
        }


def spaced_counts(most: int) -> NDArray[np.int64]:
    """Numbers of tokens from 1 to `most` at which type-token curves are read, evenly spaced in their logarithm."""
    return np.unique(np.geomspace(1, max(1, most), POINTS).astype(np.int64))


def type_curve(text: TokenSentences, at: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many different tokens there are among the first `at` tokens of a text, for each of these numbers."""
    _, first = np.unique(text.tokens, return_index=True)
    found: NDArray[np.int64] = np.searchsorted(np.sort(first), at)
    return found


def length_distance(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """The Wasserstein-1 distance between two sets of lengths: the area between their cumulative shares."""
    places = np.arange(max(one.max(initial=0), other.max(initial=0)) + 1)
    shares = [np.searchsorted(np.sort(side), places, side="right") / max(1, len(side)) for side in (one, other)]
    return float(np.abs(shares[0] - shares[1]).sum())
