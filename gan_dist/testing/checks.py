"""Checks of a person's own network, objective, penalty, augmentation, optimiser, data set or autoencoder: what would go
wrong, in one call."""

from __future__ import annotations

import copy
import inspect
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from gan_dist.contracts import Nets, Term
from gan_dist.data.source import One
from gan_dist.data.sources.own_datasets import content_of, item_of, own_data_set
from gan_dist.distributed.randomness import Rng, single_lane_rng
from gan_dist.errors import DataError, UnreadableSample, UsageError
from gan_dist.generation.latent_codec import built_codec, map_problem
from gan_dist.registry import lookup, section_checks
from gan_dist.spec.data import Modality
from gan_dist.spec.image_size import Size
from gan_dist.spec.problems import suggestion
from gan_dist.spec.sections import OptimizerSettings, OptimizerSpec
from gan_dist.testing.bench import (
    CLASSES,
    CPU,
    FORMS,
    SIZE,
    N,
    bench_samples,
    component_modality,
    conditions,
    data_arguments,
    differentiable,
    make_bench,
    sample_shape,
    sizes_to_try,
)
from gan_dist.testing.first_iterations import (
    Trial,
    iteration_problems,
    trial_of_augmentation,
    trial_of_discriminator,
    trial_of_generator,
    trial_of_objective,
    trial_of_penalty,
)
from gan_dist.testing.source_lines import located, raised
from gan_dist.training.optimizers import OtherOptimizer, unserializable_leaves


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
    """Find everything wrong with a component; the list is empty when nothing is.

    It is tried on the CPU with 4 samples of 32x32 RGB, and of 32x48 where its class says `sizes`, or sentences of 6
    tokens, with and without classes where it takes them. What passes is trained for two iterations: alone, stopped and
    resumed between them, and on two workers. Each problem of a person's own class ends with file and line.
    """
    kind, roots = kind or guess_kind(use, tuple(roots)), tuple(roots)
    lookup.add_import_roots(roots)
    if kind == "optimizer" or kind == "dataset" or kind == "autoencoder":
        checks, trial = _other_checks(kind)
        found = _told(checks(use, args, roots)) or _attempt(use, partial(trial, use, args))
        return [located(text, "generator", use, roots) for text in found]
    found = _told(lookup.check_arguments(kind, use, args, roots))
    found = found or list(dict.fromkeys(_component_problems(kind, use, roots, args)))
    return [located(text, kind, use, roots) for text in found]


def _other_checks(kind: Other) -> tuple[Callable[..., list[tuple[str, str]]], Callable[..., Iterable[str]]]:
    """What checks the arguments of a component that no iteration is tried with, and what tries it alone."""
    if kind == "optimizer":
        return section_checks.check_optimizer_arguments, optimizer_trial
    if kind == "dataset":
        return section_checks.check_data_arguments, dataset_trial
    return partial(lookup.check_arguments, "network"), autoencoder_trial


def _component_problems(kind: Component, use: str, roots: tuple[str | Path, ...], args: dict[str, Any]) -> list[str]:
    """What is wrong with single calls of a component, else with its first two iterations."""
    modality = component_modality(kind, use, roots)
    if kind == "generator" or kind == "discriminator":
        try:
            sizes = sizes_to_try(kind, use, roots)
        except ValueError as error:
            return [str(error)]
        found: list[str] = []
        counts = _class_counts(use, kind, roots)
        for size, classes in product(sizes, counts):
            tried = partial(_call_network, kind, use, roots, args, modality, size=size, classes=classes)
            found += _attempt(use, tried)
        # Training takes longest: once, and with classes if the network takes them.
        train = partial(_train_network, kind, use, roots, args, modality, size=sizes[0], classes=counts[-1])
        return found or _attempt(use, train)
    return _attempt(use, lambda: _part_problems(kind, use, roots, args, modality))


def _part_problems(
    kind: Component, use: str, roots: tuple[str | Path, ...], args: dict[str, Any], modality: Modality
) -> Iterable[str]:
    """The same of an objective, a penalty or an augmentation."""
    part, own = _make(kind, use, args, roots), {"use": use, **args}
    if kind == "augment":
        single = augmentation_problems(part, _at_zero(use, args, roots))
        return _in_turn(kind, single, trial_of_augmentation(own))
    if kind == "penalty":
        return _in_turn(kind, _try_penalty(part, modality), trial_of_penalty(own, modality))
    tried_on = getattr(part, "tried_on", None)
    trial = trial_of_objective(own, modality, getattr(part, "logits_per_token", False), tried_on)
    return _in_turn(kind, _try_objective(part, modality), trial)


