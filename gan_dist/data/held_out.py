"""Sentences that a job keeps from its generator, for metrics to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.errors import DataError, Unreadable
from gan_dist.data.sentences import How
from gan_dist.data.text_files import sentences_of
from gan_dist.data.tokens import SPECIAL, Codec
from gan_dist.storage import StorageError, locate

MOST_BROKEN = 0.01


class HeldOut:
    """Sentences, cut into tokens as the data are. `where` they come from is for messages."""

    def __init__(self, where: str, codec: Codec, texts: Sequence[str]) -> None:
        self.where, self.codec, self.texts = where, codec, texts

    @classmethod
    def of(cls, test: Mapping[str, Any], codec: Codec) -> HeldOut:
        """Those of a file, as `TextFacts.test` describes it.

        Raises:
            DataError: it is not there, holds nothing, or more than 1 % of it cannot be read.
        """
        return cls(test["where"], codec, _texts(test["where"], How(test["encoding"], tuple(test["columns"]))))

    @classmethod
    def stand_in(cls, test: Mapping[str, Any], codec: Codec) -> HeldOut:
        """Some of known words, for a rehearsal where the data are not at hand."""
        words = codec.vocabulary[len(SPECIAL) :][: codec.length]
        return cls(test["where"], codec, [codec.splitting.join(words[:count]) for count in range(1, len(words) + 1)])

    def numbers(self) -> list[list[int]]:
        """Every sentence as numbers; words that the vocabulary has not get numbers of their own."""
        ids, rows = dict(self.codec.ids), []
        for text in self.texts:
            rows.append([ids.setdefault(word, len(ids) + 4) for word in self.codec.splitting.split(text)])
        return rows

    def rows(self) -> NDArray[np.int64]:
        """Token ids [N, T]; sentences that are too long are left out.

        Raises:
            DataError: all are.
        """
        rows = []
        for text in self.texts:
            try:
                rows.append(self.codec.encode(text))
            except Unreadable:
                continue
        if not rows:
            raise DataError(f"data.test: no sentence of {self.where!r} has at most {self.codec.length} tokens")
        return np.stack(rows).astype(np.int64)


def _texts(where: str, how: How) -> list[str]:
    try:
        root, name = locate(where)
        if name is None:
            raise DataError(f"data.test: {where!r} is a folder; name a file of sentences")
        read = [one.content for one in sentences_of(root, name, how)]
    except (OSError, StorageError) as error:
        raise DataError(f"data.test: {where!r} cannot be read: {error}") from error
    found = [text for text in read if isinstance(text, str)]
    if not found or len(read) - len(found) > MOST_BROKEN * len(read):
        first = next((f" (first: {text})" for text in read if isinstance(text, Unreadable)), "")
        raise DataError(
            f"data.test: {len(read) - len(found)} of {len(read)} sentences in {where!r} cannot be read{first}"
        )
    return found
