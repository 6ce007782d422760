"""How much of what was generated is said twice, or was read before."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from gan_dist.metrics.text.bleu import ngram_codes
from gan_dist.metrics.text.references import HasEos, TokenSentences, strip_padding


class Repetition:
    """Shares of generated sentences and n-grams, each in [0, 1].

    distinct2, distinct4: different n-grams among all n-grams (Li et al. 2016, arXiv 1510.03055).
    duplicates: sentences that another one before them says as well.
    copies: sentences that stand in the training data word for word.

    Args:
        codec: of the data, which says where sentences end.
    """

    values = ("distinct2", "distinct4", "duplicates", "copies")
    needs = "all"
    features = "tokens"

    def __init__(self, *, codec: HasEos) -> None:
        self.eos = codec.eos

    def compare(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        made = strip_padding(fake, self.eos)
        said = sentences(made)
        known = set(sentences(strip_padding(real, self.eos)))
        return {
            "distinct2": distinct_ngrams(made, 2),
            "distinct4": distinct_ngrams(made, 4),
            "duplicates": 1 - len(set(said)) / len(said),
            "copies": sum(one in known for one in said) / len(said),
        }


def distinct_ngrams(made: TokenSentences, n: int) -> float:
    """Different n-grams among all; 0 where no sentence has as many tokens."""
    ((_, grams),) = ngram_codes([made], n)
    return len(np.unique(grams)) / len(grams) if len(grams) else 0.0


def sentences(made: TokenSentences) -> list[bytes]:
    """Each sentence as something that can be compared at once."""
    return [part.tobytes() for part in np.split(made.tokens, made.ends[:-1])]
