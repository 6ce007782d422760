"""What D says of a sentence while it is being written: the rewards of text GANs that learn by policy gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.contracts import Batch, Nets, Term, watch
from gan_dist.networks.text.autoregressive import draw_tokens

Judge = Callable[[Tensor, Tensor | None], Tensor]
JudgeEndings = Callable[[Tensor, Tensor, Tensor | None], Tensor]
ROWS_ON_CPU, JUDGED_ON_CPU = 128, 512  # more at a time are slower there
STATES = 2**30  # bytes of states of endings that are written at a time
ENDINGS_TOKENS = 2**24  # of endings that are judged together, where a lane of sentences has no more: 0.2 GiB


@contextmanager
def in_eval_mode(module: nn.Module) -> Iterator[None]:
    """The module without dropout."""
    before = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(before)


@torch.no_grad()
def complete_prefixes(
    policy: Any, tokens: Tensor, cond: Tensor | None, uniforms: Tensor, most: int | None = None
) -> Tensor:
    """Every beginning of each sentence, written to its end several times: ids [B, T - 1, R, T].

    Place g - 1 holds the beginning of g tokens. Endings are written `most` at a time, whatever the batch and the length
    are, for what the policy keeps of each may be large. Their beginnings' states come from one pass over the given
    tokens, and all that are written together advance together.

    Args:
        policy: an autoregressive generator.
        tokens: sentences, ids [B, T].
        cond: classes [B], prompts [B, P], or None.
        uniforms: numbers in [0, 1), [B, T - 1, R, T].
        most: endings at a time, though no less than the R of one beginning; None for all.
    """
    batch, length = tokens.shape
    copies = uniforms.shape[2]
    found = tokens[:, None, None, :].repeat(1, length - 1, copies, 1)
    most = found[..., 0].numel() if most is None else most
    sentences = min(batch, max(1, most // copies))
    beginnings = max(1, most // (sentences * copies))
    for start in range(0, batch, sentences):
        part = slice(start, start + sentences)
        _complete(policy, None if cond is None else cond[part], uniforms[part], found[part], beginnings)
    return found


def _complete(policy: Any, cond: Tensor | None, uniforms: Tensor, found: Tensor, beginnings: int) -> None:
    """Writes beginnings in `found` [b, T - 1, R, T], which holds whole sentences, to their ends, so many at a time."""
    tokens = found[:, 0, 0].clone()
    begun = policy.begin_sampling(len(tokens), cond)
    _, known = policy.step_sampling(torch.full_like(tokens[:, 0], policy.bos), begun, 0)
    over = torch.zeros_like(tokens[:, 0], dtype=torch.bool)
    for first in range(1, tokens.shape[1], beginnings):
        lengths = range(first, min(first + beginnings, tokens.shape[1]))
        known, over = _write_on(policy, tokens, (known, over), lengths, uniforms=uniforms, found=found)


def _write_on(
    policy: Any,
    tokens: Tensor,
    before: tuple[tuple[Tensor, ...], Tensor],
    lengths: range,
    *,
    uniforms: Tensor,
    found: Tensor,
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Writes the beginnings of these lengths into their places of `found`. A beginning joins those before it when they
    have as many tokens.

    Args:
        before: the state before the last token of the first beginning, and which sentences are over there.

    Returns:
        The same before the last token of the beginning that follows.
    """
    known, over_here = before
    batch, copies = len(tokens), uniforms.shape[2]
    rows: Tensor = tokens.new_empty(0)
    over = torch.zeros(0, dtype=torch.bool, device=tokens.device)
    state: tuple[Tensor, ...] = ()
    for g in range(lengths.start, tokens.shape[1]):
        if g in lengths:
            last = tokens[:, g - 1]
            _, over_here = policy.ended(last, over_here)
            joining = [part.repeat_interleave(copies, 0) for part in known]
            state = tuple(map(torch.cat, zip(state, joining, strict=True))) if len(rows) else tuple(joining)
            rows = torch.cat([rows, last.repeat_interleave(copies)])
            over = torch.cat([over, over_here.repeat_interleave(copies)])
            _, known = policy.step_sampling(last, known, g)  # which may write into what was joined as a copy
        here = slice(lengths.start - 1, min(g, lengths[-1]))
        numbers = uniforms[:, here, :, g].transpose(0, 1).reshape(-1)
        logits, state = policy.step_sampling(rows, state, g)
        rows, over = policy.ended(policy.first + draw_tokens(logits, numbers), over)
        found[:, here, :, g] = rows.view(-1, batch, copies).transpose(0, 1)
    return known, over_here


