"""Text to ids and back."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_dist.data.codec import (
    EOS,
    PAD,
    SPECIAL,
    UNK,
    Codec,
    Splitting,
    build_vocabulary,
    join_words,
    split_words,
)
from gan_dist.errors import DataError, UnreadableSample

CODEC = Codec(4, Splitting("blanks"), (*SPECIAL, "a", "b"))


@pytest.mark.parametrize(
    ("way", "text", "tokens"),
    [
        ("treebank", "The king's men didn't go, no.", ["The", "king", "'s", "men", "did", "n't", "go", ",", "no", "."]),
        ("treebank", "a well-known U.S. 3rd [x]", ["a", "well-known", "U", ".", "S", ".", "3rd", "[", "x", "]"]),
        ("treebank", "can\u2019t  they\u2019re", ["ca", "n\u2019t", "they", "\u2019re"]),
        (
            "words",
            "The king's men didn't go, no.",
            ["The", "king's", "men", "didn't", "go", "\uffed,", "no", "\uffed."],
        ),
        ("words", 'a "well-known" 3.50 (x)', ["a", '"￭', "well", "￭-￭", "known", '￭"', "3.50", "(￭", "x", "￭)"]),
        ("blanks", "a  b.\tc ", ["a", "b.", "c"]),
        ("characters", "\u5e8a\u524d  a", ["\u5e8a", "\u524d", " ", "a"]),
        ("characters", "e\u0301", ["\u00e9"]),
    ],
)
def test_ways_to_split(way: str, text: str, tokens: list[str]) -> None:
    assert Splitting(way).split(text) == tokens


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("treebank", "The king's men didn't go, no: (really) \u2026"),
        ("blanks", "a b. c"),
        ("characters", "\u5e8a\u524d\u660e\u6708\u5149"),
    ],
)
def test_what_was_split_is_joined_again(way: str, text: str) -> None:
    splitting = Splitting(way)
    assert splitting.join(splitting.split(text)).replace(" \u2026", "\u2026") == text.replace(" \u2026", "\u2026")


def test_lower_case_comes_before_splitting() -> None:
    assert Splitting("treebank", lower=True).split("DON'T") == ["do", "n't"]


PROSE: dict[str, str] = json.loads((Path(__file__).parents[1] / "assets" / "prose_in_scripts.json").read_text())


@pytest.mark.parametrize("script", PROSE)
def test_words_are_joined_as_they_were_written(script: str) -> None:
    text = PROSE[script]
    tokens = split_words(text)
    assert join_words(tokens) == text
    assert not any(unicodedata.combining(token.strip("\uffed")[0]) for token in tokens)


@given(st.text().map(lambda text: re.sub(r"[ \t\n\r\f\v]+", " ", text)))
def test_any_text_of_single_blanks_is_joined_as_it_was_written(text: str) -> None:
    assert join_words(split_words(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22",
        "\u4eca\u65e5\u306f",
        "\u1797\u17b6\u179f\u17b6",
        "\u4f60\u597d a",
    ],
)
def test_scripts_without_blanks_are_no_words(text: str) -> None:
    with pytest.raises(UnreadableSample, match=r"a script without blanks .* data.tokens: characters"):
        Splitting("words").check(text)
    Splitting("characters").check(text)
    Splitting("words").check("he said \u4f60\u597d twice")


def test_the_vocabulary_is_ordered_by_frequency_then_alphabet() -> None:
    counts = Counter({"b": 2, "a": 2, "c": 3, "rare": 1, "<pad>": 9, "<eos>": 9})
    assert build_vocabulary(counts, 2, None) == (*SPECIAL, "c", "a", "b")
    assert build_vocabulary(counts, 1, 6) == (*SPECIAL, "c", "a")
    with pytest.raises(DataError, match="a vocabulary of 1 tokens is nothing to learn from"):
        build_vocabulary(Counter({"a": 3}), 1, None)


def test_rows_are_filled_up() -> None:
    assert CODEC.encode("a b").tolist() == [4, 5, EOS, PAD]
    assert CODEC.encode("a b a b").tolist() == [4, 5, 4, 5]
    assert CODEC.encode("a zebra <eos> <unk>").tolist() == [4, UNK, UNK, UNK]
    assert CODEC.text([4, 5, EOS, PAD]) == "a b" and CODEC.text([EOS, PAD]) == ""
    assert CODEC.dtype == np.int16 and Codec(4, Splitting("blanks"), ("x",) * 40_000).dtype == np.int32


@pytest.mark.parametrize(("text", "reason"), [("", "no token"), ("a a a a a", "5 tokens, more than data.length: 4")])
def test_what_cannot_be_a_row(text: str, reason: str) -> None:
    with pytest.raises(UnreadableSample, match=reason):
        CODEC.encode(text)


def test_long_sentences_may_be_cut() -> None:
    assert Codec(4, Splitting("blanks"), CODEC.vocabulary, cut=True).encode("a b a b a").tolist() == [4, 5, 4, 5]


def test_numbers_of_an_oracle_have_no_end() -> None:
    codec = Codec(3, Splitting("numbers"), ("0", "1", "2"))
    assert (codec.bos, codec.eos) == (0, None) and codec.row([2, 0, 1]).tolist() == [2, 0, 1]
    with pytest.raises(UnreadableSample, match="2 tokens where all have 3"):
        codec.row([1, 2])


@given(st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=4))
def test_known_sentences_come_back(words: list[str]) -> None:
    assert CODEC.text(CODEC.encode(" ".join(words))) == " ".join(words)


def test_a_codec_travels_as_json() -> None:
    codec = Codec(7, Splitting("words", lower=True), (*SPECIAL, "\u5e8a", "b"), cut=True)
    assert Codec.of(json.loads(json.dumps(asdict(codec)))) == codec


def test_a_tokeniser_of_ones_own() -> None:
    tokenizers: Any = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel({"hello": 0, "world": 1, "[UNK]": 2}, unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    splitting = Splitting("tokenizer", tokenizer=model.to_str())
    assert splitting.known() == ["hello", "world", "[UNK]"]
    assert splitting.split("hello moon") == ["hello", "[UNK]"]
    assert splitting.join(["hello", "world"]) == "hello world"
    with pytest.raises(DataError, match="no tokeniser of `tokenizers`"):
        Splitting("tokenizer", tokenizer="{}").known()