Network = Literal["generator", "discriminator"]


def _call_network(
    kind: Network,
    use: str,
    roots: tuple[str | Path, ...],
    args: dict[str, Any],
    modality: Modality,
    *,
    size: Size,
    classes: int,
) -> Iterable[str]:
    network = _make(kind, use, args, roots, classes, size)
    single = _try_generator if kind == "generator" else _try_discriminator
    return single(network, modality, classes, size)


def _train_network(
    kind: Network,
    use: str,
    roots: tuple[str | Path, ...],
    args: dict[str, Any],
    modality: Modality,
    *,
    size: Size,
    classes: int,
) -> Iterable[str]:
    own = {"use": use, **args}
    if kind == "discriminator":
        return iteration_problems(kind, trial_of_discriminator(own, modality, classes, size))
    network = _make(kind, use, args, roots, classes, size)
    by_likelihood = hasattr(network, "log_prob")
    if by_likelihood and not hasattr(network, "mask"):
        return ()  # no shipped objective can train it
    return iteration_problems(kind, trial_of_generator(own, modality, classes, size, by_likelihood))


def _in_turn(kind: Component, single: Iterable[str], trial: Trial) -> Iterator[str]:
    """The problems of single calls; where there are none, those of two iterations."""
    sound = True
    for text in single:
        sound = False
        yield text
    if sound:
        yield from iteration_problems(kind, trial)


def _at_zero(use: str, args: dict[str, Any], roots: Iterable[str | Path]) -> Any:
    """An augmentation with p = 0, or None where it takes none."""
    takes = lookup.signature(lookup.resolve_target("augment", use), tuple(roots)).params
    return _make("augment", use, {**args, "p": 0.0}, roots) if any(param.name == "p" for param in takes) else None


def _told(wrong: list[tuple[str, str]]) -> list[str]:
    return [f"{key}: {text}" for key, text in wrong]


def _attempt(use: str, trial: Callable[[], Iterable[str]]) -> list[str]:
    """The problems that a trial finds, until something of it raises, which is the last of them."""
    found: list[str] = []
    try:
        for text in trial():
            found.append(text)
    except Exception as error:
        found.append(raised(error, use, lambda: list(trial())))
    return found


def _try_generator(generator: Any, modality: Modality, classes: int, size: Size) -> Iterable[str]:
    cond = conditions(modality, classes, size)
    if not hasattr(generator, "draw"):
        yield "draw: there is none; a generator draws its own noise by draw(n, rng), one row for each sample"
        return
    first = generator.draw(N, single_lane_rng(("check",), N, CPU))
    again = generator.draw(N, single_lane_rng(("check",), N, CPU))
    if not _same(first, again):
        yield "draw: two calls with the same rng differ; draw all numbers from `rng`, not from torch's generator"
    made = generator(first, cond)
    if not isinstance(made, Tensor):
        yield f"forward: gives a {type(made).__name__}, not a tensor"
        return
    want = sample_shape(modality, size)
    if tuple(made.shape[: len(want)]) != want:
        yield f"forward: gives {tuple(made.shape)} for {N} samples; wanted {want} {FORMS[modality]}"
    if hasattr(generator, "log_prob"):
        yield from _gradient_problems(generator, generator.log_prob(bench_samples(modality, size), cond).sum())
    elif made.is_floating_point():
        yield from _gradient_problems(generator, made.sum())
    else:
        yield "forward: token ids carry no gradient, and there is no log_prob(tokens, cond) to train by"
    yield from _state_problems(generator)


def _try_discriminator(discriminator: Any, modality: Modality, classes: int, size: Size) -> Iterable[str]:
    cond = conditions(modality, classes, size)
    x = differentiable(modality, size)
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
        per_token, tried_on = getattr(objective, "logits_per_token", False), getattr(objective, "tried_on", None)
        nets, batch = make_bench(modality, phase.train, phase.real, per_token, tried_on)
        yield from _term_problems(phase.name, objective.terms(phase.name, nets, batch), nets, phase.train)


