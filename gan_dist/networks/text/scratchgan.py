"""The networks of ScratchGAN as its authors built them (d'Autume et al. 2019, arXiv 1905.09922, and the code they
published): input projections, layers that see the input too, tied embeddings, and layer normalisation in the cell."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.networks.text.autoregressive import RECORDED, Autoregressive, Relax, State
from gan_dist.networks.text.pretrained import CodecSizes
from gan_dist.networks.text.textlstm import POSITIONS
from gan_dist.networks.text.word_vectors import WordTable

FORGET_BIAS = 1.0


class Cell(nn.Module):
    """An LSTM cell, with layer normalisation of all four gates together where `normed` (as Sonnet's has it)."""

    def __init__(self, inputs: int, hidden: int, normed: bool) -> None:
        super().__init__()
        self.gates = nn.Linear(inputs + hidden, 4 * hidden)
        nn.init.trunc_normal_(self.gates.weight, std=(inputs + hidden) ** -0.5)
        nn.init.zeros_(self.gates.bias)
        self.norm = nn.LayerNorm(4 * hidden) if normed else None

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """h and c [B, hidden] after x [B, inputs]."""
        gates = F.linear(torch.cat([x, h], 1), self.gates.weight)
        if self.norm is not None:
            gates = self.norm(gates)
        enter, new, forget, leave = (gates + self.gates.bias).chunk(4, 1)
        c = torch.sigmoid(forget + FORGET_BIAS) * c + torch.sigmoid(enter) * torch.tanh(new)
        return torch.sigmoid(leave) * torch.tanh(c), c


class Layers(nn.Module):
    """Cells one after the other. Each sees the input beside what the one before gives; the output is that of all."""

    def __init__(self, size: int, hidden: int, layers: int, normed: bool) -> None:
        super().__init__()
        self.cells = nn.ModuleList(Cell(size + (hidden if at else 0), hidden, normed) for at in range(layers))
        self.hidden = hidden

    def begin(self, n: int, like: Tensor) -> State:
        """h and c of all cells before the first input, [n, layers, hidden] each."""
        zeros = like.new_zeros(n, len(self.cells), self.hidden)
        return zeros, zeros

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The output [B, layers * hidden] for x [B, size], and the state after it."""
        given, hs, cs = x, [], []
        for place, cell in enumerate(self.cells):
            h, c = cell(given, state[0][:, place], state[1][:, place])
            given = torch.cat([x, h], 1)
            hs.append(h)
            cs.append(c)
        return torch.cat(hs, 1), (torch.stack(hs, 1), torch.stack(cs, 1))


class Generator(Autoregressive):
    """ScratchGAN's: the table of embeddings is the last layer as well, through projections of its own.

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        bos: id before the first token.
        eos: id that ends a sentence; null where all are of full length.
        codec: of the data, which says what its ids mean.
        classes: classes of sentences; 0 for none. Each has an embedding, added to the projected input.
        embedding: numbers of each token's embedding that are learnt from scratch.
        vectors: a file of word vectors that stand beside these, as GloVe or fastText write them; null for none.
        trained_vectors: whether those of the file are trained as well, as the published code does.
        hidden: size of each LSTM layer.
        layers: LSTM layers.
        layer_norm: whether the cells' gates are normalised.
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
        codec: CodecSizes,
        classes: int = 0,
        embedding: int = 64,
        vectors: str | None = None,
        trained_vectors: bool = True,
        hidden: int = 512,
        layers: int = 2,
        layer_norm: bool = False,
        relax: Relax = "none",
        beta: float = 1.0,
    ) -> None:
        super().__init__(vocabulary, length, bos, eos, classes=classes, prompt_length=0, relax=relax, beta=beta)
        _check_sizes(hidden, layers)
        self.table = WordTable(codec.vocabulary, embedding, vectors, trained_vectors)
        self.input = nn.Linear(self.table.size, hidden, bias=False)
        self.cls = nn.Embedding(classes, hidden) if classes else None
        self.layers = Layers(hidden, hidden, layers, layer_norm)
        # With one layer the output's projection is the input's.
        self.output = nn.Linear(layers * hidden, self.table.size, bias=False) if layers > 1 else None
        self.bias = nn.Parameter(torch.zeros(self.written))

    def begin(self, n: int, cond: Tensor | None) -> State:
        state = self.layers.begin(n, self.bias)
        return state if self.cls is None else (*state, self.cls(cond))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        table = self.table()
        h, c, *cls = state
        out, (h, c) = self.layers(sum(cls, self.input(table[tokens])), (h, c))
        return self._written(out, table), (h, c, *cls)

    def logits(self, tokens: Tensor, cond: Tensor | None = None) -> Tensor:
        table, found = self.table(), []
        h, c, *cls = self.begin(len(tokens), cond)
        state: State = (h, c)
        for x in self.input(table[self.before(tokens)]).unbind(1):
            out, state = self.layers(sum(cls, x), state)
            found.append(out)
        return self._written(torch.stack(found, 1), table)

    def _written(self, out: Tensor, table: Tensor) -> Tensor:
        projected = out @ self.input.weight if self.output is None else self.output(out)
        return F.linear(projected, table[self.first :], self.bias)


