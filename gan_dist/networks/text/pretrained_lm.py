"""A pretrained causal language model as text generator (as GPT-2 is, Radford et al. 2019), from a local folder."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.networks.text.autoregressive import Autoregressive, Relax, State
from gan_dist.networks.text.hf_models import OURS, CodecSizes, LocalModel

NEVER = -1e4  # a logit that is never drawn; finite, so that 0 log 0 is 0


class Generator(Autoregressive):
    """The model writes with its own tokenizer, which cuts the data too (`data.tokens: FOLDER/tokenizer.json`). Of its
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
        folder: str,
        relax: Relax = "none",
        beta: float = 1.0,
    ) -> None:
        super().__init__(vocabulary, length, bos, eos, classes, relax, beta)
        if eos is None:
            raise ValueError("a pretrained model writes words, and an oracle's numbers are none; use lstm")
        found = LocalModel(folder, "generator 'pretrained_lm'")
        _check_causal(found)
        found.check_length(length)
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
        return () if self.cls is None else (self.cls(cond),)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        before = len(state) % 2
        cls, known = state[:before], state[before:]
        cache = self.cache(tuple(zip(known[::2], known[1::2], strict=True)) if known else None)
        logits = self._logits(tokens[:, None], *cls, use_cache=True, **{self.cached_as: cache})[:, 0]
        return logits, (*cls, *(part for layer in cache.layers for part in (layer.keys, layer.values)))

    def logits(self, tokens: Tensor, cond: Tensor | None = None) -> Tensor:
        before = self.before(tokens)
        return self._logits(before, *self.begin(len(tokens), cond), use_cache=False)

    def _logits(self, tokens: Tensor, *cls: Tensor, **cached: Any) -> Tensor:
        """Logits [B, t, written] after tokens [B, t]."""
        embedded = self.model.get_input_embeddings()(self.ids[tokens])
        inputs = embedded + cls[0][:, None] if cls else embedded
        made: Tensor = self.model(inputs_embeds=inputs, **cached).logits
        return made[..., self.ids[self.first :]].masked_fill(self.closed, NEVER)


def _check_causal(found: LocalModel) -> None:
    """Raises ValueError where the folder holds another kind of network."""
    kinds = tuple(getattr(found.config, "architectures", None) or ())
    if not any(kind.endswith(("ForCausalLM", "LMHeadModel")) for kind in kinds):
        raise ValueError(
            f"folder: {str(found.path)!r} holds a {' and '.join(kinds) or 'network of unknown kind'}, which is "
            "no causal language model"
        )
