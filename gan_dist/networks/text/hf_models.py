"""Pretrained networks of `transformers` from a local folder, and their ids of our tokens. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
OURS = 4  # the special tokens that our vocabularies begin with
SHOWN = 3


class CodecSizes(Protocol):
    """Of the data: every token by its id, and a row of ids as people write it."""

    @property
    def vocabulary(self) -> tuple[str, ...]: ...
    def text(self, row: Iterable[int]) -> str: ...


class LocalModel:
    """What a folder holds, as `save_pretrained` of a model and of its fast tokenizer write it.

    Args:
        folder: where it is.
        who: the component that wants it, for messages.

    Raises:
        ValueError: `transformers` is not installed, or the folder holds no pretrained model with a tokenizer.
    """

    def __init__(self, folder: str, who: str) -> None:
        self.path, self.who = Path(folder).expanduser(), who
        self.library = _library(who)
        for file in ("config.json", "tokenizer.json"):
            if not (self.path / file).is_file():
                raise ValueError(
                    f"folder: {folder!r} is no pretrained model for {who}: it holds no {file}; save_pretrained of a "
                    "model and of its fast tokenizer (transformers) write one"
                )
        if not any((self.path / file).is_file() for file in WEIGHTS):
            raise ValueError(f"folder: {folder!r} holds no weights for {who}; {WEIGHTS[0]} is wanted")
        try:
            self.config: Any = self.library.AutoConfig.from_pretrained(self.path, local_files_only=True)
            from tokenizers import Tokenizer

            self.tokenizer: Any = Tokenizer.from_file(str(self.path / "tokenizer.json"))
        except Exception as error:  # both libraries raise bare ones
            raise ValueError(f"folder: {folder!r} is no pretrained model for {who}: {error}") from error

    def encoder(self) -> Any:
        """The network up to its last hidden states, without the layer that pools them, differentiable twice.

        Raises:
            ValueError: as `built`.
        """
        network = self.built("AutoModel", ("pooler",), attn_implementation="eager")
        if hasattr(network, "pooler"):
            network.pooler = None  # a layer that nothing trains
        return network

    def built(self, kind: str, missing: tuple[str, ...] = (), **how: Any) -> Any:
        """The network in float32, without dropout; on the meta device it has no weights.

        Args:
            kind: `AutoModelForCausalLM` or `AutoModel`.
            missing: beginnings of the names of weights that the folder need not hold.
            how: what else the library is told.

        Raises:
            ValueError: the folder holds a network of another kind, or not all of its weights.
        """
        for key, value in self.config.to_dict().items():
            if isinstance(value, float) and "drop" in key:
                setattr(self.config, key, 0.0)  # its own dropout would not be ours to switch off
        auto = getattr(self.library, kind)
        try:
            if torch.empty(0).device.type == "meta":
                return self._float(auto.from_config(self.config, **how))
            network, told = auto.from_pretrained(
                self.path,
                config=self.config,
                local_files_only=True,
                output_loading_info=True,
                dtype=torch.float32,
                **how,
            )
        except (ValueError, OSError, RuntimeError) as error:
            raise ValueError(f"folder: {str(self.path)!r} holds no network for {self.who}: {error}") from error
        absent = sorted(name for name in told["missing_keys"] if not name.startswith(missing or ("\0",)))
        if absent:
            raise ValueError(
                f"folder: {str(self.path)!r} holds no weights of its network: {len(absent)} are absent, first "
                f"{', '.join(absent[:SHOWN])}"
            )
        return self._float(network)

    @staticmethod
    def _float(network: nn.Module) -> nn.Module:
        return network.float().train()

    def check_length(self, length: int, before: int = 0) -> None:
        """Raises ValueError where the network has no place for so many tokens and those before them."""
        most = getattr(self.config, "max_position_embeddings", None)
        if most is not None and length + before > most:
            places = f"{most} places of {str(self.path)!r}" + (
                f", {before} of which {'is' if before == 1 else 'are'} its own" if before else ""
            )
            raise ValueError(f"data.length: {length} tokens are more than the {places}")

    def ids_of(self, words: Sequence[str], special: Sequence[int | None]) -> Tensor:
        """The network's id for each of our tokens, [V].

        Args:
            words: our vocabulary.
            special: its ids for our `<pad> <bos> <eos> <unk>`; 0 where it has none.

        Raises:
            ValueError: a token is not one of its tokenizer's.
        """
        found = [self.tokenizer.token_to_id(word) for word in words[OURS:]]
        unknown = [word for word, number in zip(words[OURS:], found, strict=True) if number is None]
        if unknown:
            shown = ", ".join(map(repr, unknown[:SHOWN]))
            raise ValueError(
                f"data.tokens: {len(unknown):,} of {len(found):,} tokens of the data are not known to the tokenizer of "
                f"{str(self.path)!r}, first {shown}; set data.tokens: {self.path / 'tokenizer.json'}"
            )
        return torch.tensor([*(number or 0 for number in special), *found], device="cpu")

    @property
    def special_ids(self) -> set[int]:
        """The network's ids of all tokens that its tokenizer takes to be special."""
        return {number for number, token in self.tokenizer.get_added_tokens_decoder().items() if token.special}

    def special(self, name: str) -> int | None:
        """The network's id of a special token: `pad`, `bos`, `eos`, `unk`, `cls`, `sep`; None where it has none."""
        number = getattr(self.config, f"{name}_token_id", None)
        if isinstance(number, list):
            number = number[0]
        return number if isinstance(number, int) else self._told(name)

    def _told(self, name: str) -> int | None:
        """What the tokenizer's own settings say of it."""
        import json

        file = self.path / "tokenizer_config.json"
        told = json.loads(file.read_text()).get(f"{name}_token") if file.is_file() else None
        word = told.get("content") if isinstance(told, dict) else told
        number: int | None = None if word is None else self.tokenizer.token_to_id(word)
        return number


def _library(who: str) -> Any:
    try:
        import transformers
    except ImportError:
        raise ValueError(f"{who} needs transformers: pip install 'gan-dist[text]'") from None
    logging: Any = transformers.utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return transformers
