"""Checks of a person's own network, objective, penalty, augmentation, optimiser or data set: what would go wrong, in
one call."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.contracts import Nets, Term
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.errors import UsageError
from gan_dist.registry import lookup, optimizers, own_data
from gan_dist.spec.data import Modality
from gan_dist.testing.augment import augmentation_problems
from gan_dist.testing.bench import (
    CLASSES,
    CPU,
    FORMS,
    SHAPES,
    N,
    conditions,
    data_arguments,
    differentiable,
    make_bench,
    modality_of,
    real_samples,
)
from gan_dist.testing.dataset import dataset_trial
from gan_dist.testing.kinds import Component, Kind, guess_kind
from gan_dist.testing.optimizer import optimizer_trial


def check(use: str, kind: Kind | None = None, roots: Iterable[str | Path] = (".",), **args: Any) -> None:
    """Raise unless a component keeps its contract.

    Args:
        use: an alias or `package.module:Name`.
        kind: what it is to be; guessed from its methods when None.
        roots: folders with own modules.
        args: its arguments, as in the job.

    Raises:
        ValueError: with every problem found.
    """
    found = problems(use, kind, roots, **args)
    if found:
        raise UsageError(f"{use}: " + "; ".join(found))


def problems(use: str, kind: Kind | None = None, roots: Iterable[str | Path] = (".",), **args: Any) -> list[str]:
    """Everything wrong with a component, empty when nothing is. Tried on the CPU with 4 samples of 32x32 RGB, or
    sentences of 6 tokens, with and without classes where it takes them."""
    kind = kind or guess_kind(use, tuple(roots))
    if kind == "optimizer" or kind == "dataset":
        lookup.add_import_roots(tuple(roots))
        module, trial = (optimizers, optimizer_trial) if kind == "optimizer" else (own_data, dataset_trial)
        return _told(module.check_arguments(use, args, tuple(roots))) or _attempt(lambda: trial(use, args))
    found = _told(lookup.check_arguments(kind, use, args, tuple(roots)))
    if found:
        return found
    modality = modality_of(kind, use, roots)
    trials = {"generator": _try_generator, "discriminator": _try_discriminator}
    if kind in trials:
        for classes in _class_counts(use, kind, roots):
            found += _attempt(
                lambda classes=classes: trials[kind](_make(kind, use, args, roots, classes), classes, modality)
            )
        return list(dict.fromkeys(found))
    if kind == "augment":
        return _attempt(lambda: augmentation_problems(_make(kind, use, args, roots, 0), _at_zero(use, args, roots)))
    maker = _try_objective if kind == "objective" else _try_penalty
    return _attempt(lambda: maker(_make(kind, use, args, roots, 0), modality))


def _at_zero(use: str, args: dict[str, Any], roots: Iterable[str | Path]) -> Any:
    """An augmentation with p = 0, or None where it takes none."""
    takes = lookup.signature(lookup.resolve_target("augment", use), tuple(roots)).params
    return _make("augment", use, {**args, "p": 0.0}, roots, 0) if any(param.name == "p" for param in takes) else None


def _told(wrong: list[tuple[str, str]]) -> list[str]:
    return [f"{key}: {text}" for key, text in wrong]


def _attempt(trial: Any) -> list[str]:
    found: list[str] = []
    try:
        for text in trial():
            found.append(text)
    except Exception as error:
        found.append(f"raised {type(error).__name__}: {error}")
    return found


def _try_generator(generator: Any, classes: int, modality: Modality) -> Iterable[str]:
    cond = conditions(modality, classes)
    first = generator.draw(N, single_lane_rng(("check",), N, CPU))
    again = generator.draw(N, single_lane_rng(("check",), N, CPU))
    if not _same(first, again):
        yield "draw: two calls with the same rng differ; draw all numbers from `rng`, not from torch's generator"
    made = generator(first, cond)
    if not isinstance(made, Tensor):
        yield f"forward: gives a {type(made).__name__}, not a tensor"
        return
    want = SHAPES[modality]
    if tuple(made.shape[: len(want)]) != want:
        yield f"forward: gives {tuple(made.shape)} for {N} samples; wanted {want} {FORMS[modality]}"
    if hasattr(generator, "log_prob"):
        yield from _gradient_problems(generator, generator.log_prob(real_samples(modality), cond).sum())
    elif made.is_floating_point():
        yield from _gradient_problems(generator, made.sum())
    else:
        yield "forward: token ids carry no gradient, and there is no log_prob(tokens, cond) to train by"
    yield from _state_problems(generator)


def _try_discriminator(discriminator: Any, classes: int, modality: Modality) -> Iterable[str]:
    cond = conditions(modality, classes)
    x = differentiable(modality)
    logits = discriminator(x, cond)
    if not isinstance(logits, Tensor) or logits.ndim < 1 or logits.shape[0] != N:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        yield f"forward: gives {shape} for {N} samples; wanted logits [B] or [B, ...]"
        return
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True, allow_unused=True)
    if gradient is None:
        yield "forward: logits do not depend on the samples"
    else:
        try:
            gradient.square().sum().backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            yield f"forward: cannot be differentiated twice, so gradient penalties will not work ({error})"
    yield from _gradient_problems(discriminator, discriminator(x.detach(), cond).sum())
    yield from _state_problems(discriminator)


def _try_objective(objective: Any, modality: Modality) -> Iterable[str]:
    if not getattr(objective, "phases", ()):
        yield "phases: missing or empty; give rows such as Phase('D', ('discriminator',))"
        return
    for phase in dict.fromkeys(objective.phases):
        for name in phase.train:
            if name not in ("generator", "discriminator"):
                yield f"phases: {phase.name} trains {name!r}, which a job must supply under `networks`"
                return
        judges = getattr(objective, "needs_methods", {}).get("discriminator", ())
        nets, batch = make_bench(
            modality, phase.train, phase.real, getattr(objective, "logits_per_token", False), judges
        )
        yield from _term_problems(phase.name, objective.terms(phase.name, nets, batch), nets, phase.train)


def _try_penalty(penalty: Any, modality: Modality) -> Iterable[str]:
    phase = getattr(penalty, "phase", None)
    if phase not in ("D", "G"):
        yield f"phase: {phase!r}; the phase it is added to, such as 'D'"
        return
    train = ("discriminator",) if phase == "D" else ("generator",)
    nets, batch = make_bench(modality, train, real=True)
    yield from _term_problems(phase, penalty.terms(nets, batch), nets, train)


def _term_problems(phase: str, terms: Any, nets: Nets, train: tuple[str, ...]) -> Iterable[str]:
    if not isinstance(terms, dict) or not terms:
        yield f"terms({phase!r}): gives {type(terms).__name__}; wanted a dict of named Terms"
        return
    for name, term in terms.items():
        if not isinstance(term, Term):
            yield f"terms({phase!r}): {name} is a {type(term).__name__}, not a Term; use mean_over(values)"
            return
        if term.total.ndim != 0:
            yield f"terms({phase!r}): {name}.total has shape {tuple(term.total.shape)}; it must be a scalar sum"
            return
        if not torch.isfinite(term.total):
            yield f"terms({phase!r}): {name} is not finite on random samples"
        if term.weight is not None and term.weight <= 0:
            yield f"terms({phase!r}): {name}.weight is {term.weight}; it counts samples, or is None"
    losses = [term.total for term in terms.values() if not term.watch and term.total.requires_grad]
    if not losses:
        yield f"terms({phase!r}): no term has a gradient"
        return
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
    for name in train:
        if all(parameter.grad is None for parameter in nets[name].module.parameters()):
            yield f"terms({phase!r}): no gradient reaches the {name}, which this phase trains"


def _gradient_problems(module: nn.Module, loss: Tensor) -> Iterable[str]:
    parameters = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not parameters:
        yield "has no trainable parameters"
        return
    gradients = torch.autograd.grad(loss, [p for _, p in parameters], allow_unused=True)
    unused = [name for (name, _), g in zip(parameters, gradients, strict=True) if g is None]
    if unused:
        yield f"parameters that never get a gradient: {', '.join(unused[:5])}"


def _state_problems(module: nn.Module) -> Iterable[str]:
    plain = [name for name, value in vars(module).items() if isinstance(value, Tensor)]
    if plain:
        yield (
            f"tensors kept as plain attributes are neither saved nor moved to the device: {', '.join(plain)}; "
            "use register_buffer"
        )


def _class_counts(use: str, kind: Component, roots: Iterable[str | Path]) -> tuple[int, ...]:
    takes = lookup.signature(lookup.resolve_target(kind, use), tuple(roots))
    return (0, CLASSES) if takes.open or any(param.name == "classes" for param in takes.params) else (0,)


def _make(kind: Component, use: str, args: dict[str, Any], roots: Iterable[str | Path], classes: int) -> Any:
    torch.manual_seed(0)
    return lookup.build_component(kind, use, args, data_arguments(modality_of(kind, use, roots), classes), tuple(roots))


def _same(first: Any, again: Any) -> bool:
    if isinstance(first, Tensor):
        return torch.equal(first, again)
    pairs = (
        zip(first.values(), again.values(), strict=True) if isinstance(first, dict) else zip(first, again, strict=True)
    )
    return all(_same(one, other) for one, other in pairs)
