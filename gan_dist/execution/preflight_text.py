"""What cannot work between objectives and networks of text, said before the workers start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from gan_dist.data.facts import DataFacts, TextFacts
from gan_dist.registry.lookup import resolve_target
from gan_dist.registry.signatures import read_constant
from gan_dist.spec.job import JobSpec
from gan_dist.training.stages import Stage

PASSES = 4  # rows of the vocabulary that a step holds at once: real, generated, and the gradients of both
GIB = 2**30


def text_problems(
    spec: JobSpec, facts: DataFacts, stages: list[Stage], networks: Mapping[str, nn.Module], made: Tensor
) -> Iterator[str]:
    """Every such problem of a job.

    Args:
        made: what the generator gives in training, ids [B, T] or rows of the vocabulary [B, T, V].
    """
    relaxed = made.is_floating_point()
    if not hasattr(networks["generator"], "log_prob"):
        for metric in spec.metrics:
            if (
                read_constant(resolve_target("metric", metric.use), "needs", [spec.environment.code or "."])
                == "generator"
            ):
                yield f"metrics: {metric.use} needs a generator with log_prob, as lstm has it; remove it"
    for stage in stages:
        if isinstance(facts, TextFacts) and not relaxed:
            yield from _differentiating(stage)
        for weighted in stage.objectives:
            own = {phase.name for phase in weighted.objective.phases}
            trains_through = any("generator" in phase.train for phase in stage.phases if phase.name in own)
            for_text = getattr(weighted.objective, "modality", "image") == "text"
            if for_text and not isinstance(facts, TextFacts):
                yield f"objective: {weighted.label} is for text, but the data are {facts.described}"
            elif relaxed and getattr(weighted.objective, "from_tokens", False):
                yield (
                    f"objective: {weighted.label} learns from token ids, but the generator gives rows of the "
                    "vocabulary; set generator.relax: none"
                )
            elif isinstance(facts, TextFacts) and not for_text and trains_through and not relaxed:
                yield (
                    f"objective: {weighted.label} trains the generator through its samples, but token ids carry no "
                    "gradient; set generator.relax to gumbel or straight_through, or use seqgan or scratchgan"
                )
            if isinstance(facts, TextFacts) and for_text:
                yield from _logits_of_each_token(weighted.label, weighted.objective, networks, facts)
    if isinstance(facts, TextFacts) and relaxed:
        yield from _too_large(spec, facts)


def _differentiating(stage: Stage) -> Iterator[str]:
    """Penalties that want a gradient by samples, where these are token ids."""
    for lazy in stage.penalties:
        if getattr(lazy.penalty, "second_order", True):
            yield (
                f"penalties: {lazy.label} differentiates by samples, but {stage.name} works on token ids; remove it, "
                "or relax the generator and use an adversarial objective"
            )


def _logits_of_each_token(
    label: str, objective: Any, networks: Mapping[str, nn.Module], facts: TextFacts
) -> Iterator[str]:
    """Objectives that want a logit for each token, and a D that gives another number."""
    wants = getattr(objective, "per_token", False) or getattr(objective, "reward", "") == "dense"
    if not wants or "discriminator" not in networks:
        return
    cond = torch.zeros(1, dtype=torch.int64, device="meta") if facts.classes else None
    tokens = torch.zeros(1, facts.codec.length, dtype=torch.int64, device="meta")
    shape = tuple(networks["discriminator"](tokens, cond).shape)
    if shape != tuple(tokens.shape):
        yield (
            f"objective: {label} wants a discriminator with a logit for each token [B, {facts.codec.length}], not "
            f"[B{''.join(f', {size}' for size in shape[1:])}]; use textlstm"
        )


def _too_large(spec: JobSpec, facts: TextFacts) -> Iterator[str]:
    rows = facts.codec.length * len(facts.codec.vocabulary) * 4 * PASSES
    held, room = spec.batch * rows, psutil.virtual_memory().total
    if spec.micro_batch == "auto" and held > room:
        yield (
            f"data.vocabulary: {len(facts.codec.vocabulary):,} tokens at each of {facts.codec.length} places for a "
            f"batch of {spec.batch} are {held / GIB:.0f} GiB of relaxed samples, more than this machine's "
            f"{room / GIB:.0f}; raise data.min_count, set micro_batch, or use seqgan or scratchgan, which need none"
        )
