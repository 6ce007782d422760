"""Sentences that a job keeps from its generator, for metrics to compare with."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.errors import DataError, Unreadable
from gan_dist.data.sentences import How
from gan_dist.data.text_files import sentences_of
from gan_dist.data.tokens import Codec
from gan_dist.storage import StorageError, locate


class HeldOut:
    """The sentences of a file, cut into tokens as the data are.

    Raises:
        DataError: it is not there, or holds nothing.
    """

    def __init__(self, where: str, codec: Codec) -> None:
        self.where, self.codec = where, codec
        self.texts = _texts(where)

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


@lru_cache(maxsize=2)
def _texts(where: str) -> list[str]:
    try:
        root, name = locate(where)
        if name is None:
            raise DataError(f"data.test: {where!r} is a folder; name a file of sentences")
        found = [one.content for one in sentences_of(root, name, How()) if isinstance(one.content, str)]
    except (OSError, StorageError) as error:
        raise DataError(f"data.test: {where!r} cannot be read: {error}") from error
    if not found:
        raise DataError(f"data.test: {where!r} holds no sentence")
    return found
