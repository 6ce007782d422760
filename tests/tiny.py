"""Tiny networks of `transformers` with their tokenizers in a folder, as a person would have large ones."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_dist.data.codec import Codec, Splitting

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
END, UNKNOWN = "<|end|>", "<unk>"


def codec(words: tuple[str, ...], length: int = 5) -> Codec:
    return Codec(length, Splitting("blanks"), words)


def save_tokenizer(folder: Path, words: Sequence[str], **special: str) -> None:
    """A tokenizer of whole words; `special` are those that it knows to be so."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token=UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(folder)


def save_lm(folder: Path, words: Sequence[str], seed: int = 0, **config: Any) -> Path:
    """A GPT-2 of two layers whose ids are not ours: those of `<|end|>`, the words, `<unk>`."""
    own = [*words[:1], END, *words[1:], UNKNOWN]
    save_tokenizer(folder, own, unk_token=UNKNOWN, eos_token=END, bos_token=END)
    from transformers import GPT2Config, GPT2LMHeadModel

    shape: dict[str, Any] = {"n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2} | config
    ends = {"bos_token_id": own.index(END), "eos_token_id": own.index(END)}
    _saved(GPT2LMHeadModel(GPT2Config(vocab_size=len(own), **ends, **shape)), folder, seed)
    return folder


def save_encoder(folder: Path, words: Sequence[str], seed: int = 0, **config: Any) -> Path:
    """A BERT of two layers."""
    own = ["[PAD]", "[CLS]", "[SEP]", UNKNOWN, *words]
    save_tokenizer(folder, own, unk_token=UNKNOWN, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]")
    from transformers import BertConfig, BertModel

    shape: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"intermediate_size": 16, "max_position_embeddings": 16} | config
    _saved(BertModel(BertConfig(vocab_size=len(own), pad_token_id=0, **shape)), folder, seed)
    return folder


def _saved(network: Any, folder: Path, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=chance) * 0.4)
    network.save_pretrained(folder)


@lru_cache
def lm_of(words: tuple[str, ...]) -> Path:
    """A folder with one, for the life of this process."""
    kept = tempfile.TemporaryDirectory()
    _KEPT.append(kept)
    return save_lm(Path(kept.name), words)


@lru_cache
def encoder_of(words: tuple[str, ...]) -> Path:
    kept = tempfile.TemporaryDirectory()
    _KEPT.append(kept)
    return save_encoder(Path(kept.name), words)


_KEPT: list[Any] = []
