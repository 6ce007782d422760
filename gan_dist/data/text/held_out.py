"""Sentences that a text keeps from training: which they are, where they are kept, and how they are read back."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.codec import SPECIAL, Codec
from gan_dist.data.downloads import resolve_download
from gan_dist.data.prompts import PROMPT_END, PromptForm
from gan_dist.data.source import explain_unreachable
from gan_dist.data.tables import column_named
from gan_dist.data.text.file_formats import TextReadOptions, first_records, iterate_sentences
from gan_dist.errors import DataError, StorageError, UnreadableSample
from gan_dist.runs.storage import Folder, locate
from gan_dist.spec.data import TextData
from gan_dist.spec.fields import Held

MOST_BROKEN = 0.01
OF_PROMPT = "prompt"  # column of a file of held-out texts


class HeldOutText:
    """Sentences, cut into tokens as the data are. What they are for, and `where` they come from, is for messages."""

    def __init__(self, held: Held, where: str, codec: Codec, texts: Sequence[str]) -> None:
        self.held, self.where, self.codec, self.texts = held, where, codec, texts

    @classmethod
    def of(cls, held: Held, described: Mapping[str, Any], codec: Codec) -> HeldOutText:
        """Those of a file, as `TextFacts.test` and `validation` describe one.

        Raises:
            DataError: it is not there, holds nothing, or more than 1 % of it cannot be read.
        """
        how = TextReadOptions(described["encoding"], tuple(described["columns"]), prompt=described.get("prompt"))
        check_held_out_exists(held, described["where"])
        return cls(held, described["where"], codec, held_out_texts(described["where"], how, f"data.{held}: "))

    @classmethod
    def stand_in(cls, held: Held, described: Mapping[str, Any], codec: Codec) -> HeldOutText:
        """Some of known words, for a rehearsal where the data are not at hand."""
        words = codec.vocabulary[len(SPECIAL) :][: codec.length]
        texts = [codec.splitting.join(words[:count]) for count in range(1, len(words) + 1)]
        if codec.prompt is not None:
            texts = [f"{words[0]}{PROMPT_END}{text}" for text in texts]
            codec = replace(codec, prompt=PromptForm(codec.prompt_length))
        return cls(held, described["where"], codec, texts)

    def numbers(self) -> list[list[int]]:
        """Every sentence as numbers; words that the vocabulary has not get numbers of their own."""
        ids, rows = dict(self.codec.ids), []
        for text in self.written:
            rows.append([ids.setdefault(word, len(ids) + 4) for word in self.codec.splitting.split(text)])
        return rows

    @property
    def written(self) -> list[str]:
        """What is to be written: the texts, or what follows their prompts."""
        return list(self.texts) if self.codec.prompt is None else [rest for _, rest in self.pairs]

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Prompts and what follows them; texts without either are left out.

        Raises:
            DataError: all are.
        """
        assert self.codec.prompt is not None, "without prompts nothing follows them"
        found = []
        for text in self.texts:
            try:
                found.append(self.codec.prompt.parts(text))
            except UnreadableSample:
                continue
        if not found:
            raise DataError(f"data.{self.held}: no text of {self.where!r} has a prompt and something after it")
        return found

    def rows(self) -> NDArray[np.int64]:
        """Token ids [N, T]; sentences that are too long are left out.

        Raises:
            DataError: all are.
        """
        return self._encoded[:, self.codec.prompt_length :]

    def prompts(self) -> NDArray[np.int64] | None:
        """Token ids [N, P] of the prompts of `rows`; None where there are no prompts."""
        return None if self.codec.prompt is None else self._encoded[:, : self.codec.prompt_length]

    def by_prompt(self) -> list[tuple[NDArray[np.int64], list[list[int]], list[str]]]:
        """Every prompt once: its ids [P], and all that follows it, as numbers and as texts.

        Raises:
            DataError: no prompt has at most as many tokens as the data's.
        """
        found: dict[str, tuple[NDArray[np.int64], list[list[int]], list[str]]] = {}
        for (prompt, rest), numbers in zip(self.pairs, self.numbers(), strict=True):
            try:
                ids = self.codec.encode_prompt(prompt).astype(np.int64)
            except UnreadableSample:
                continue
            _, followed, texts = found.setdefault(prompt, (ids, [], []))
            followed.append(numbers)
            texts.append(rest)
        if not found:
            raise DataError(
                f"data.{self.held}: no prompt of {self.where!r} has at most {self.codec.prompt_length} tokens"
            )
        return list(found.values())

    @cached_property
    def _encoded(self) -> NDArray[np.int64]:
        rows = []
        for text in self.texts:
            try:
                rows.append(self.codec.encode(text))
            except UnreadableSample:
                continue
        if not rows:
            raise DataError(f"data.{self.held}: no sentence of {self.where!r} has at most {self.codec.length} tokens")
        return np.stack(rows).astype(np.int64)