def _try_penalty(penalty: Any, modality: Modality) -> Iterable[str]:
    phase = getattr(penalty, "phase", None)
    if phase not in ("D", "G"):
        yield f"phase: {phase!r}; the phase it is added to, such as 'D'"
        return
    train = ("discriminator",) if phase == "D" else ("generator",)
    nets, batch = make_bench(modality, train, real=True)
    changes = hasattr(penalty, "prepare")
    if changes:
        penalty.prepare(nets, batch)
    terms = penalty.terms(nets, batch)
    if changes and isinstance(terms, dict) and terms and all(getattr(one, "watch", False) for one in terms.values()):
        return  # what it does is in the batch
    yield from _term_problems(phase, terms, nets, train)


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


def _make(
    kind: Component, use: str, args: dict[str, Any], roots: Iterable[str | Path], classes: int = 0, size: Size = SIZE
) -> Any:
    torch.manual_seed(0)
    provided = data_arguments(component_modality(kind, use, roots), classes, size)
    return lookup.build_component(kind, use, args, provided, tuple(roots))


def _same(first: Any, again: Any) -> bool:
    if isinstance(first, Tensor):
        return torch.equal(first, again)
    pairs = (
        zip(first.values(), again.values(), strict=True) if isinstance(first, dict) else zip(first, again, strict=True)
    )
    return all(_same(one, other) for one, other in pairs)


Component = Literal["generator", "discriminator", "objective", "penalty", "augment"]
Other = Literal["optimizer", "dataset", "autoencoder"]
Kind = Component | Other
KINDS: tuple[Component, ...] = get_args(Component)
OTHERS: tuple[Other, ...] = get_args(Other)


def parse_kind(name: str) -> Kind:
    """A kind by its name.

    Raises:
        ValueError: there is no such kind.
    """
    known: tuple[Kind, ...] = (*KINDS, *OTHERS)
    for kind in known:
        if name == kind:
            return kind
    raise UsageError(f"kind: {name!r}{suggestion(name, known)}")


def guess_kind(use: str, roots: Iterable[str | Path] = (".",)) -> Kind:
    """What a component is, by its methods.

    Raises:
        ValueError: it looks like none of the kinds.
    """
    for kind in KINDS:
        if use in lookup.ALIASES[kind]:
            return kind
    if ":" not in use:
        aliases = sorted({alias for kind in KINDS for alias in lookup.ALIASES[kind]})
        raise UsageError(f"unknown component {use!r}{suggestion(use, aliases)}, or your own as 'package.module:Name'")
    target = lookup.resolve_target("generator", use)
    lookup.signature(target, tuple(roots))
    factory = lookup.load_object(target, tuple(roots))
    if hasattr(factory, "step") and hasattr(factory, "load_state_dict") and not _is_network(factory):
        return "optimizer"
    if hasattr(factory, "draw") or _takes_noise(factory):
        return "generator"
    if hasattr(factory, "encode") and hasattr(factory, "decode"):
        return "autoencoder"
    if _changes_images(factory):
        return "augment"
    if hasattr(factory, "terms"):
        return "objective" if "phase" in inspect.signature(factory.terms).parameters else "penalty"
    if hasattr(factory, "forward") or _is_network(factory):
        return "discriminator"
    if hasattr(factory, "__getitem__") and hasattr(factory, "__len__"):
        return "dataset"
    raise UsageError(
        f"{use}: is neither generator (draw, forward), discriminator (forward), objective (phases, "
        "terms(phase, nets, batch)), penalty (phase, terms(nets, batch)), augmentation (__call__(x, rng)), optimizer "
        "(step, load_state_dict), dataset (__len__, __getitem__) nor autoencoder (encode, decode)"
    )


def _is_network(factory: Any) -> bool:
    return inspect.isclass(factory) and issubclass(factory, nn.Module)


def _takes_noise(factory: Any) -> bool:
    """Whether a network without `draw` is meant as a generator: by its name, or by what its forward is given."""
    if not _is_network(factory):
        return False
    given = list(inspect.signature(factory.forward).parameters)[1:2]
    return "generator" in factory.__name__.lower() or given in (["noise"], ["z"], ["latent"], ["latents"])


