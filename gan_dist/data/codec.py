"""Text to token ids and back. Ids 0 to 3 are `<pad> <bos> <eos> <unk>`; a sentence shorter than `length` ends with
`<eos>` and is filled up with `<pad>`."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray

from gan_dist.data.prompts import PromptForm
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.spec.fields import BYTE_PAIRS

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNK = range(4)
NUMBERS = "numbers"
# The published protocols of COCO and EMNLP: words without what the Penn Treebank cuts off, and marks.
_CLITIC = r"['\u2019](?:s|re|ve|ll|d|m)\b"
_TREEBANK = re.compile(rf"\w+?(?=n['\u2019]t\b)|n['\u2019]t\b|{_CLITIC}|\w+(?:-\w+)*|[^\w\s]", re.IGNORECASE)
_CUT_OFF = re.compile(rf"n['\u2019]t|{_CLITIC}", re.IGNORECASE)
_CLOSING, _OPENING = frozenset(".,;:!?)]}%\u2026\u3002\uff0c\uff01\uff1f\uff1b\uff1a\u3001"), frozenset("([{")
_BLANKS = re.compile(r"[ \t\n\r\f\v]+")
# Unicode's word boundaries (UAX 29), which keep marks, joiners, elisions and decimals whole.
_BOUNDARY = regex.compile(r"(?V1w)\b")
GLUE = "\uffed"  # on the side of a token where no blank stands
_GLUE_WRITTEN = "\t"  # that sign where a text holds it itself; no token holds a tab
# Scripts that are written without blanks between words.
WITHOUT_BLANKS = regex.compile(
    r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Han}\p{Hiragana}\p{Katakana}\p{Tibetan}\p{Javanese}\p{Balinese}]"
)
_LETTER = regex.compile(r"\p{L}")


@dataclass(frozen=True)
class Splitting:
    """How text is cut into tokens.

    Attributes:
        way: words (by Unicode's word boundaries; punctuation on its own), blanks (what stands between blanks),
            characters, treebank (as published protocols cut English: n't and 's on their own), numbers (ids as they
            are, of an oracle), bpe (byte pairs trained on the data), or tokenizer (one of your own).
        lower: whether text becomes lower case first.
        tokenizer: content of a `tokenizers` JSON file; empty for the other ways, and of byte pairs until they are
            trained.
    """

    way: str
    lower: bool = False
    tokenizer: str = ""

    def split(self, text: str) -> list[str]:
        """The tokens of a text. `join` makes the same text of them again, where its blanks are single; but characters
        are in Unicode's composed form, `treebank` does not keep blanks, and a tokeniser has rules of its own."""
        text = text.lower() if self.lower else text
        if self.way == "words":
            return split_words(text)
        if self.way == "characters":
            return list(_BLANKS.sub(" ", unicodedata.normalize("NFC", text)))
        if self.way == "treebank":
            return _TREEBANK.findall(unicodedata.normalize("NFC", text))
        if self.tokenizer:
            return list(self._own.encode(text, add_special_tokens=False).tokens)
        return text.split()

    def join(self, tokens: Sequence[str]) -> str:
        """A text of these tokens, as people write it."""
        if self.way == "characters":
            return "".join(tokens)
        if self.way == BYTE_PAIRS:
            return _join_byte_pairs(tokens)
        if self.tokenizer:
            return str(self._own.decode([self._own.token_to_id(one) or 0 for one in tokens]))
        joined = {"words": join_words, "treebank": _join_treebank}.get(self.way, " ".join)
        return joined(tokens)

    def check(self, text: str) -> None:
        """Whether a text can be cut so.

        Raises:
            UnreadableSample: tokens are words, and most of its letters are of a script without blanks between them.
        """
        if self.way != "words" or text.isascii():
            return
        found = WITHOUT_BLANKS.findall(text)
        if 2 * len(found) > len(_LETTER.findall(text)):
            raise UnreadableSample(
                f"a script without blanks between words ({found[0]!r}): set data.tokens: characters, or bpe"
            )

    def known(self) -> list[str] | None:
        """The tokens there can be, where that is settled without looking at any text."""
        if not self.tokenizer:
            return None
        by_id = sorted(self._own.get_vocab().items(), key=lambda item: item[1])
        return [token for token, _ in by_id]

    @cached_property
    def _own(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise DataError("data.tokens: bpe and a tokeniser's file need: pip install 'gan-dist[text]'") from None
        try:
            return Tokenizer.from_str(self.tokenizer)
        except Exception as error:  # the library raises bare exceptions
            raise DataError(f"data.tokens: the file is no tokeniser of `tokenizers`: {error}") from error


@dataclass(frozen=True)
class Codec:
    """Sentences as rows of `length` ids; with prompts, those of the prompt stand before them, filled up on their left.

    Attributes:
        vocabulary: every token by its id.
        cut: whether longer sentences lose their end, and longer prompts their beginning, instead of being refused.
        prompt: how a text is divided into a prompt and what follows it; None where there are no prompts.
    """

    length: int
    splitting: Splitting
    vocabulary: tuple[str, ...]
    cut: bool = False
    prompt: PromptForm | None = None

    @classmethod
    def of(cls, record: dict[str, Any]) -> Codec:
        """From `dataclasses.asdict` by way of JSON."""
        splitting, words = Splitting(**record["splitting"]), tuple(record["vocabulary"])
        prompt = record.get("prompt") and PromptForm(**record["prompt"])
        return cls(**record | {"splitting": splitting, "vocabulary": words, "prompt": prompt})

    @property
    def prompt_length(self) -> int:
        """Places of a row that are a prompt's; 0 where there are no prompts."""
        return 0 if self.prompt is None else self.prompt.length

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a stored row."""
        return (self.prompt_length + self.length,)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int16 if len(self.vocabulary) < 2**15 else np.int32)

    @property
    def bos(self) -> int:
        """What stands before the first token; an oracle starts from its token 0 (Yu et al. 2017)."""
        return 0 if self.splitting.way == NUMBERS else BOS

    @property
    def eos(self) -> int | None:
        """What ends a sentence; an oracle's all have the full length."""
        return None if self.splitting.way == NUMBERS else EOS

    @property
    def unknown(self) -> int | None:
        """What stands for a token that the vocabulary lacks; an oracle's has all."""
        return None if self.splitting.way == NUMBERS else UNK

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token to id; the special ones but `<unk>` cannot be written."""
        return {token: number for number, token in enumerate(self.vocabulary) if number >= UNK or self.eos is None}

    def encode(self, text: str) -> NDArray[Any]:
        """The ids of a text, filled up, [length]; after those of its prompt where there is one, [prompt + length].

        Raises:
            UnreadableSample: it cannot be cut, holds no token, or more than `length`; or its prompt does.
        """
        if self.prompt is None:
            return self.encode_sentence(text)
        prompt, rest = self.prompt.parts(text)
        return np.concatenate([self.encode_prompt(prompt), self.encode_sentence(rest)])

    def encode_prompt(self, text: str) -> NDArray[Any]:
        """The ids of a prompt, filled up on their left, [prompt].

        Raises:
            UnreadableSample: it cannot be cut, holds no token, or more than there may be.
        """
        self.splitting.check(text)
        ids = [self.ids.get(token, UNK) for token in self.splitting.split(text)]
        most = self.prompt_length
        if not ids:
            raise UnreadableSample("no token in its prompt")
        if len(ids) > most and not self.cut:
            raise UnreadableSample(f"{len(ids)} tokens in its prompt, more than data.prompt_length: {most}")
        row = np.full(most, PAD, self.dtype)
        row[most - min(most, len(ids)) :] = ids[-most:]
        return row

    def encode_sentence(self, text: str) -> NDArray[Any]:
        """The ids of a text that has no prompt, filled up, [length].

        Raises:
            UnreadableSample: it cannot be cut, holds no token, or more than `length`.
        """
        self.splitting.check(text)
        tokens = self.splitting.split(text)
        if self.eos is None and (strange := [token for token in tokens if token not in self.ids]):
            raise UnreadableSample(f"{strange[0]!r} is no token of the oracle")
        return self.row([self.ids.get(token, UNK) for token in tokens])

    def row(self, ids: Sequence[int] | NDArray[Any]) -> NDArray[Any]:
        """Ids with the end marked, and filled up. Raises Unreadable."""
        if len(ids) == 0:
            raise UnreadableSample("no token in it")
        if len(ids) > self.length and not self.cut:
            raise UnreadableSample(f"{len(ids)} tokens, more than data.length: {self.length}")
        row = np.full(self.length, PAD, self.dtype)
        row[: len(ids)] = ids[: self.length]
        if len(ids) < self.length:
            if self.eos is None:
                raise UnreadableSample(f"{len(ids)} tokens where all have {self.length}")
            row[len(ids)] = self.eos
        return row

    def sentence(self, row: Iterable[int]) -> list[str]:
        """The tokens of a row up to its end."""
        found = []
        for number in row:
            if number == self.eos:
                break
            found.append(self.vocabulary[number])
        return found

    def text(self, row: Iterable[int]) -> str:
        """A row as people write it."""
        return self.splitting.join(self.sentence(row))

    def prompt_text(self, row: Iterable[int]) -> str:
        """A prompt's row as people write it."""
        return self.splitting.join([self.vocabulary[number] for number in row if number != PAD])


def build_vocabulary(counts: Counter[str], min_count: int, most: int | None) -> tuple[str, ...]:
    """The special tokens, then the others by how often they come, and by the alphabet among equals.

    Args:
        counts: how often each token comes.
        min_count: rarer ones are left out.
        most: tokens in all; None for no limit.

    Raises:
        DataError: fewer than two tokens are left.
    """
    frequent = [(token, n) for token, n in counts.items() if n >= min_count and token not in SPECIAL]
    known = [token for token, _ in sorted(frequent, key=lambda item: (-item[1], item[0]))]
    known = known if most is None else known[: most - len(SPECIAL)]
    if len(known) < 2:
        raise DataError(
            f"data: a vocabulary of {len(known)} tokens is nothing to learn from ({len(counts)} different ones were "
            f"read; data.min_count: {min_count}, data.vocabulary: {most or 'all'})"
        )
    return (*SPECIAL, *known)


def split_words(text: str) -> list[str]:
    """A text as words and marks, so that `join_words` gives it back. Between tokens stands a blank, but where one of
    them says that there is none: a mark rather than the word beside it, so that words stay what they are.

    Example:
        >>> split_words("L'eau, 3.50!")
        ["L'eau", '￭,', '3.50', '￭!']
    """
    tokens: list[str] = []
    if not text:
        return tokens
    for part in _BLANKS.sub(" ", text).split(" "):
        pieces = [piece for piece in _BOUNDARY.split(part) if piece] or [""]
        words = [any(char.isalnum() for char in piece) for piece in pieces]
        for at, piece in enumerate(pieces):
            left = at > 0 and (not words[at] or words[at - 1])
            right = at + 1 < len(pieces) and not words[at] and words[at + 1]
            written = piece.replace(GLUE, _GLUE_WRITTEN)
            tokens.append(f"{GLUE if left else ''}{written}{GLUE if right else ''}")
    return tokens


def join_words(tokens: Sequence[str]) -> str:
    """The text of words and marks."""
    text, glued = "", True
    for token in tokens:
        blank = "" if glued or token.startswith(GLUE) else " "
        glued = len(token) > 1 and token.endswith(GLUE)
        text += blank + token.strip(GLUE).replace(_GLUE_WRITTEN, GLUE)
    return text


def _join_treebank(tokens: Sequence[str]) -> str:
    text, glued = "", True
    for token in tokens:
        text += token if glued or token in _CLOSING or _CUT_OFF.fullmatch(token) else f" {token}"
        glued = token in _OPENING
    return text


@cache
def _bytes_of_signs() -> dict[str, int]:
    """Which byte each sign of byte pairs stands for: printable ones for themselves, the others for what follows 255."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + at): byte for at, byte in enumerate(others)}


def _join_byte_pairs(tokens: Sequence[str]) -> str:
    """The text of byte pairs; what is no UTF-8, as a generator may write, becomes U+FFFD."""
    signs, text, known = _bytes_of_signs(), "", bytearray()
    for token in tokens:
        if token not in SPECIAL:
            known += bytes(signs[sign] for sign in token)
            continue
        text, known = text + known.decode(errors="replace") + token, bytearray()
    return text + known.decode(errors="replace")
