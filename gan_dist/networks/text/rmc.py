"""Relational memory as a text generator, as in RelGAN (Nie et al. 2019; Santoro et al. 2018, arXiv 1806.01822)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.networks.text.autoregressive import RECORDED, Autoregressive, Relax, State

FORGET_BIAS = 1.0
CLASS_INPUTS = ("added", "appended")


class Generator(Autoregressive):
    """Memory slots that attend to each other and to the newest token; the next token comes from all of them.

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        bos: id before the first token.
        eos: id that ends a sentence; null where all are of full length.
        classes: classes of sentences; 0 for none.
        prompt_length: most tokens of a prompt that a sentence follows; 0 where there are none.
        embedding: size of token embeddings.
        slots: memory slots.
        heads: heads of attention.
        head_size: size of each head; a slot has heads * head_size numbers.
        class_input: how a class enters: added (an embedding, added to that of every token) or appended (a one-hot
            vector after it, as in CatGAN, Liu et al. 2020, arXiv 1911.06641).
        relax: what a discriminator sees in training: none (token ids), gumbel, or straight_through.
        beta: inverse temperature of `relax`.
    """

    recorded = RECORDED

    def __init__(
        self,
        *,
        vocabulary: int,
        length: int,
        bos: int,
        eos: int | None,
        classes: int = 0,
        prompt_length: int = 0,
        embedding: int = 32,
        slots: int = 1,
        heads: int = 2,
        head_size: int = 256,
        class_input: Literal["added", "appended"] = "added",
        relax: Relax = "none",
        beta: float = 1.0,
    ) -> None:
        super().__init__(
            vocabulary, length, bos, eos, classes=classes, prompt_length=prompt_length, relax=relax, beta=beta
        )
        for name, value in (("slots", slots), ("heads", heads), ("head_size", head_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if class_input not in CLASS_INPUTS:
            raise ValueError(f"class_input must be one of {', '.join(CLASS_INPUTS)}, not {class_input!r}")
        self.slots, self.heads, self.size = slots, heads, heads * head_size
        appended = classes if class_input == "appended" else 0
        self.tokens = nn.Embedding(vocabulary, embedding)
        self.cls = nn.Embedding(classes, embedding) if classes and not appended else None
        self.input = nn.Linear(embedding + appended, self.size)
        self.qkv, self.of_qkv = nn.Linear(self.size, 3 * self.size), nn.LayerNorm(3 * self.size)
        self.after_attention, self.after_mlp = nn.LayerNorm(self.size), nn.LayerNorm(self.size)
        self.mlp = nn.Sequential(nn.Linear(self.size, self.size), nn.ReLU(), nn.Linear(self.size, self.size))
        self.gates_of_input = nn.Linear(self.size, 2 * self.size)
        self.gates_of_memory = nn.Linear(self.size, 2 * self.size)
        self.out = nn.Linear(slots * self.size, self.written)

    def begin(self, n: int, cond: Tensor | None) -> State:
        """The identity, as far as the slots go: each starts as another unit vector."""
        memory = torch.eye(self.slots, self.size, device=self.out.weight.device, dtype=self.out.weight.dtype)
        memory = memory.expand(n, -1, -1)
        if self.prompt_length:
            return self.after_prompt(cond, (memory,), self._advanced)
        return (memory, *self._class_of(cond)) if self.classes else (memory,)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        state = self._advanced(tokens, state)
        return self.out(state[0].flatten(1)), state

    def _advanced(self, tokens: Tensor, state: State) -> State:
        memory, *cls = state
        return (self._remembered(memory, self._said(self._with_class(self.tokens(tokens), cls))), *cls)

    def _class_of(self, cond: Tensor | None) -> tuple[Tensor, ...]:
        """What a class is to the input, [n, K]."""
        assert cond is not None, "the network was built for classes"
        if self.cls is not None:
            return (self.cls(cond),)
        return (F.one_hot(cond, self.classes).to(self.out.weight),)

    def _with_class(self, found: Tensor, cls: Sequence[Tensor]) -> Tensor:
        """Embedded tokens [..., embedding] with their class, if they are of one, [n, K]."""
        if not cls:
            return found
        given = cls[0] if found.ndim == 2 else cls[0][:, None]
        return found + given if self.cls is not None else torch.cat([found, given.expand(*found.shape[:-1], -1)], -1)

    def logits(self, tokens: Tensor, cond: Tensor | None = None) -> Tensor:
        """Of all tokens at once, but for the memory."""
        before = self.before(tokens)
        memory, *cls = self.begin(len(tokens), cond)
        found = []
        for said in self._said(self._with_class(self.tokens(before), cls)).unbind(1):
            memory = self._remembered(memory, said)
            found.append(memory.flatten(1))
        logits: Tensor = self.out(torch.stack(found, 1))
        return logits

    def _said(self, found: Tensor) -> Tensor:
        """What embedded tokens [..., K] say to the memory: keys, values and gates, [..., 4 * size]."""
        x = self.input(found)
        kv = self.of_qkv(self.qkv(x))[..., self.size :]
        return torch.cat([kv, self.gates_of_input(x)], -1)

    def _remembered(self, memory: Tensor, said: Tensor) -> Tensor:
        """The memory [B, slots, size] after a token that says this, [B, 4 * size]."""
        kv, gates = said[:, None].chunk(2, 2)
        new = self.after_attention(memory + self._attended(memory, kv))
        new = self.after_mlp(new + self.mlp(new))
        gate, forget = (gates + self.gates_of_memory(torch.tanh(memory))).chunk(2, 2)
        return torch.sigmoid(gate) * torch.tanh(new) + torch.sigmoid(forget + FORGET_BIAS) * memory

    def _attended(self, memory: Tensor, kv: Tensor) -> Tensor:
        """What each slot reads of the slots and of a token with keys and values kv [B, 1, 2 * size]."""
        q, own = self.of_qkv(self.qkv(memory)).split([self.size, 2 * self.size], 2)
        k, v = torch.cat([own, kv], 1).chunk(2, 2)
        q, k, v = (part.unflatten(2, (self.heads, -1)) for part in (q, k, v))
        # By sums: for a few slots a fused kernel takes an H200 15 us, and 54 backwards, elementwise ones 2 to 5 each.
        # Both published codes divide by the root of the length of q, k and v together.
        answers = (q.unsqueeze(2) * k.unsqueeze(1)).sum(4) * (3 * self.size // self.heads) ** -0.5
        read: Tensor = torch.softmax(answers, 2).unsqueeze(4) * v.unsqueeze(1)
        return read.sum(2).flatten(2)