def _changes_images(factory: Any) -> bool:
    """Whether a class is called with images and random numbers."""
    named = "forward" if _is_network(factory) else "__call__"
    own = next((vars(base)[named] for base in getattr(factory, "__mro__", ()) if named in vars(base)), None)
    return own is not None and list(inspect.signature(own).parameters)[2:3] == ["rng"]


def autoencoder_trial(use: str, args: Mapping[str, Any]) -> Iterable[str]:
    """What is wrong with an autoencoder for `data.encode`.

    Args:
        use: its `package.module:Name`, which Python finds.
        args: its arguments, as in the job.
    """
    try:
        network: Any = built_codec({"use": use, "arguments": args}, SIZE, 3).eval()
    except DataError as error:
        yield str(error).removeprefix("data.encode: ")
        return
    x = bench_samples("image")
    with torch.no_grad():
        known = network.encode(x)
        if wrong := map_problem(known, x):
            yield f"encode: {wrong}"
            return
        if not torch.equal(known, network.encode(x)):
            yield "encode: two calls with the same images differ; what is drawn is drawn by the loop, from its map"
        back = network.decode(known.chunk(2, 1)[0])
    if back.shape != x.shape:
        yield f"decode: makes {list(back.shape)} of the map of images {list(x.shape)}; it must bring their shape back"


def dataset_trial(use: str, args: Mapping[str, Any]) -> Iterable[str]:
    """What is wrong with a data set.

    Args:
        use: its `package.module:Name`, which Python finds.
        args: its arguments, as in the job.
    """
    try:
        found = own_data_set(use, args)
    except DataError as error:
        yield str(error).removeprefix("data.source: ")
        return
    labelled = set()
    for place in dict.fromkeys((0, len(found) - 1)):
        sample, label = item_of(found, place, use)
        content = content_of(sample)
        if isinstance(content, UnreadableSample):
            yield f"__getitem__: item {place}: {content}"
            continue
        labelled.add(label is not None)
        again, other = item_of(found, place, use)
        if not _dataset_same(content, content_of(again)) or label != other:
            yield f"__getitem__: item {place} is another one when it is read again; draw no random numbers"
    if len(labelled) > 1:
        yield "__getitem__: the first and the last item differ in whether they have a label"


def _dataset_same(one: One | str, other: One | str) -> bool:
    if isinstance(one, str | UnreadableSample) or isinstance(other, str | UnreadableSample):
        return one == other
    return np.array_equal(np.asarray(one), np.asarray(other))


LARGEST = 16.0


def augmentation_problems(augment: Any, at_zero: Any | None) -> Iterable[str]:
    """What is wrong with an augmentation.

    Args:
        augment: built as the job would.
        at_zero: the same with p = 0, where it takes one.
    """
    x = bench_samples("image")
    changed = augment(x.clone(), _rng())
    if not isinstance(changed, Tensor) or changed.shape != x.shape:
        shape = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        yield f"__call__: gives {shape} for images {tuple(x.shape)} [B, C, H, W]; it must keep the shape"
        return
    for dtype in (torch.float32, torch.float64):
        if (made := augment(x.to(dtype), _rng(dtype)).dtype) != dtype:
            yield f"__call__: gives {made} for images of {dtype}; it must keep the type"
    if not changed.isfinite().all() or changed.abs().max() > LARGEST:
        yield f"__call__: gives values up to {changed.abs().max():.3g} for images in [-1, 1]; D could not see these"
    if not torch.equal(changed, augment(x.clone(), _rng())):
        yield "__call__: two calls with the same rng differ; draw all numbers from `rng`, not from torch's generator"
    yield from _touched(augment, x)
    yield from _coupled(augment, x, changed)
    yield from _slopes(augment, x)
    if at_zero is not None and not torch.allclose(at_zero(x.clone(), _rng()), x, atol=1e-5):
        yield "p: at 0 images are changed; it must be the probability of a change"
    yield from _watched(augment)


def _rng(dtype: torch.dtype = torch.float32) -> Rng:
    return single_lane_rng(("check", "augment"), N, CPU, dtype)


def _touched(augment: Any, x: Tensor) -> Iterable[str]:
    given = x.clone()
    augment(given, _rng())
    if not torch.equal(given, x):
        yield "__call__: changes the images in place; others still need them as they were"


