"""Which sentences of a text are kept from training, by what they say: equal ones stay together, wherever they stand.

Sentences are put in the order of a checksum of their tokens, which is chance but the same each time. The first ones are
for the test, the next ones for validation, the rest is learnt from.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gan_dist.errors import DataError

TRAIN = "train"


@dataclass(frozen=True)
class Split:
    """`bounds`: for what is kept, in order, the first checksum that is no longer."""

    bounds: Mapping[str, int]

    def side(self, tokens: Sequence[str]) -> str:
        """What a sentence is for: a key of `bounds`, or "train"."""
        if not self.bounds:
            return TRAIN
        place = _checksum(tokens)
        return next((key for key, bound in self.bounds.items() if place < bound), TRAIN)


def split_of(sentences: Iterable[Sequence[str]], shares: Mapping[str, float]) -> Split:
    """The split that keeps these shares of the different sentences, at least one for each.

    Raises:
        DataError: nothing would be left to learn from.
    """
    if not shares:
        return Split({})
    known = np.unique(np.fromiter(map(_checksum, sentences), np.uint64))
    ends = np.cumsum([math.ceil(share * len(known)) for share in shares.values()])
    if ends[-1] >= len(known):
        asked = " and ".join(f"data.{key}: {share:g}" for key, share in shares.items())
        raise DataError(f"{asked}: {len(known)} different sentences leave none to learn from; name a file instead")
    return Split({key: int(known[end]) for key, end in zip(shares, ends, strict=True)})


def _checksum(tokens: Sequence[str]) -> int:
    written = "\x1f".join(tokens).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(written, digest_size=8).digest(), "big")
