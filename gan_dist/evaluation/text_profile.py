"""How long sentences are and how fast new tokens come, as curves of generated and real sentences beside each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gan_dist.data.facts import TextFacts
from gan_dist.data.ingest import Ingest
from gan_dist.evaluation.inputs import EvaluationSamples
from gan_dist.evaluation.overlap import drawn_sentences
from gan_dist.metrics.features.classifiers import SEED
from gan_dist.metrics.text.profile import spaced_counts, type_curve
from gan_dist.metrics.text.references import strip_padding

Curve = tuple[list[float], list[float]]


class TextProfile(NamedTuple):
    """What the metric `profile` has in numbers, as x and y of a curve by `samples` and `real`.

    Attributes:
        lengths: the share of sentences of each number of tokens.
        types: how many different tokens there are among the first tokens, to the end of the shorter text.
    """

    lengths: dict[str, Curve]
    types: dict[str, Curve]


def profile_texts(a: EvaluationSamples, b: Ingest, samples: int) -> TextProfile:
    """The curves of A's first samples, and of as many sentences of B, or of all where there are fewer."""
    facts = b.facts
    assert isinstance(facts, TextFacts)
    chosen = np.sort(np.random.RandomState(SEED).permutation(facts.count)[:samples])
    texts = {
        "samples": drawn_sentences(a, facts.codec.eos, samples),
        "real": strip_padding(b.rows(chosen)[0], facts.codec.eos),
    }
    longest = max(int(one.lengths.max(initial=0)) for one in texts.values())
    shares = {which: np.bincount(one.lengths, minlength=longest + 1) / len(one.lengths) for which, one in texts.items()}
    at = spaced_counts(min(len(one.tokens) for one in texts.values()))
    return TextProfile(
        lengths={which: (list(map(float, range(longest + 1))), one.tolist()) for which, one in shares.items()},
        types={
            which: (at.astype(float).tolist(), type_curve(one, at).astype(float).tolist())
            for which, one in texts.items()
        },
    )