def _coupled(augment: Any, x: Tensor, changed: Tensor) -> Iterable[str]:
    """Workers have parts of a batch each, so that a sample must not depend on the others."""
    other = torch.cat([x[:-1], -x[-1:]])
    if not torch.allclose(augment(other, _rng())[:-1], changed[:-1], atol=1e-6):
        yield "__call__: what becomes of an image depends on the others of its batch"


def _slopes(augment: Any, x: Tensor) -> Iterable[str]:
    x = x.clone().requires_grad_()
    made = augment(x, _rng())
    if not made.requires_grad:
        yield "__call__: what it gives carries no gradient of the images, so that G could not learn through it"
        return
    # The square has a second derivative also where the augmentation itself is linear.
    try:
        (slope,) = torch.autograd.grad(made.square().sum(), x, create_graph=True)
        slope.square().sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        yield f"__call__: cannot be differentiated twice, so gradient penalties will not work ({error})"


def _watched(augment: Any) -> Iterable[str]:
    if not hasattr(augment, "terms"):
        if hasattr(augment, "after_step"):
            yield "after_step: there is no terms(nets, batch) whose means it could be given"
        return
    nets, batch = make_bench("image", ("discriminator",), real=True)
    terms: Any = augment.terms(Nets(nets.by_name), batch)
    if not isinstance(terms, dict):
        yield f"terms: gives {type(terms).__name__}; wanted a dict of named Terms"
        return
    for name, term in terms.items():
        if not isinstance(term, Term) or not term.watch:
            yield f"terms: {name} is no number to watch; use watch(values)"


STEPS = 3


def optimizer_trial(use: str, args: dict[str, Any]) -> Iterable[str]:
    """What is wrong with an optimiser.

    Args:
        use: its `package.module:Name`, which Python finds.
        args: its arguments, as in the job.
    """
    settings = OptimizerSpec.model_validate({"use": use, **args}).settings("generator")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    before, world = copy.deepcopy(net.state_dict()), _world()
    try:
        optimizer = _entered(settings, net)
    except UsageError as error:
        yield str(error)
        return
    _train(net, optimizer)
    for name, now in _world().items():
        was = world[name]
        if not (torch.equal(was, now) if isinstance(was, Tensor) else was == now):
            yield f"step: changes {name}"
    after = net.state_dict()
    if not all(value.isfinite().all() for value in after.values()):
        yield f"step: weights are not finite after {STEPS} steps"
    if all(torch.equal(before[name], value) for name, value in after.items()):
        yield f"step: no weight has moved after {STEPS} steps"
    yield from _resumed(settings, net, optimizer)


def _resumed(settings: OptimizerSettings, net: nn.Module, optimizer: OtherOptimizer) -> Iterable[str]:
    """Whether one that goes on from a stored state makes the steps of one that was never stored."""
    state = optimizer.optimizer.state_dict()
    found = list(unserializable_leaves(state))
    for place, value in found:
        yield f"state_dict: keeps a {type(value).__name__} at {place}; give tensors and plain values"
    if found:
        return
    stored = io.BytesIO()
    torch.save(state, stored)
    stored.seek(0)
    again = copy.deepcopy(net)
    restored = _entered(settings, again)
    restored.load_state_dict(torch.load(stored, weights_only=True))
    _train(net, optimizer)
    _train(again, restored)
    pairs = zip(net.parameters(), again.parameters(), strict=True)
    if not all(torch.equal(one, other) for one, other in pairs):
        yield "load_state_dict: the steps after it are others than without it; all it depends on must be in state_dict"


def _entered(settings: OptimizerSettings, net: nn.Module) -> OtherOptimizer:
    optimizer = OtherOptimizer(settings, list(net.parameters()))
    optimizer.enter(settings, 1.0)
    optimizer.drive(1e-2, {})
    return optimizer


def _train(net: nn.Module, optimizer: OtherOptimizer) -> None:
    numbers = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        net(torch.randn(8, 3, 3, 3, generator=numbers)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def _world() -> dict[str, Any]:
    """What all of a process shares."""
    return {
        "torch's random numbers": torch.get_rng_state(),
        "torch's default type": torch.get_default_dtype(),
        "whether gradients are recorded": torch.is_grad_enabled(),
    }
