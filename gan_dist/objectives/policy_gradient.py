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
def complete_prefixes(policy: Any, tokens: Tensor, cond: Tensor | None, uniforms: Tensor) -> Tensor:
    """Every beginning of each sentence, written to its end several times: ids [B, T - 1, R, T].

    Place g - 1 holds the beginning of g tokens. The states of all beginnings come from one pass over the given tokens;
    from then on all copies advance together, so that 2 T steps are made in all.

    Args:
        policy: an autoregressive generator.
        tokens: sentences, ids [B, T].
        cond: classes [B], prompts [B, P], or None.
        uniforms: numbers in [0, 1), [B, T - 1, R, T].
    """
    batch, length = tokens.shape
    copies = uniforms.shape[2]
    found = tokens[:, None, None, :].repeat(1, length - 1, copies, 1)
    _, known = policy.step(torch.full_like(tokens[:, 0], policy.bos), policy.begin(batch, cond))
    rows: Tensor = tokens.new_empty(0)
    over = torch.zeros(0, dtype=torch.bool, device=tokens.device)
    over_here = torch.zeros_like(tokens[:, 0], dtype=torch.bool)
    state: tuple[Tensor, ...] = ()
    for g in range(1, length):
        last = tokens[:, g - 1]
        _, over_here = policy.ended(last, over_here)
        joining = [part.repeat_interleave(copies, 0) for part in known]
        state = tuple(map(torch.cat, zip(state, joining, strict=True))) if state else tuple(joining)
        rows = torch.cat([rows, last.repeat_interleave(copies)])
        over = torch.cat([over, over_here.repeat_interleave(copies)])
        _, known = policy.step(last, known)
        numbers = uniforms[:, :g, :, g].transpose(0, 1).reshape(-1)
        rows, state = _written_on(policy, rows, state, numbers)
        rows, over = policy.ended(rows, over)
        found[:, :g, :, g] = rows.view(g, batch, copies).transpose(0, 1)
    return found


def _written_on(
    policy: Any, rows: Tensor, state: tuple[Tensor, ...], numbers: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The next token of each row and the state after it; on a CPU some rows at a time, whose logits over the vocabulary
    then stay in its cache."""
    most = ROWS_ON_CPU if rows.device.type == "cpu" else len(rows)
    tokens, states = [], []
    for start in range(0, len(rows), most):
        part = slice(start, start + most)
        logits, after = policy.step(rows[part], tuple(one[part] for one in state))
        tokens.append(policy.first + draw_tokens(logits, numbers[part]))
        states.append(after)
    return torch.cat(tokens), tuple(map(torch.cat, zip(*states, strict=True)))


@torch.no_grad()
def rollout_rewards(
    judge: Judge,
    policy: Any,
    tokens: Tensor,
    cond: Tensor | None,
    uniforms: Tensor,
    endings: JudgeEndings | None = None,
) -> Tensor:
    """D's mean answer to the completions of each beginning, and to the whole sentence at its last token, [B, T].

    Args:
        judge: answers [n] to sentences [n, T] of classes [n].
        policy, tokens, cond, uniforms: of `complete_prefixes`.
        endings: answers [B, T - 1, R] to sentences [B, T] as they were completed; `judge` does it where there is none.
    """
    written = complete_prefixes(policy, tokens, cond, uniforms)
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