def endings_at_a_time(policy: Any, cond: Tensor | None, length: int, device: torch.device) -> int:
    """How many endings `complete_prefixes` may write at a time: on a CPU so many that their logits stay in its cache,
    and anywhere no more than there is room for in STATES bytes."""
    fitting = max(1, STATES // bytes_of_a_row(policy, cond, length, device))
    return min(fitting, ROWS_ON_CPU) if device.type == "cpu" else fitting


@torch.no_grad()
def bytes_of_a_row(policy: Any, cond: Tensor | None, length: int, device: torch.device) -> int:
    """What a policy keeps of a sentence of so many tokens while it writes: the state of a step, which may grow with
    each, and its ids.

    Args:
        cond: a class or a prompt, or several of which the first is taken.
    """
    state, sizes = policy.begin(1, None if cond is None else cond[:1]), []
    for _ in range(2):
        _, state = policy.step(torch.zeros(1, dtype=torch.int64, device=device), state)
        sizes.append(sum(part.nbytes for part in state))
    return int(sizes[0] + (sizes[1] - sizes[0]) * (length - 1) + 8 * length)


@torch.no_grad()
def rollout_rewards(
    judge: Judge,
    policy: Any,
    tokens: Tensor,
    cond: Tensor | None,
    uniforms: Tensor,
    endings: JudgeEndings | None = None,
    most: int | None = None,
) -> Tensor:
    """D's mean answer to the completions of each beginning, and to the whole sentence at its last token, [B, T].

    Args:
        judge: answers [n] to sentences [n, T] of classes [n].
        policy, tokens, cond, uniforms, most: of `complete_prefixes`.
        endings: answers [B, T - 1, R] to sentences [B, T] as they were completed; `judge` does it where there is none.
    """
    written = complete_prefixes(policy, tokens, cond, uniforms, most)
    batch, begun, copies, length = written.shape
    if endings is None:
        classes = None if cond is None else cond.repeat_interleave(begun * copies, 0)
        answers = judge(written.reshape(-1, length), classes).view(batch, begun, copies)
    else:
        answers = endings(tokens, written, cond)
    return torch.cat([answers.mean(2), judge(tokens, cond)[:, None]], 1)


def tokens_to_judge(nets: Nets, batch: Batch) -> dict[str, Term]:
    """D's binary cross-entropy at each token of real and generated sentences, divided by the longest length.

    Raises:
        ValueError: D gives no logit for each token.
    """
    assert batch.real is not None
    generator: Any = nets.G.module
    real, fake = batch.discriminate(nets, "real").logits, batch.discriminate(nets, "fakes").logits
    here, there = generator.mask(batch.real), generator.mask(batch.fakes)
    if real.shape != here.shape:
        raise ValueError(f"a D with logits for each token [B, T] is wanted, not {list(real.shape)}; use textlstm")
    loss = (F.softplus(-real) * here).sum() + (F.softplus(fake) * there).sum()
    return {
        "adversarial": Term(loss / real.shape[1], float(batch.n)),
        "real_logits": watch(real, here),
        "fake_logits": watch(fake, there),
    }


def logged_mean(means: dict[str, Tensor], name: str) -> Tensor:
    """What `after_step` is told of a term."""
    return next(value for key, value in means.items() if key.rpartition("/")[2] == name)


def discount_rewards(rewards: Tensor, gamma: float) -> Tensor:
    """R_t = r_t + gamma R_(t+1) of rewards [B, T]."""
    total = torch.zeros_like(rewards[:, 0])
    found = []
    for column in rewards.flip(1).unbind(1):
        total = column + gamma * total
        found.append(total)
    return torch.stack(found[::-1], 1)
