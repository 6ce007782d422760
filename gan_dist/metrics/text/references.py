"""What text metrics need to know of the references: their tokens, and which sentences are held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class HasEos(Protocol):
    """Of the data: which id ends a sentence, None where all are of full length."""

    @property
    def eos(self) -> int | None: ...


class HeldOutReferences(Protocol):
    """Sentences that nothing is learnt from: as numbers of any length, and as ids [N, T] with those of their prompts
    [N, P], None where there are none."""

    def numbers(self) -> list[list[int]]: ...
    def rows(self) -> NDArray[np.int64]: ...
    def prompts(self) -> NDArray[np.int64] | None: ...


class ScoresTokens(Protocol):
    """What drew the data: -log p of each token of sentences [N, T], [N, T]."""

    def nll(self, sentences: NDArray[Any]) -> NDArray[Any]: ...


def drop_unknown(held_out: HeldOutReferences | None, who: str) -> HeldOutReferences:
    """Held-out sentences, where a metric needs them. Raises ValueError where there are none."""
    if held_out is None:
        raise ValueError(
            f"'{who}' compares with sentences that were not learnt from, and there are none; name a file or a share of "
            "the data in data.test (a part of the rest is then for validation while training goes on), or in "
            "data.validation"
        )
    return held_out


def strip_padding(rows: Tensor, eos: int | None) -> TokenSentences:
    """Token ids [N, T] without what comes after their ends."""
    return TokenSentences.of([_until_end(row, eos) for row in rows.long().cpu().numpy()])


def _until_end(row: NDArray[np.int64], eos: int | None) -> NDArray[np.int64]:
    ends = np.flatnonzero(row == eos) if eos is not None else np.empty(0, np.int64)
    return row[: ends[0]] if len(ends) else row


class TokenSentences(NamedTuple):
    """Sentences of any length as one row of token numbers; sentence i is tokens[ends[i - 1] : ends[i]]."""

    tokens: Ints
    ends: Ints

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | NDArray[Any]]) -> TokenSentences:
        lengths = np.asarray([len(row) for row in rows], np.int64)
        tokens = [np.asarray(row, np.int64) for row in rows]
        return cls(np.concatenate([np.empty(0, np.int64), *tokens]), lengths.cumsum())

    @property
    def lengths(self) -> Ints:
        return np.diff(self.ends, prepend=0)

    def __len__(self) -> int:
        return len(self.ends)


Ints = NDArray[np.int64]
