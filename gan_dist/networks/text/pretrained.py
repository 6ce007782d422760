"""Pretrained networks of `transformers` from a local folder, and their ids of our tokens. Nothing is downloaded."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.networks.text.autoregressive import PAD, Autoregressive, Relax, State
from gan_dist.spec.paths import absolute_path

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
END = 2  # our `<eos>`, an encoder's mark between sentences
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
        self.path, self.who = absolute_path(folder), who
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


NEVER = -1e4  # a logit that is never drawn; finite, so that 0 log 0 is 0


class Generator(Autoregressive):
    """A pretrained causal language model as text generator (as GPT-2 is, Radford et al. 2019), from a local folder.

    The model writes with its own tokenizer, which cuts the data too (`data.tokens: FOLDER/tokenizer.json`). Of its
    special tokens it writes none but the end. Its dropout is switched off.

    What the library's cache holds of the tokens before is the state of a step: keys and values of each layer
    [B, heads, t, size].

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        bos: id before the first token.
        eos: id that ends a sentence; null where all are of full length.
        codec: of the data, which says what its ids mean.
        classes: classes of sentences; 0 for none. Each has an embedding, 0 at the start, added to that of every token.
        prompt_length: most tokens of a prompt that a sentence follows; 0 where there are none. Between both stands
            what the model begins sentences with.
        folder: holds the model and its tokenizer, as `save_pretrained` of both writes them; nothing is downloaded.
        relax: what a discriminator sees in training: none (token ids), gumbel, or straight_through.
        beta: inverse temperature of `relax`.
    """

    ids: Tensor
    closed: Tensor

    def __init__(
        self,
        *,
        vocabulary: int,
        length: int,
        bos: int,
        eos: int | None,
        codec: CodecSizes,
        classes: int = 0,
        prompt_length: int = 0,
        folder: str,
        relax: Relax = "none",
        beta: float = 1.0,
    ) -> None:
        super().__init__(
            vocabulary, length, bos, eos, classes=classes, prompt_length=prompt_length, relax=relax, beta=beta
        )
        if eos is None:
            raise ValueError("a pretrained model writes words, and an oracle's numbers are none; use lstm")
        found = LocalModel(folder, "generator 'pretrained_lm'")
        _check_causal(found)
        found.check_length(prompt_length + length)
        end = found.special("eos")
        if end is None:
            raise ValueError(f"folder: the model in {folder!r} names no token that ends a sentence (eos_token_id)")
        begin, unknown = found.special("bos"), found.special("unk")
        begin = end if begin is None else begin
        ids = found.ids_of(codec.vocabulary, (end, begin, end, unknown))
        # Of the ids from `first` on: the end and <unk> are written as ours, other special tokens not at all.
        closed = torch.isin(ids, torch.tensor(sorted({begin, end, *found.special_ids}), device="cpu"))
        # A model whose end stands for what it does not know too (GPT-2's does) has one logit for both: it is the end's.
        closed[eos], closed[OURS - 1] = False, unknown is None or unknown in (end, begin)
        self.model: Any = found.built("AutoModelForCausalLM")
        self.cache: Any = found.library.DynamicCache
        takes = inspect.signature(self.model.forward).parameters
        self.cached_as = "cache" if "cache" in takes else "past_key_values"
        self.cls = nn.Embedding(classes, self.model.get_input_embeddings().embedding_dim) if classes else None
        if self.cls is not None:
            nn.init.zeros_(self.cls.weight)
        device = next(self.model.parameters()).device
        self.register_buffer("ids", ids.to(device), persistent=False)
        self.register_buffer("closed", closed[self.first :].to(device), persistent=False)

    def begin(self, n: int, cond: Tensor | None) -> State:
        if self.prompt_length:
            assert cond is not None, "the network was built for prompts"
            there = cond != PAD
            cache = self.cache(None)
            self._logits(cond, there=there, use_cache=True, **{self.cached_as: cache})
            return (there, *_layers_of(cache))
        return () if self.cls is None else (self.cls(cond),)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        before = len(state) % 2
        first, known = state[:before], state[before:]
        cache = self.cache(tuple(zip(known[::2], known[1::2], strict=True)) if known else None)
        how: dict[str, Any] = {"use_cache": True, self.cached_as: cache}
        if self.prompt_length:
            first = (F.pad(first[0], (0, 1), value=True),)
            logits = self._logits(tokens[:, None], there=first[0], **how)
        else:
            logits = self._logits(tokens[:, None], *first, **how)
        return logits[:, 0], (*first, *_layers_of(cache))

    def logits(self, tokens: Tensor, cond: Tensor | None = None) -> Tensor:
        before = self.before(tokens)
        if not self.prompt_length:
            return self._logits(before, *self.begin(len(tokens), cond), use_cache=False)
        assert cond is not None, "the network was built for prompts"
        there = F.pad(cond != PAD, (0, before.shape[1]), value=True)
        found = self._logits(torch.cat([cond, before], 1), there=there, use_cache=False)
        return found[:, self.prompt_length :]

    def _logits(self, tokens: Tensor, *cls: Tensor, there: Tensor | None = None, **cached: Any) -> Tensor:
        """Logits [B, t, written] after tokens [B, t]; `there` says which of all places so far hold a token."""
        embedded = self.model.get_input_embeddings()(self.ids[tokens])
        inputs = embedded + cls[0][:, None] if cls else embedded
        if there is not None and not there.is_meta:  # nobody can look there whether the mask hides anything
            places = (there.long().cumsum(1) - 1).clamp_min(0)[:, -tokens.shape[1] :]
            cached |= {"attention_mask": there.long(), "position_ids": places}
        if inputs.is_meta:  # without a cache the library looks whether sequences are packed, which nobody can there
            cached["use_cache"] = True
        made: Tensor = self.model(inputs_embeds=inputs, **cached).logits
        return made[..., self.ids[self.first :]].masked_fill(self.closed, NEVER)


def _layers_of(cache: Any) -> State:
    """Keys and values of each layer."""
    return tuple(part for layer in cache.layers for part in (layer.keys, layer.values))


def _check_causal(found: LocalModel) -> None:
    """Raises ValueError where the folder holds another kind of network."""
    kinds = tuple(getattr(found.config, "architectures", None) or ())
    if not any(kind.endswith(("ForCausalLM", "LMHeadModel")) for kind in kinds):
        raise ValueError(
            f"folder: {str(found.path)!r} holds a {' and '.join(kinds) or 'network of unknown kind'}, which is "
            "no causal language model"
        )


class Discriminator(nn.Module):
    """A pretrained encoder from a local folder as discriminator of text (BERT is one, Devlin et al. 2019, arXiv
    1810.04805).

    Judges token ids [B, T], or rows of the vocabulary [B, T, V], by the mean of the encoder's last hidden states:
    logits [B]. Its tokenizer cuts the data (`data.tokens: FOLDER/tokenizer.json`). Its dropout is switched off.

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        codec: of the data, which says what its ids mean.
        classes: classes of sentences; 0 for none.
        prompt_length: most tokens of a prompt that a sentence follows; 0 where there are none. Between both stands
            what divides two sentences for the encoder.
        folder: holds the encoder and its tokenizer, as `save_pretrained` of both writes them; nothing is downloaded.
        frozen: whether the encoder stays as it is, and the last layer alone is trained.
    """

    ids: Tensor

    def __init__(
        self,
        *,
        vocabulary: int,
        length: int,
        codec: CodecSizes,
        classes: int = 0,
        prompt_length: int = 0,
        folder: str,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        found = LocalModel(folder, "discriminator 'pretrained_encoder'")
        begin, end, pad, unknown = (found.special(name) for name in ("cls", "sep", "pad", "unk"))
        ids = found.ids_of(codec.vocabulary, (pad, begin, end, unknown))
        assert len(ids) == vocabulary
        self.encoder: Any = found.encoder().requires_grad_(not frozen)
        self.prompted = prompt_length > 0
        found.check_length(prompt_length + self.prompted + length, before=1 + _passed_over(self.encoder))
        self.out = nn.Linear(self.encoder.config.hidden_size, 1)
        self.cls = nn.Embedding(classes, self.out.in_features) if classes else None
        # Before the sentence stands what the encoder was trained to find there, where it knows such a token.
        self.begins = begin is not None
        self.register_buffer("ids", ids.to(self.out.weight.device), persistent=False)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        features = self.features(x, cond)
        logits: Tensor = self.out(features).squeeze(1)
        return logits if self.cls is None else logits + (self.cls(cond) * features).sum(1)

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """The mean hidden state of each sentence and its prompt, padding left out, [B, H]."""
        table = self.encoder.get_input_embeddings()
        inputs = x @ table(self.ids) if x.is_floating_point() else table(self.ids[x])
        there = x[..., PAD] < 0.5 if x.is_floating_point() else x != PAD
        if self.prompted and cond is not None:
            given = F.pad(cond, (0, 1), value=END)
            inputs, there = torch.cat([table(self.ids[given]), inputs], 1), torch.cat([given != PAD, there], 1)
        if self.begins:
            inputs = torch.cat([table(self.ids[1]).expand(len(x), 1, -1), inputs], 1)
            there = torch.cat([torch.ones_like(there[:, :1]), there], 1)
        # The library looks whether the mask hides anything, which nobody can on the meta device.
        mask = None if there.is_meta else there.long()
        hidden = self.encoder(inputs_embeds=inputs, attention_mask=mask).last_hidden_state
        weight = there.to(hidden.dtype)[..., None]
        mean: Tensor = (hidden * weight).sum(1) / weight.sum(1)
        return mean


def _passed_over(encoder: nn.Module) -> int:
    """How many places at the beginning no token has: RoBERTa and its kin number them from that of padding on."""
    tables = (one for name, one in encoder.named_modules() if name.endswith("position_embeddings"))
    return max((one.padding_idx + 1 for one in tables if getattr(one, "padding_idx", None) is not None), default=0)
