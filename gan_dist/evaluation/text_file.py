"""A file of sentences as samples, or as what samples are compared with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gan_dist.data.codec import SPECIAL, Codec, Splitting
from gan_dist.data.facts import TextFacts
from gan_dist.data.ingest import Memory
from gan_dist.data.text.corpus import SUFFIXES
from gan_dist.data.text.held_out import held_out_texts
from gan_dist.data.text.sentences import TextReadOptions
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.evaluation.inputs import EvaluationSamples
from gan_dist.metrics.features.fit import SEED
from gan_dist.runs.storage import Folder


@dataclass(frozen=True)
class SentenceFile:
    """What a file holds, by the ids of a codec that knows all its words.

    Attributes:
        rows: token ids [N, T].
        codec: the one that was given, and further words after its own.
        warnings: what became of sentences that are too long or empty.
    """

    where: str
    rows: NDArray[np.int64]
    codec: Codec
    warnings: tuple[str, ...]


def is_text_file(where: str) -> bool:
    """Whether it is a file of sentences by its name."""
    return Path(where).is_file() and where.lower().endswith(SUFFIXES)


def read_sentence_file(where: str, codec: Codec) -> SentenceFile:
    """A file's sentences, cut into tokens as a codec cuts them.

    Raises:
        DataError: it cannot be read, or holds no sentence.
    """
    texts = _texts(where)
    cut = [codec.splitting.split(text) for text in texts]
    if codec.eos is not None:  # an oracle knows no other tokens than its own
        new = dict.fromkeys(token for tokens in cut for token in tokens if token not in codec.ids)
        codec = replace(codec, vocabulary=(*codec.vocabulary, *new))
    too_long = sum(len(tokens) > codec.length for tokens in cut)
    encoded, rows = replace(codec, cut=True), []
    for text, tokens in zip(texts, cut, strict=True):
        try:
            rows += [encoded.encode(text)] if tokens else []
        except UnreadableSample as error:
            raise DataError(f"{where!r}: {text!r} is no sentence of the oracle: {error}") from error
    if not rows:
        raise DataError(f"{where!r} holds no sentence")
    told = [f"{too_long:,} of {len(cut):,} sentences of {where} are longer than {codec.length} tokens: they are cut"]
    return SentenceFile(where, np.stack(rows).astype(np.int64), codec, tuple(told if too_long else ()))


def codec_for(files: Sequence[str], tokens: str, lower: bool) -> Codec:
    """A codec of no words yet, for sentences as long as the longest of some files. Raises DataError."""
    codec = Codec(1, Splitting(tokens, lower), SPECIAL)
    longest = max(len(codec.splitting.split(text)) for file in files for text in _texts(file))
    return replace(codec, length=max(longest, 1))


def file_samples(found: SentenceFile, facts: TextFacts, cache: Folder) -> EvaluationSamples:
    """The sentences of a file in place of generated ones, in an order of chance.

    Args:
        found: the sentences.
        facts: of what they are compared with.
        cache: where what is found of that is kept.
    """
    shuffled = found.rows[np.random.RandomState(SEED).permutation(len(found.rows))]

    def draw(part: range) -> torch.Tensor:
        return torch.from_numpy(shuffled[part.start : part.stop])

    return EvaluationSamples(found.where, replace(facts, codec=found.codec), draw, cache, most=len(shuffled))


def file_as_data(found: SentenceFile) -> Memory:
    """The sentences of a file in place of a run's data: as training text, and as held-out text."""
    # Two files may differ in nothing but words that their codecs number alike.
    words = json.dumps(found.codec.vocabulary).encode()
    checksum = hashlib.blake2b(words + found.rows.tobytes(), digest_size=16).hexdigest()
    held = {"where": str(Path(found.where).absolute()), "encoding": "utf-8", "columns": []}
    facts = TextFacts(count=len(found.rows), checksum=checksum, codec=found.codec, test=held, validation=held)
    return Memory([found.rows], np.zeros(len(found.rows), np.int64), facts, 0, 1)


def _texts(where: str) -> Sequence[str]:
    return held_out_texts(str(Path(where).absolute()), TextReadOptions())