def describe_held_out(
    data: TextData, held: Held, *, folder: Folder, written: float | None, stand_in: bool
) -> dict[str, Any] | None:
    """Where the sentences are that a job keeps from training, and how they are read; None where it keeps none.

    Args:
        data: the job's.
        held: which of them.
        folder: the prepared data.
        written: the share of them that is beside the data, as `write_held_out` writes; None for none.
        stand_in: whether the data only stand for others.

    Raises:
        DataError: another share is wanted than the data were prepared with.
    """
    asked: str | float | None = getattr(data, held)
    if isinstance(asked, str):
        described = {"where": asked, "encoding": data.encoding, "columns": list(data.columns)}
        return described | ({} if data.prompt_column is None else {"prompt": data.prompt_column})
    if asked is not None and not stand_in and asked != (written or 0.0):
        how = "without" if written is None else f"with {written:g}"
        raise DataError(
            f"data.{held}: {asked:g}, but {data.source!r} was prepared {how}; name a file, or prepare it anew with "
            f"-o {held}={asked:g}"
        )
    if written or (stand_in and held in data.shares):
        described = {"where": f"{folder.uri}/{held}.jsonl", "encoding": "utf-8", "columns": []}
        return described | ({} if data.prompt_column is None else {"prompt": OF_PROMPT})
    return None


def write_held_out(folder: Folder, texts: Mapping[str, Sequence[str]]) -> None:
    """A file of sentences for each thing they are kept for; a sentence on a line, or its prompt and itself."""
    for held, those in texts.items():
        folder.write(f"{held}.jsonl", "".join(f"{json.dumps(_record(text))}\n" for text in those).encode())


def _record(text: str) -> str | dict[str, str]:
    prompt, end, rest = text.partition(PROMPT_END)
    return {OF_PROMPT: prompt, "text": rest} if end else text


def check_held_out_exists(held: Held, where: str) -> None:
    """Whether a file of sentences is there; it is not read.

    Raises:
        DataError: it is not, or is a folder.
    """
    try:
        root, name = locate(resolve_download(where, f"data.{held}"))
        if name is None:
            raise DataError(f"data.{held}: {where!r} is a folder; name a file of sentences")
        root.entry(name)
    except (OSError, StorageError) as error:
        raise DataError(f"data.{held}: {where!r} cannot be read: {error}") from error


def held_out_texts(where: str, how: TextReadOptions, asked: str = "") -> list[str]:
    """The sentences of a file.

    Args:
        asked: what messages begin with: who named the file.

    Raises:
        DataError: it holds none, or more than 1 % of it cannot be read.
    """
    root, name = locate(resolve_download(where, asked.removesuffix(": ") or "sentences"))
    assert name is not None
    try:
        read = [one.content for one in iterate_sentences(root, name, how)]
    except (OSError, StorageError) as error:
        raise DataError(f"{asked}{where!r} cannot be read: {error}") from error
    if not read:
        raise DataError(f"{asked}{where!r} holds no sentence")
    found = [text for text in read if isinstance(text, str)]
    if not found or len(read) - len(found) > MOST_BROKEN * len(read):
        first = next((f" (first: {text})" for text in read if isinstance(text, UnreadableSample)), "")
        raise DataError(f"{asked}{len(read) - len(found)} of {len(read)} sentences in {where!r} cannot be read{first}")
    return found


PROMPT_COLUMNS = ("prompt", "question", "setup")


def read_prompts(where: str, asked: str) -> list[str]:
    """The prompts of a file: a line each, or the column of a table that is named so, or its only text.

    Args:
        asked: what messages begin with: who named the file.

    Raises:
        DataError: it is not there, or holds none, or more than 1 % of it cannot be read.
    """
    with explain_unreachable(where, asked.removesuffix(": ")):
        root, name = locate(where)
        if name is None:
            raise DataError(f"{asked}{where!r} is a folder; name a file of prompts")
        first = first_records(root, name, TextReadOptions(), 1)
    there = list(first[0]) if first else []
    column = column_named(there, PROMPT_COLUMNS)
    if column is None and len(there) > 1:
        raise DataError(
            f"{asked}none of the columns of {where!r} ({', '.join(there)}) is called {', '.join(PROMPT_COLUMNS[:-1])} "
            f"or {PROMPT_COLUMNS[-1]}"
        )
    return held_out_texts(where, TextReadOptions(columns=() if column is None else (column,)), asked)


TRAIN = "train"


@dataclass(frozen=True)
class Split:
    """Which sentences of a text are kept from training, by what they say: equal ones stay together, wherever they
    stand. Sentences are put in the order of a checksum of their tokens, which is chance but the same each time. The
    first ones are for the test, the next ones for validation, the rest is learnt from.

    `bounds`: for what is kept, in order, the first checksum that is no longer.
    """

    bounds: Mapping[str, int]

    def side(self, tokens: Sequence[str]) -> str:
        """What a sentence is for: a key of `bounds`, or "train"."""
        if not self.bounds:
            return TRAIN
        place = checksum(tokens)
        return next((key for key, bound in self.bounds.items() if place < bound), TRAIN)


def split_of(sentences: Iterable[Sequence[str]], shares: Mapping[str, float]) -> Split:
    """The split that keeps these shares of the different sentences, at least one for each.

    Raises:
        DataError: nothing would be left to learn from.
    """
    if not shares:
        return Split({})
    known = np.unique(np.fromiter(map(checksum, sentences), np.uint64))
    ends = np.cumsum([math.ceil(share * len(known)) for share in shares.values()])
    if ends[-1] >= len(known):
        asked = " and ".join(f"data.{key}: {share:g}" for key, share in shares.items())
        raise DataError(f"{asked}: {len(known)} different sentences leave none to learn from; name a file instead")
    return Split({key: int(known[end]) for key, end in zip(shares, ends, strict=True)})


def checksum(tokens: Sequence[str]) -> int:
    """64 bits of tokens, which are chance but the same each time."""
    written = "\x1f".join(tokens).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(written, digest_size=8).digest(), "big")