class Discriminator(nn.Module):
    """ScratchGAN's: judges token ids [B, T], or rows of the vocabulary [B, T, V]: logits [B, T].

    Dropout is of the table's entries: the same ones for a whole batch.

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        codec: of the data, which says what its ids mean.
        classes: classes of sentences; 0 for none.
        embedding: numbers of each token's embedding that are learnt from scratch; 8 features of the position join them.
        vectors: a file of word vectors that stand beside these, as GloVe or fastText write them; null for none.
        trained_vectors: whether those of the file are trained as well, as the published code does.
        hidden: size of the LSTM layer.
        layer_norm: whether the cell's gates are normalised.
        dropout: share of the table's entries dropped in training, in [0, 1).
    """

    positions: Tensor

    def __init__(
        self,
        *,
        vocabulary: int,
        length: int,
        codec: CodecSizes,
        classes: int = 0,
        embedding: int = 64,
        vectors: str | None = None,
        trained_vectors: bool = True,
        hidden: int = 512,
        layer_norm: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        _check_sizes(hidden, 1)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {dropout}")
        self.table = WordTable(codec.vocabulary, embedding, vectors, trained_vectors)
        assert len(self.table.own) == vocabulary
        self.dropout, self.input = nn.Dropout(dropout), nn.Linear(self.table.size + POSITIONS, hidden)
        self.layers, self.out = Layers(hidden, hidden, 1, layer_norm), nn.Linear(hidden, 1)
        self.cls = nn.Embedding(classes, hidden) if classes else None
        self.register_buffer("positions", position_waves(length), persistent=False)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        table = self.dropout(self.table())
        found = x @ table if x.is_floating_point() else table[x]
        places = self.positions.to(found).expand(len(found), -1, -1)
        state, features = self.layers.begin(len(found), found), []
        for column in self.input(torch.cat([found, places], 2)).unbind(1):
            out, state = self.layers(column, state)
            features.append(out)
        seen = torch.stack(features, 1)
        logits: Tensor = self.out(seen).squeeze(2)
        return logits if self.cls is None else logits + (self.cls(cond)[:, None] * seen).sum(2)


def _check_sizes(hidden: int, layers: int) -> None:
    if hidden < 1 or layers < 1:
        raise ValueError(f"hidden and layers must be at least 1, not {hidden} and {layers}")


def position_waves(length: int) -> Tensor:
    """cos(pi (t / period + shift)) with periods from 2 to `length`, evenly spaced in their logarithm, and shifts from 0
    to 2, [T, 8]."""
    periods = torch.logspace(0, 1, POSITIONS, base=max(2, length) / 2) * 2
    shifts = torch.linspace(0, 2, POSITIONS)
    return torch.cos(torch.pi * (torch.arange(length)[:, None] / periods + shifts))
