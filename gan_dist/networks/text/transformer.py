"""A causal Transformer as text generator (Vaswani et al. 2017, arXiv 1706.03762), of blocks as GPT-2 has them (Radford
et al. 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.networks.text.autoregressive import RECORDED, Autoregressive, Relax, State

STD = 0.02
WIDER = 4


class Generator(Autoregressive):
    """Blocks of attention to the tokens before, and two layers; the embedding of tokens is the last layer as well.

    What each block has computed of the tokens before is the state of a step: keys and values [B, layers, t, width],
    which grow by a token with each step.

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        bos: id before the first token.
        eos: id that ends a sentence; null where all are of full length.
        classes: classes of sentences; 0 for none.
        width: size of embeddings and blocks; a multiple of `heads`.
        layers: blocks.
        heads: heads of attention.
        dropout: share of embeddings and of what blocks add dropped while given text is learnt, in [0, 1); sampling
            drops none.
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
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
        relax: Relax = "none",
        beta: float = 1.0,
    ) -> None:
        super().__init__(vocabulary, length, bos, eos, classes, relax, beta)
        if layers < 1 or heads < 1:
            raise ValueError(f"layers and heads must be at least 1, not {layers} and {heads}")
        if width < 1 or width % heads:
            raise ValueError(f"width must be a multiple of heads: {heads}, not {width}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {dropout}")
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.cls = nn.Embedding(classes, width) if classes else None
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self._initialise()

    def _initialise(self) -> None:
        """As GPT-2: N(0, 0.02^2), and less for what blocks add, of which there are two for each block."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                added = name.endswith(("attended.weight", "narrow.weight"))
                nn.init.normal_(parameter, 0.0, STD / (2 * len(self.blocks)) ** 0.5 if added else STD)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def begin(self, n: int, cond: Tensor | None) -> State:
        none = self.tokens.weight.new_zeros(n, len(self.blocks), 0, self.tokens.embedding_dim)
        return (none, none) if self.cls is None else (none, none, self.cls(cond))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        keys, values, *cls = state
        x = self._embedded(tokens[:, None], keys.shape[2], *cls)
        known = []
        for place, block in enumerate(self.blocks):
            x, *made = block(x, keys[:, place], values[:, place])
            known.append(made)
        keys, values = (torch.stack(each, 1) for each in zip(*known, strict=True))
        return self._written(x)[:, 0], (keys, values, *cls)

    def logits(self, tokens: Tensor, cond: Tensor | None = None) -> Tensor:
        before = self.before(tokens)
        keys, values, *cls = self.begin(len(tokens), cond)
        x = self.dropout(self._embedded(before, 0, *cls))
        for place, block in enumerate(self.blocks):
            x, *_ = block(x, keys[:, place], values[:, place], drop=True)
        return self._written(x)

    def _embedded(self, tokens: Tensor, first: int, *cls: Tensor) -> Tensor:
        """Embeddings [B, t, width] of tokens [B, t], the first of which stands at place `first`."""
        x: Tensor = self.tokens(tokens) + self.places.weight[first : first + tokens.shape[1]]
        return x + cls[0][:, None] if cls else x

    def _written(self, x: Tensor) -> Tensor:
        return F.linear(self.norm(x), self.tokens.weight[self.first :])


class Block(nn.Module):
    """x + attention(norm(x)), and to that two layers of its norm."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.attended = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, WIDER * width), nn.Linear(WIDER * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, drop: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """The block's x, and keys and values of all places so far [B, p + t, width].

        Args:
            x: of the newest places, [B, t, width]; of several only where none are known before them.
            keys, values: of the places before, [B, p, width].
            drop: whether it drops what it adds, in training.
        """
        assert x.shape[1] == 1 or keys.shape[1] == 0
        q, k, v = self.qkv(self.before_attention(x)).chunk(3, 2)
        keys, values = torch.cat([keys, k], 1), torch.cat([values, v], 1)
        by_head = [part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (q, keys, values)]
        mixed = F.scaled_dot_product_attention(by_head[0], by_head[1], by_head[2], is_causal=x.shape[1] > 1)
        mixed = mixed.transpose(1, 2).flatten(2)
        x = x + self._dropped(self.attended(mixed), drop)
        x = x + self._dropped(self.narrow(F.gelu(self.wide(self.before_mlp(x)), approximate="tanh")), drop)
        return x, keys, values

    def _dropped(self, x: Tensor, drop: bool) -> Tensor:
        return self.dropout(x) if drop else x
