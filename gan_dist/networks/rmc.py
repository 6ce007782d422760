"""Relational memory as a text generator, as in RelGAN (Nie et al. 2019; Santoro et al. 2018, arXiv 1806.01822)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.networks.autoregressive import Autoregressive, Relax, State

FORGET_BIAS = 1.0


class Generator(Autoregressive):
    """Memory slots that attend to each other and to the newest token; the next token comes from all of them.

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        bos: id before the first token.
        eos: id that ends a sentence; null where all are of full length.
        classes: classes of sentences; 0 for none.
        embedding: size of token embeddings.
        slots: memory slots.
        heads: heads of attention.
        head_size: size of each head; a slot has heads * head_size numbers.
        relax: what a discriminator sees in training: none (token ids), gumbel, or straight_through.
        beta: inverse temperature of `relax`.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        length: int,
        bos: int,
        eos: int | None,
        classes: int = 0,
        embedding: int = 32,
        slots: int = 1,
        heads: int = 2,
        head_size: int = 256,
        relax: Relax = "none",
        beta: float = 1.0,
    ) -> None:
        super().__init__(vocabulary, length, bos, eos, classes, relax, beta)
        for name, value in (("slots", slots), ("heads", heads), ("head_size", head_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.slots, self.heads, self.size = slots, heads, heads * head_size
        self.tokens = nn.Embedding(vocabulary, embedding)
        self.cls = nn.Embedding(classes, embedding) if classes else None
        self.input = nn.Linear(embedding, self.size)
        self.qkv = nn.Linear(self.size, 3 * self.size)
        self.after_attention, self.after_mlp = nn.LayerNorm(self.size), nn.LayerNorm(self.size)
        self.mlp = nn.Sequential(nn.Linear(self.size, self.size), nn.ReLU(), nn.Linear(self.size, self.size), nn.ReLU())
        self.gates_of_input = nn.Linear(self.size, 2 * self.size)
        self.gates_of_memory = nn.Linear(self.size, 2 * self.size)
        self.out = nn.Linear(slots * self.size, self.written)

    def begin(self, n: int, cond: Tensor | None) -> State:
        """The identity, as far as the slots go: each starts as another unit vector."""
        memory = torch.eye(self.slots, self.size, device=self.out.weight.device, dtype=self.out.weight.dtype)
        memory = memory.expand(n, -1, -1)
        return (memory,) if self.cls is None else (memory, self.cls(cond))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        memory, *cls = state
        x = self.input(sum(cls, self.tokens(tokens)))[:, None]
        new = self.after_attention(memory + self._attended(memory, x))
        new = self.after_mlp(new + self.mlp(new))
        gate, forget = (self.gates_of_input(x) + self.gates_of_memory(torch.tanh(memory))).chunk(2, 2)
        memory = torch.sigmoid(gate) * torch.tanh(new) + torch.sigmoid(forget + FORGET_BIAS) * memory
        return self.out(memory.flatten(1)), (memory, *cls)

    def _attended(self, memory: Tensor, x: Tensor) -> Tensor:
        """What each slot reads of the slots and of x [B, 1, size], [B, slots, size]."""
        q, k, v = self.qkv(torch.cat([memory, x], 1)).chunk(3, 2)
        by_head = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (q[:, : self.slots], k, v))
        return F.scaled_dot_product_attention(*by_head).transpose(1, 2).flatten(2)
