"""An LSTM language model as generator, as in SeqGAN (Yu et al. 2017, arXiv 1609.05473) and ScratchGAN."""

from __future__ import annotations

from torch import Tensor, nn

from gan_dist.networks.text.autoregressive import RECORDED, Autoregressive, Relax, State


class Generator(Autoregressive):
    """Token embedding, LSTM layers, and one linear layer over the vocabulary.

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        bos: id before the first token.
        eos: id that ends a sentence; null where all are of full length.
        classes: classes of sentences; 0 for none.
        prompt_length: most tokens of a prompt that a sentence follows; 0 where there are none.
        embedding: size of token embeddings.
        hidden: size of each LSTM layer.
        layers: LSTM layers.
        dropout: share of embeddings and outputs dropped while given text is learnt, in [0, 1); sampling drops none.
        std: standard deviation of all weights at the start; null for torch's own.
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
        hidden: int = 32,
        layers: int = 1,
        dropout: float = 0.0,
        std: float | None = None,
        relax: Relax = "none",
        beta: float = 1.0,
    ) -> None:
        super().__init__(
            vocabulary, length, bos, eos, classes=classes, prompt_length=prompt_length, relax=relax, beta=beta
        )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {dropout}")
        self.tokens = nn.Embedding(vocabulary, embedding)
        self.cls = nn.Embedding(classes, embedding) if classes else None
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, self.written)
        self.dropout = nn.Dropout(dropout)
        if std is not None:
            for parameter in self.parameters():
                nn.init.normal_(parameter, 0.0, std)

    def begin(self, n: int, cond: Tensor | None) -> State:
        zeros = self.out.weight.new_zeros(n, self.lstm.num_layers, self.lstm.hidden_size)
        if self.prompt_length:
            return self.after_prompt(cond, (zeros, zeros), lambda tokens, state: self._advanced(tokens, state)[1])
        return (zeros, zeros) if self.cls is None else (zeros, zeros, self.cls(cond))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        out, state = self._advanced(tokens, state)
        return self.out(out), state

    def _advanced(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """What the last layer gives after `tokens` [n], [n, hidden], and the state."""
        h, c, *cls = state
        inputs = sum(cls, self.tokens(tokens))
        out, (h, c) = self.lstm(inputs[:, None], (h.transpose(0, 1).contiguous(), c.transpose(0, 1).contiguous()))
        return out[:, 0], (h.transpose(0, 1), c.transpose(0, 1), *cls)

    def logits(self, tokens: Tensor, cond: Tensor | None = None) -> Tensor:
        before = self.before(tokens)
        inputs = self.tokens(before)
        if self.cls is not None:
            inputs = inputs + self.cls(cond)[:, None]
        state = None
        if self.prompt_length:
            h, c = self.begin(len(tokens), cond)
            state = (h.transpose(0, 1).contiguous(), c.transpose(0, 1).contiguous())
        out, _ = self.lstm(self.dropout(inputs), state)
        logits: Tensor = self.out(self.dropout(out))
        return logits
