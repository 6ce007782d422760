"""Byte pairs: trained alike each time, exact in both directions, and needing nothing outside the codec."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_dist.data.codec import SPECIAL, UNK, Codec, Splitting, _bytes_of_signs
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.facts import TextFacts
from gan_dist.data.prepare import prepare_or_load
from gan_dist.data.text.byte_pairs import train_byte_pairs
from gan_dist.data.text.corpus import find_text
from gan_dist.errors import DataError
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import TextData

pytest.importorskip("tokenizers", reason="tokenizers is not installed")

TEXTS = (
    "the cat sat on the mat, and the dog didn't",
    "\u5e8a\u524d\u660e\u6708\u5149",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e",
    "\u043f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440",
    "\u0645\u0631\u062d\u0628\u0627",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
) * 3
SCRIPTS = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("".join(TEXTS)),
        st.characters(codec="utf-8", min_codepoint=0x4E00, max_codepoint=0x9FFF),
        st.characters(codec="utf-8", min_codepoint=0x1F300, max_codepoint=0x1FAFF),
    ),
    max_size=60,
)


@cache
def trained() -> Splitting:
    return train_byte_pairs(TEXTS, 300)


def codec_of(splitting: Splitting) -> Codec:
    return Codec(256, splitting, (*SPECIAL, *(splitting.known() or ())))


@given(SCRIPTS)
def test_any_text_comes_back_exactly(text: str) -> None:
    splitting = trained()
    tokens = splitting.split(text)
    assert splitting.join(tokens) == text
    if tokens:
        codec = codec_of(splitting)
        row = codec.encode(text)
        assert not (row == UNK).any() and codec.text(row) == text


def test_signs_are_those_of_the_library() -> None:
    from tokenizers import pre_tokenizers

    signs = _bytes_of_signs()
    assert set(signs) == set(pre_tokenizers.ByteLevel.alphabet()) and sorted(signs.values()) == list(range(256))


def test_half_a_character_and_special_tokens_are_shown() -> None:
    first, *_ = trained().split("\U0001f600")
    assert trained().join([first, *trained().split("a")]) == "\ufffda"
    assert trained().join(["a", "<unk>", "b"]) == "a<unk>b"


def test_the_same_texts_give_the_same_tokens_in_any_order_and_process() -> None:
    shuffled = random.Random(1).sample(TEXTS, len(TEXTS))
    assert train_byte_pairs(shuffled, 300) == trained()
    code = (
        "import sys, json; from gan_dist.data.text.byte_pairs import train_byte_pairs; "
        "sys.stdout.write(json.dumps(train_byte_pairs(json.loads(sys.stdin.read()), 300).tokenizer))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(shuffled), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == trained().tokenizer


def test_a_larger_vocabulary_needs_fewer_tokens() -> None:
    small, large = trained(), train_byte_pairs(TEXTS, 320)
    assert (len(codec_of(small).vocabulary), len(codec_of(large).vocabulary)) == (300, 320)
    assert sum(len(large.split(text)) for text in TEXTS) < sum(len(small.split(text)) for text in TEXTS)
    assert train_byte_pairs(["AB ab"], 300, lower=True).split("AB") == train_byte_pairs(["ab ab"], 300).split("ab")


def test_what_cannot_be_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"^data.vocabulary: 200 is too small for data.tokens: bpe; 260 or more"):
        train_byte_pairs(TEXTS, 200)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"^data.tokens: bpe needs: pip install 'gan-dist\[text\]'$"):
        train_byte_pairs(TEXTS, 300)


def test_written_tokens_are_read_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = codec_of(trained())
    row = codec.encode(TEXTS[0])
    stored = Codec.of(json.loads(json.dumps(asdict(codec))))
    assert stored == codec
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert stored.text(row) == TEXTS[0]


def test_a_vocabulary_is_written_as_other_numbers_are() -> None:
    written = {"modality": "text", "source": "x.txt", "length": 40}
    for number, read in ((5000, 5000), ("4k", 4000), ("1.5k", 1500), (None, None)):
        assert TextData.model_validate({**written, "vocabulary": number}).vocabulary == read
    for wrong, message in (("4 epochs", "is no number of tokens"), (4.5, "is not a whole number"), (4, "greater than")):
        with pytest.raises(ValueError, match=message):
            TextData.model_validate({**written, "vocabulary": wrong})


def test_prepare_trains_on_what_is_learnt_from_alone(tmp_path: Path) -> None:
    lines = [f"sentence {at} of the zebra{at}" for at in range(300)]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    written = {"source": str(tmp_path / "lines.txt"), "length": 40, "tokens": "bpe", "vocabulary": "4k", "test": 0.2}
    data = TextData.model_validate({"modality": "text", **written})
    found = find_text(data).contents
    held = {*found.held_out["test"], *found.held_out["validation"]}
    assert len(found.held_out["test"]) == 60 and len(held) == 75
    assert isinstance(found.form, Codec)
    assert found.form.splitting == train_byte_pairs([line for line in lines if line not in held], 4000)
    assert found.form.splitting != train_byte_pairs(lines, 4000)
    assert [found.form.text(found.form.encode(line)) for line in lines] == lines
    ready = prepare_or_load(
        data, Folder.at(tmp_path / "ready"), executor=write_shards_on_processes, progress=lambda done, total: None
    )
    assert isinstance(ready.facts, TextFacts) and ready.facts.codec == found.form and ready.facts.count == 225
