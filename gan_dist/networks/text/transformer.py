"""A causal Transformer as text generator (Vaswani et al. 2017, arXiv 1706.03762), of blocks as GPT-2 has them (Radford
et al. 2019), with learned or rotary positions."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.networks.text.autoregressive import PAD, RECORDED, Autoregressive, Relax, State

STD = 0.02
WIDER = 4
BASE = 10_000.0  # of the wavelengths of rotary positions
POSITIONS = ("learned", "rotary")


class Generator(Autoregressive):
    """Blocks of attention to the tokens before, and two layers; the embedding of tokens is the last layer as well.

    What each block has computed of the tokens before is the state of a step: keys and values [B, layers, t, width],
    which grow by a token with each step; after prompts also which of these places hold a token, [B, t].

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        bos: id before the first token.
        eos: id that ends a sentence; null where all are of full length.
        classes: classes of sentences; 0 for none.
        prompt_length: most tokens of a prompt that a sentence follows; 0 where there are none.
        width: size of embeddings and blocks; a multiple of `heads`.
        layers: blocks.
        heads: heads of attention.
        positions: learned (an embedding of each place) or rotary (queries and keys turned by their place, so that
            attention goes by how far two tokens stand apart; Su et al. 2021, arXiv 2104.09864).
        dropout: share of embeddings and of what blocks add dropped while given text is learnt, in [0, 1); sampling
            drops none.
        relax: what a discriminator sees in training: none (token ids), gumbel, or straight_through.
        beta: inverse temperature of `relax`.
    """

    recorded = RECORDED
    turns: Tensor | None

    def __init__(
        self,
        *,
        vocabulary: int,
        length: int,
        bos: int,
        eos: int | None,
        classes: int = 0,
        prompt_length: int = 0,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        positions: Literal["learned", "rotary"] = "learned",
        dropout: float = 0.0,
        relax: Relax = "none",
        beta: float = 1.0,
    ) -> None:
        super().__init__(
            vocabulary, length, bos, eos, classes=classes, prompt_length=prompt_length, relax=relax, beta=beta
        )
        if layers < 1 or heads < 1:
            raise ValueError(f"layers and heads must be at least 1, not {layers} and {heads}")
        if width < 1 or width % heads:
            raise ValueError(f"width must be a multiple of heads: {heads}, not {width}")
        if positions not in POSITIONS:
            raise ValueError(f"positions must be one of {', '.join(POSITIONS)}, not {positions!r}")
        if positions == "rotary" and width // heads % 2:
            raise ValueError(f"rotary positions turn pairs of numbers, and a head has width / heads = {width // heads}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {dropout}")
        places = prompt_length + length
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(places, width) if positions == "learned" else None
        self.register_buffer(
            "turns", turns(places, width // heads) if positions == "rotary" else None, persistent=False
        )
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
        if self.prompt_length:
            assert cond is not None, "the network was built for prompts"
            there = cond != PAD
            _, keys, values = self._passed(self._embedded(cond, 0), none, none, there)
            return keys, values, there
        return (none, none) if self.cls is None else (none, none, self.cls(cond))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        keys, values, *more = state
        there = F.pad(more[0], (0, 1), value=True) if self.prompt_length else None
        x = self._embedded(tokens[:, None], keys.shape[2], *(() if self.prompt_length else more))
        x, keys, values = self._passed(x, keys, values, there)
        return self._written(x)[:, 0], (keys, values, *(more if there is None else (there,)))

    def begin_sampling(self, n: int, cond: Tensor | None) -> State:
        """Keys and values of all places there will be, so that a step writes its own and copies none."""
        keys, values, *more = self.begin(n, cond)
        room = (0, 0, 0, self.length)
        there = [F.pad(more[0], (0, self.length), value=True)] if self.prompt_length else more
        return F.pad(keys, room), F.pad(values, room), *there

    def step_sampling(self, tokens: Tensor, state: State, place: int) -> tuple[Tensor, State]:
        keys, values, *more = state
        at = self.prompt_length + place
        there = more[0][:, : at + 1] if self.prompt_length else None
        x = self._embedded(tokens[:, None], at, *(() if self.prompt_length else more))
        turned = None if self.turns is None else self.turns[:, at : at + 1]
        blocks: Any = self.blocks
        for number, block in enumerate(blocks):
            x = block.write(x, keys[:, number, : at + 1], values[:, number, : at + 1], there, turned)
        return self._written(x)[:, 0], state

    def logits(self, tokens: Tensor, cond: Tensor | None = None) -> Tensor:
        before, there = self.before(tokens), None
        none = self.tokens.weight.new_zeros(len(tokens), len(self.blocks), 0, self.tokens.embedding_dim)
        if self.prompt_length:
            assert cond is not None, "the network was built for prompts"
            there = F.pad(cond != PAD, (0, before.shape[1]), value=True)
            before = torch.cat([cond, before], 1)
        x = self.dropout(self._embedded(before, 0, *(() if self.cls is None else (self.cls(cond),))))
        x, *_ = self._passed(x, none, none, there, drop=True)
        return self._written(x[:, self.prompt_length :])

    def _passed(
        self, x: Tensor, keys: Tensor, values: Tensor, there: Tensor | None, drop: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the blocks make of x [B, t, width], and keys and values of all places so far."""
        known, first = [], keys.shape[2]
        turned = None if self.turns is None else self.turns[:, first : first + x.shape[1]]
        for place, block in enumerate(self.blocks):
            x, *made = block(x, keys[:, place], values[:, place], there, turned, drop=drop)
            known.append(made)
        keys, values = (torch.stack(each, 1) for each in zip(*known, strict=True))
        return x, keys, values

    def _embedded(self, tokens: Tensor, first: int, *cls: Tensor) -> Tensor:
        """Embeddings [B, t, width] of tokens [B, t], the first of which stands at place `first`."""
        x: Tensor = self.tokens(tokens)
        if self.places is not None:
            x = x + self.places.weight[first : first + tokens.shape[1]]
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

    def forward(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        there: Tensor | None = None,
        turned: Tensor | None = None,
        drop: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The block's x, and keys and values of all places so far [B, p + t, width].

        Args:
            x: of the newest places, [B, t, width]; of several only where none are known before them.
            keys, values: of the places before, [B, p, width].
            there: which of all places hold a token that may be attended to, [B, p + t]; None for all.
            turned: cosines and sines of the newest places, [2, t, head]; None where places are learned.
            drop: whether it drops what it adds, in training.
        """
        assert x.shape[1] == 1 or keys.shape[1] == 0
        q, k, v = self._asked(x, turned)
        keys, values = torch.cat([keys, k], 1), torch.cat([values, v], 1)
        return self._after(x, q, keys, values, there, drop), keys, values

    def write(self, x: Tensor, keys: Tensor, values: Tensor, there: Tensor | None, turned: Tensor | None) -> Tensor:
        """The block's x [B, 1, width] of the newest place, whose keys and values are written into the last of those
        [B, t, width]."""
        q, keys[:, -1:], values[:, -1:] = self._asked(x, turned)
        return self._after(x, q, keys, values, there, False)

    def _asked(self, x: Tensor, turned: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of the newest places, [B, t, width] each."""
        q, k, v = self.qkv(self.before_attention(x)).chunk(3, 2)
        if turned is not None:
            q, k = (turn(part.unflatten(2, (self.heads, -1)), turned).flatten(2) for part in (q, k))
        return q, k, v

    def _after(self, x: Tensor, q: Tensor, keys: Tensor, values: Tensor, there: Tensor | None, drop: bool) -> Tensor:
        """x and what attention to all places so far and two layers add to it."""
        by_head = [part.view(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in (q, keys, values)]
        mask = None if there is None else attention_mask(there, x.shape[1])
        causal = mask is None and x.shape[1] > 1
        mixed = F.scaled_dot_product_attention(by_head[0], by_head[1], by_head[2], mask, is_causal=causal)
        mixed = mixed.transpose(1, 2).flatten(2)
        x = x + self._dropped(self.attended(mixed), drop)
        return x + self._dropped(self.narrow(F.gelu(self.wide(self.before_mlp(x)), approximate="tanh")), drop)

    def _dropped(self, x: Tensor, drop: bool) -> Tensor:
        return self.dropout(x) if drop else x


def attention_mask(there: Tensor, newest: int) -> Tensor:
    """To which of all places [B, t] the newest ones attend, [B, 1, newest, t]: those before that hold a token, and
    each to itself, for nobody can attend to nothing."""
    places = torch.arange(there.shape[1], device=there.device)
    asking = places[-newest:, None]
    return ((places <= asking) & there[:, None, :] | (places == asking))[:, None]


def turns(places: int, size: int) -> Tensor:
    """Cosines and sines by which the numbers of a head at each place are turned, [2, places, size]: numbers i and i +
    size / 2 belong together, and turn by place / 10000^(2 i / size)."""
    rates = BASE ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angles = (torch.arange(places, dtype=torch.float64)[:, None] * rates).repeat(1, 2)
    return torch.stack([angles.cos(), angles.sin()]).float()


def turn(x: Tensor, turned: Tensor) -> Tensor:
    """Queries or keys [B, t, heads, size], each turned by its place."""
    cosines, sines = turned.to(x)[:, :, None]
    one, other = x.chunk(2, -1)
    found: Tensor = x * cosines + torch.cat([-other, one], -1) * sines
    return found
