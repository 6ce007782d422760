"""What text generators that write token by token share: sampling, relaxing, and the probability of given text.

A generator supplies `begin` and `step`; its state is a tuple of tensors with the batch first. Token ids: where
sentences end (`eos` is a number) 0 is `<pad>` and 1 is `<bos>`, which are never written.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.distributed.randomness import Rng

State = tuple[Tensor, ...]
Noise = dict[str, Tensor]
Relax = Literal["none", "gumbel", "straight_through"]
RELAXED = ("none", "gumbel", "straight_through")
PAD, BOS = 0, 1
NEVER_WRITTEN = 2
BLOCK = 64
RECORDED = {"forward": ("beta",), "log_prob": (), "scored": ()}  # `Recorder`


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are drawn outside training.

    Attributes:
        temperature: divides the logits, > 0.
        top_k: only the k likeliest tokens are drawn; None for all.
        top_p: only the likeliest tokens that make up this probability are drawn, in (0, 1].
        min_p: only tokens are drawn that have at least this share of the likeliest one's probability, in [0, 1]
            (Nguyen et al. 2024, arXiv 2407.01082); 0 for all.
        prefix: ids that every sentence begins with.
        never: ids that are not drawn at all.

    Raises:
        ValueError: a number is out of its range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    prefix: tuple[int, ...] = ()
    never: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature must be more than 0, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], not {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p must be in [0, 1], not {self.min_p}")

    def narrowed(self, logits: Tensor, first: int = 0) -> Tensor:
        """Logits [n, K] of the ids from `first` on at this temperature, those that are not drawn at minus infinity."""
        logits = logits / self.temperature
        if self.never:
            places = torch.tensor([token - first for token in self.never], device=logits.device)
            logits = logits.index_fill(1, places, -torch.inf)
        if self.top_k is not None:
            least = logits.topk(min(self.top_k, logits.shape[1]), dim=1).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if self.top_p < 1:
            ordered, places = logits.sort(1, descending=True)
            p = torch.softmax(ordered, 1)
            before = p.cumsum(1) - p
            dropped = torch.zeros_like(logits, dtype=torch.bool).scatter(1, places, before >= self.top_p)
            logits = logits.masked_fill(dropped, -torch.inf)
        if self.min_p > 0:
            least = logits.amax(1, keepdim=True) + math.log(self.min_p)
            logits = logits.masked_fill(logits < least, -torch.inf)
        return logits


class Autoregressive(nn.Module):
    """Writes sentences of at most `length` tokens, [B, T].

    In training with `relax`, what it makes are rows of the vocabulary [B, T, V] that a discriminator's gradient passes
    through: softmax(beta (log p + Gumbel noise)) (Jang et al. 2017, arXiv 1611.01144; Nie et al. 2019), or with
    `straight_through` the one-hot of its largest entry with that gradient. The next token is always the largest entry.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        bos: int,
        eos: int | None,
        *,
        classes: int,
        prompt_length: int,
        relax: Relax,
        beta: float,
    ) -> None:
        super().__init__()
        if relax not in RELAXED:
            raise ValueError(f"relax must be one of {', '.join(RELAXED)}, not {relax!r}")
        if beta <= 0:
            raise ValueError(f"beta must be more than 0, not {beta}")
        self.vocabulary, self.length, self.bos, self.eos, self.classes = vocabulary, length, bos, eos, classes
        if prompt_length and classes:
            raise ValueError(f"sentences are of a class or follow a prompt; there are {classes} classes and prompts")
        self.prompt_length = prompt_length
        self.relax, self.beta, self.drawing = relax, beta, SamplingOptions()
        self.first = 0 if eos is None else NEVER_WRITTEN

    @property
    def written(self) -> int:
        """How many different tokens can be written; the logits of a step are of the ids from `first` on."""
        return self.vocabulary - self.first

    @abstractmethod
    def begin(self, n: int, cond: Tensor | None) -> State:
        """The state before the first token of n sentences; with classes, `cond` [n] is a part of it, and with prompts
        [n, P] what they say is. Their padding, on the left, changes nothing."""

    @abstractmethod
    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits [n, written] of the token after `tokens` [n], and the state after it."""

    def after_prompt(self, cond: Tensor | None, state: State, step: Callable[[Tensor, State], State]) -> State:
        """The state after the tokens of prompts [n, P], for a network whose state does not grow.

        Args:
            cond: the prompts.
            state: before them.
            step: the state after a token [n].
        """
        assert cond is not None, "the network was built for prompts"
        for column in cond.unbind(1):
            there, after = column != PAD, step(column, state)
            state = tuple(
                torch.where(there.view(-1, *(1,) * (old.ndim - 1)), new, old)
                for new, old in zip(after, state, strict=True)
            )
        return state

    def begin_sampling(self, n: int, cond: Tensor | None) -> State:
        """`begin` for sentences whose places are written one after the other; of one that branches, copies go on."""
        return self.begin(n, cond)

    def step_sampling(self, tokens: Tensor, state: State, place: int) -> tuple[Tensor, State]:
        """`step` at a place of such sentences; it may write into the state."""
        return self.step(tokens, state)

    def draw(self, n: int, rng: Rng) -> Noise:
        if self.training and self.relax != "none":
            return {"gumbel": rng.uniform(self.length, self.written)}
        return {"uniform": rng.uniform(self.length)}

    def forward(self, noise: Noise, cond: Tensor | None = None) -> Tensor:
        """Token ids [B, T], or, in training with `relax`, [B, T, V]."""
        if "gumbel" in noise:
            return self.relaxed(noise["gumbel"], cond)
        return self.sample(noise["uniform"], cond, SamplingOptions() if self.training else self.drawing)

    @torch.no_grad()
    def sample(self, uniforms: Tensor, cond: Tensor | None = None, drawing: SamplingOptions | None = None) -> Tensor:
        """Token ids [B, T] drawn by inverting the cumulative probability, with numbers [B, T] in [0, 1)."""
        state, drawing = self.begin_sampling(len(uniforms), cond), drawing or SamplingOptions()
        tokens = torch.full((len(uniforms),), self.bos, device=uniforms.device)
        over = torch.zeros_like(tokens, dtype=torch.bool)
        found = []
        for place, column in enumerate(_places_of(uniforms)):
            logits, state = self.step_sampling(tokens, state, place)
            if place < len(drawing.prefix):
                tokens = torch.full_like(tokens, drawing.prefix[place])
            else:
                tokens = self.first + draw_tokens(drawing.narrowed(logits, self.first), column)
            tokens, over = self.ended(tokens, over)
            found.append(tokens)
        return _side_by_side(found, uniforms)

    def relaxed(self, uniforms: Tensor, cond: Tensor | None = None) -> Tensor:
        """Rows of the vocabulary [B, T, V] from numbers [B, T, written] in [0, 1); rows after the end are `<pad>`."""
        state = self.begin(len(uniforms), cond)
        tokens = torch.full((len(uniforms),), self.bos, device=uniforms.device)
        over = torch.zeros_like(tokens, dtype=torch.bool)
        wide, found = torch.promote_types(uniforms.dtype, torch.float32), []
        for noise in _places_of(gumbel_noise(uniforms.to(wide))):
            logits, state = self.step(tokens, state)
            # Logits are log p but for a constant of each row, which softmax does not see.
            soft = torch.softmax(self.beta * (logits + noise), 1)
            tokens, over = self.ended(self.first + soft.argmax(1), was_over := over)
            row = F.pad(soft, (self.first, 0))
            if self.relax == "straight_through":
                row = one_hot_tokens(tokens, self.vocabulary, wide) + row - row.detach()
            if self.eos is not None:
                row = torch.where(was_over[:, None], one_hot_tokens(tokens, self.vocabulary, wide), row)
            found.append(row)
        return _side_by_side(found, uniforms)

    def before(self, tokens: Tensor) -> Tensor:
        """The token before each of these [B, T]."""
        return torch.cat([torch.full_like(tokens[:, :1], self.bos), tokens[:, :-1]], 1)

    def logits(self, tokens: Tensor, cond: Tensor | None = None) -> Tensor:
        """Logits [B, T, written] of each token after those before it."""
        state, found = self.begin(len(tokens), cond), []
        for column in _places_of(self.before(tokens)):
            made, state = self.step(column, state)
            found.append(made)
        return _side_by_side(found, tokens)

    def log_prob(self, tokens: Tensor, cond: Tensor | None = None) -> Tensor:
        """log p of each token after those before it, [B, T]; 0 after the end. Outside training, at the temperature that
        tokens are drawn at."""
        logits = self.logits(tokens, cond)
        return self._given(logits if self.training else logits / self.drawing.temperature, tokens)

    def scored(self, tokens: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`log_prob` as samples are drawn, without dropout, and the entropy (nats) of what could have stood there,
        both [B, T]."""
        log_p = self.distributions(tokens, cond)
        return self.of_tokens(log_p, tokens), -(log_p.exp() * log_p).sum(2)

    def distributions(self, tokens: Tensor, cond: Tensor | None = None) -> Tensor:
        """log p of every token that could stand at each place, without dropout, [B, T, written]."""
        with eval_mode_of(self):
            logits = self.logits(tokens, cond)
        return torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), 2)

    def of_tokens(self, log_p: Tensor, tokens: Tensor) -> Tensor:
        """What `distributions` [B, T, written] say of these tokens, [B, T]; 0 after the end."""
        return log_p.gather(2, self._places(tokens)[:, :, None]).squeeze(2) * self.mask(tokens)

    def _given(self, logits: Tensor, tokens: Tensor) -> Tensor:
        wide = torch.promote_types(logits.dtype, torch.float32)
        places = self._places(tokens).flatten()
        log_p = -F.cross_entropy(logits.flatten(0, 1).to(wide), places, reduction="none")
        return log_p.view_as(tokens) * self.mask(tokens)

    def _places(self, tokens: Tensor) -> Tensor:
        """Where each token stands in the logits; padding, which is masked, at 0."""
        return (tokens - self.first).clamp_min(0)

    def mask(self, tokens: Tensor) -> Tensor:
        """1 for the tokens of each sentence and its end, 0 after that, [B, T]."""
        return sentence_mask(tokens, self.eos)

    def ended(self, tokens: Tensor, over: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens, `<pad>` in sentences that are over; and which are over after them."""
        if self.eos is None:
            return tokens, over
        return tokens.masked_fill(over, 0), over | (tokens == self.eos)


def _places_of(rows: Tensor) -> Sequence[Tensor]:
    """The places of sentences [B, T, ...], one after the other. On the meta device, where a step costs a hundred times
    as much and only shapes count, two stand for all."""
    return rows[:, :2].unbind(1) if rows.is_meta else rows.unbind(1)


def _side_by_side(found: list[Tensor], rows: Tensor) -> Tensor:
    """What was found at `_places_of(rows)`, [B, T, ...]."""
    return torch.stack([*found, *found[-1:] * (rows.shape[1] - len(found))], 1)


@contextmanager
def eval_mode_of(module: nn.Module) -> Iterator[None]:
    """Nothing is dropped inside; all else stays in training mode, which recurrent layers want for a gradient."""
    dropping = [one for one in module.modules() if isinstance(one, nn.Dropout) and one.training]
    for one in dropping:
        one.eval()
    try:
        yield
    finally:
        for one in dropping:
            one.train()


def sentence_mask(tokens: Tensor, eos: int | None) -> Tensor:
    """1 up to and with the end of each sentence, 0 after it, for ids [B, T]."""
    if eos is None:
        return torch.ones_like(tokens, dtype=torch.float32)
    ends = (tokens == eos).long()
    return (ends.cumsum(1) == ends).float()


def draw_tokens(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Places [n] drawn from logits [n, K] by numbers [n] in [0, 1)."""
    wide = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
    # Sums of blocks are quick, and a cumulative sum is not: one over the blocks, and one inside the block found.
    blocks = -(-wide.shape[1] // BLOCK)
    missing = blocks * BLOCK - wide.shape[1]
    p = F.pad(wide - wide.amax(1, keepdim=True), (0, missing), value=-torch.inf).exp_()
    sums = p.view(len(wide), blocks, BLOCK).sum(2)
    cumulative = sums.cumsum(1)
    sought = _below(uniforms.to(wide.dtype)[:, None] * cumulative[:, -1:], cumulative)
    # Of a generator that has diverged (NaN) any place is as good: the loss says so, and the run ends there.
    block = torch.searchsorted(cumulative, sought, right=True).clamp_max(blocks - 1)
    inside = p.gather(1, block * BLOCK + torch.arange(BLOCK, device=p.device)).cumsum(1)
    rest = (sought - (cumulative - sums).gather(1, block)).clamp_min(0)
    place = torch.searchsorted(inside, _below(rest, inside), right=True)
    return (block * BLOCK + place).squeeze(1).clamp_max(wide.shape[1] - 1)


def _below(sought: Tensor, cumulative: Tensor) -> Tensor:
    """Numbers [n, 1] less than the last of each row [n, K]: rounding may make them that, and what comes after the last
    likely token may not be drawn."""
    last = cumulative[:, -1:]
    return torch.minimum(sought, torch.nextafter(last, torch.zeros_like(last)))


def gumbel_noise(uniforms: Tensor) -> Tensor:
    """Gumbel noise from numbers in [0, 1), in at least float32."""
    tiny = torch.finfo(uniforms.dtype).tiny
    return uniforms.clamp_min(tiny).log_().neg_().log_().neg_()


def one_hot_tokens(tokens: Tensor, vocabulary: int, dtype: torch.dtype) -> Tensor:
    """Rows [..., V] of a vocabulary for ids [...]."""
    return F.one_hot(tokens, vocabulary).to(dtype)


def embed_after_prompt(x: Tensor, prompt: Tensor | None, embedding: nn.Embedding) -> Tensor:
    """Embeddings of a prompt [B, P], of the `<bos>` that ends it, and of what was written after it: [B, P + 1 + T, E];
    without a prompt as `embed_tokens`."""
    found = embed_tokens(x, embedding)
    return found if prompt is None else torch.cat([embedding(ended_prompt(prompt)).to(found), found], 1)


def ended_prompt(prompt: Tensor) -> Tensor:
    """Prompts [B, P] and `<bos>` after each, [B, P + 1]."""
    return F.pad(prompt, (0, 1), value=BOS)


def embed_tokens(x: Tensor, embedding: nn.Embedding) -> Tensor:
    """Embeddings [B, T, E] of token ids [B, T], or of rows of the vocabulary [B, T, V]."""
    return x @ embedding.weight if x.is_floating_point() else embedding(x)
