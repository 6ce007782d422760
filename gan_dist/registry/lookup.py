"""The only rule from a name in a job to an object: a shipped alias, or your own `package.module:Name`.

Checking reads source and imports nothing; only `build_component` runs a component's code.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_dist.errors import UsageError
from gan_dist.registry.aliases import ALIASES, Kind
from gan_dist.registry.argument_types import explain_mismatch
from gan_dist.registry.live import is_live
from gan_dist.registry.network_checks import check_networks
from gan_dist.registry.section_checks import check_data, check_optimizers
from gan_dist.registry.signatures import Param, Signature, read_constant, read_signature
from gan_dist.registry.slots import ComponentSlot, attribute_of, component_slots, resolve_target
from gan_dist.runs.code import origin_of
from gan_dist.spec.check import Origins, problem_at
from gan_dist.spec.data import WITHOUT_CLASSES, Modality
from gan_dist.spec.image_size import Size, SizeRule, parse_size, show_size, sides
from gan_dist.spec.job import JobSpec
from gan_dist.spec.problems import Keys, Problem, unknown_key
from gan_dist.spec.schedules import Schedule
from gan_dist.spec.sections import as_argument

__all__ = [
    "ALIASES",
    "PROVIDED",
    "Kind",
    "Param",
    "Signature",
    "build_component",
    "check_arguments",
    "check_job",
    "component_slots",
    "resolve_target",
]

Roots = Sequence[str | Path]
NETWORKS = ("generator", "discriminator", "network")
ABOUT_DISCRIMINATORS = ("objective", "penalty", "augment")


def signature(target: str, roots: Roots = ()) -> Signature:
    """What `module:Name` takes, from its source. Raises ValueError when it is not there."""
    return read_signature(target, roots)


def check_arguments(kind: Kind, use: str, args: Mapping[str, Any], roots: Roots = ()) -> list[tuple[str, str]]:
    """(argument, message) for all that is wrong with a component's arguments; "use" where its name is."""
    try:
        takes = signature(resolve_target(kind, use), roots)
    except ValueError as error:
        return [("use", f"{error}{_new_place(kind, use)}")]
    given = {param.name for param in takes.params} - PROVIDED[kind].keys()
    params = {param.name: param for param in takes.params}
    found = []
    for key, value in args.items():
        if message := _wrong_argument(key, value, params, kind, sorted(given), takes.open):
            found.append((key, message))
    needed = [param for param in takes.params if param.required and param.name in given and param.name not in args]
    return found + [(param.name, _missing(param, use)) for param in needed]


def _new_place(kind: Kind, use: str) -> str:
    """Where a shipped component stands that a job names by an older path, for a message."""
    module, _, name = use.partition(":")
    if not module.startswith("gan_dist."):
        return ""
    stem = module.rpartition(".")[2]
    found = {alias: target for alias, target in ALIASES[kind].items() if target.endswith(f":{name}")}
    found = {
        alias: target for alias, target in found.items() if stem in (alias, target.split(":")[0].rpartition(".")[2])
    } or found
    if len(set(found.values())) != 1:
        return ""
    alias, target = next(iter(found.items()))
    return f"; it is {target!r} now, or {alias!r} for short"


def check_job(job: JobSpec | Mapping[str, Any], origins: Origins | None = None, roots: Roots = ()) -> list[Problem]:
    """Every problem with the components of a job, which may be plain values that have other faults too."""
    tree = job.model_dump() if isinstance(job, JobSpec) else job
    found: list[tuple[Keys, str]] = [
        ((*slot.keys, key), text) for slot in component_slots(tree) for key, text in _check(slot, tree, roots)
    ]
    found += [*_check_opponent(tree, roots), *_check_classes(tree, roots), *_check_sizes(tree, roots)]
    found += check_networks(tree, roots)
    found += [*check_optimizers(tree, roots), *check_data(tree, roots)]
    return [problem_at(origins or {}, keys, message) for keys, message in found]


def build_component(
    kind: Kind, use: str, args: Mapping[str, Any], provided: Mapping[str, Any], roots: Roots = ()
) -> Any:
    """Imports and constructs a component.

    Args:
        kind: which kind of component it is.
        use: its alias or `module:Name`.
        args: its arguments; of a schedule it gets the first value.
        provided: what the data supplies; passed as far as the component takes it.
        roots: folders with a user's own modules.

    Raises:
        ValueError: the component refuses its arguments; its message after the kind and name.
    """
    factory = load_object(resolve_target(kind, use), roots)
    if not is_live(use):
        check_class(kind, use, factory)
    # torch's own constructor says that it takes anything, and refuses it.
    bare = getattr(getattr(factory, "__init__", None), "__module__", "") == "torch.nn.modules.module"
    takes = {} if bare else inspect.signature(factory).parameters
    takes_all = any(param.kind is param.VAR_KEYWORD for param in takes.values())
    supplied = {key: value for key, value in provided.items() if takes_all or key in takes}
    if isinstance(size := supplied.get("size"), tuple) and not hasattr(factory, "sizes"):
        raise UsageError(f"data.size: {_no_square(kind, use, size)}")
    values = {key: value.values[0] if isinstance(value, Schedule) else value for key, value in args.items()}
    try:
        return factory(**supplied, **values)
    except ValueError as error:
        raise UsageError(f"{kind} '{use}': {error}") from error
    except (TypeError, ArithmeticError, RuntimeError) as error:
        if use not in ALIASES[kind]:
            raise  # a person's own, who wants the traceback
        # Of ours the job's arguments were checked one by one; together they may still be more than torch can build.
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{kind} '{use}': cannot be built with these arguments: {told}") from error


def check_class(kind: Kind, use: str, found: Any) -> None:
    """Whether what a name stands for may be called at all.

    Raises:
        UsageError: a network is no class of `nn.Module`, or another component no class and no function of Python.
    """
    shown = f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
    if kind in NETWORKS:
        from torch import nn

        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise UsageError(f"{kind} '{use}': is {shown}, and no class of torch.nn.Module")
    elif not (isinstance(found, type) or inspect.isfunction(found)):
        raise UsageError(f"{kind} '{use}': is {shown}, and no class")


def add_import_roots(roots: Roots) -> None:
    """Let Python find a user's own modules in these folders."""
    for root in (Path(os.path.realpath(root)) for root in roots):
        # Code that was kept with a run stands before the folder that it was made of.
        for place in (origin_of(root), root):
            if place is not None and str(place) not in sys.path:
                sys.path.insert(0, str(place))


def load_object(target: str, roots: Roots = ()) -> Any:
    """The object behind `module:Name`; folders with a user's own modules are searched first."""
    add_import_roots(roots)
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _check(slot: ComponentSlot, tree: Mapping[str, Any], roots: Roots) -> Iterator[tuple[str, str]]:
    use = slot.written["use"]
    wrong = check_arguments(slot.kind, use, slot.args, roots)
    yield from wrong
    if slot.kind not in ("generator", "discriminator") or "use" in dict(wrong):
        return
    data = tree.get("data")
    written: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    takes = signature(resolve_target(slot.kind, use), roots)
    names = {param.name for param in takes.params}
    if written.get("labels", "none") != "none" and not takes.open and "classes" not in names:
        yield "use", f"'{use}' takes no 'classes', so it cannot learn labels; set data.labels to none"
    if written.get("prompt") is not None and not takes.open and "prompt_length" not in names:
        yield "use", f"'{use}' takes no 'prompt_length', so it knows no prompts; remove data.prompt"
    says = attribute_of(slot, "modalities", roots)
    modality, fit = written.get("modality", "image"), says or modalities_of(takes, slot.kind)
    if modality in tuple(PLURAL) and modality not in fit:
        yield "use", f"'{use}' is made for {PLURAL[fit[0]]}, but data.modality is {modality}"


def _wrong_argument(
    key: str, value: Any, params: Mapping[str, Param], kind: Kind, given: list[str], is_open: bool
) -> str | None:
    if key in PROVIDED[kind]:
        return f"comes from the data, not from here; set {PROVIDED[kind][key]} and remove this key"
    if key not in params:
        return None if is_open else unknown_key(key, given)
    try:
        return explain_mismatch(params[key].annotation, as_argument(value))
    except ValueError as error:
        return str(error)


def _missing(param: Param, use: str) -> str:
    meaning = f": {param.doc}" if param.doc else ""
    return f"'{use}' needs this argument{meaning}"


def _check_opponent(tree: Mapping[str, Any], roots: Roots) -> Iterator[tuple[Keys, str]]:
    """Objectives, penalties and augmentations need a discriminator, unless their class says `needs_discriminator =
    False`; one of a user's own only where its class says True."""
    if tree.get("discriminator") is not None:
        return
    for slot in component_slots(tree):
        use = slot.written["use"]
        if slot.kind not in ABOUT_DISCRIMINATORS or attribute_of(slot, "needs_discriminator", roots) is False:
            continue
        if use in ALIASES[slot.kind] or attribute_of(slot, "needs_discriminator", roots):
            yield ("discriminator",), f"required, but missing; {slot.kind} '{use}' is about one"
            return


def _check_classes(tree: Mapping[str, Any], roots: Roots) -> Iterator[tuple[Keys, str]]:
    """Components whose class says `needs_classes = True`, where samples have none."""
    data = tree.get("data")
    labels = data.get("labels", "none") if isinstance(data, Mapping) else "none"
    if labels not in WITHOUT_CLASSES:
        return
    for slot in component_slots(tree):
        if attribute_of(slot, "needs_classes", roots):
            yield (*slot.keys, "use"), f"'{slot.written['use']}' is about classes, but data.labels is {labels}"


def _check_sizes(tree: Mapping[str, Any], roots: Roots) -> Iterator[tuple[Keys, str]]:
    """Components that cannot be built for images of `data.size`. The class of those that take height and width says
    `sizes`, a mapping as `SizeRule` has it; others take squares alone, and check them when they are built."""
    data = tree.get("data")
    written: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    if written.get("encode") is not None:
        return  # networks are built for the maps, whose size the codec says
    try:
        size = parse_size(written.get("size"))
    except ValueError:
        return
    for slot in component_slots(tree):
        try:
            text = _wrong_size(slot.kind, slot.written["use"], size, roots)
        except ValueError as error:
            yield (*slot.keys, "use"), str(error)
            continue
        if text:
            others = _that_take(slot.kind, size, written.get("modality", "image"))
            yield ("data", "size"), f"{text}{f'; or use {others}' if others else ''}"


def _wrong_size(kind: Kind, use: str, size: Size, roots: Roots) -> str:
    """Why a component cannot be built for images of a size; empty where it can, or only running its code could tell.

    Raises:
        ValueError: what its class says of sizes is none of their rules.
    """
    try:
        target = resolve_target(kind, use)
        takes, says = signature(target, roots), read_constant(target, "sizes", roots)
    except ValueError:
        return ""  # which is told at its name
    if "size" not in PROVIDED[kind] or all(param.name != "size" for param in takes.params):
        return ""
    if says is None:
        return _no_square(kind, use, size) if isinstance(size, tuple) else ""
    rule = SizeRule.of(says)
    if rule.takes(size):
        return ""
    return f"{show_size(size)}, but {kind} '{use}' takes {rule}; {show_size(rule.nearest(size))} is nearest"


def _no_square(kind: Kind, use: str, size: Size) -> str:
    return (
        f"{show_size(size)} is no square, and {kind} '{use}' takes squares alone, as its class says no `sizes`; "
        f"{min(sides(size))} is one"
    )


def _that_take(kind: Kind, size: Size, modality: Modality) -> str:
    """The shipped components of a kind that can be built for images of a size."""
    found = [
        alias
        for alias, target in ALIASES[kind].items()
        if any(param.name == "size" for param in signature(target).params)
        and modality in modalities_of(signature(target), kind)
        and not _wrong_size(kind, alias, size, ())
    ]
    return ", ".join(found)


# Argument names that the data decides, and the key of `data` that decides them.
_INPUT = "input_channels"
_OF_IMAGES = {"size": "data.size", "channels": "data.channels", _INPUT: "data.channels"}
_OF_TEXT = {"vocabulary": "data.vocabulary", "length": "data.length", "bos": "data.tokens", "eos": "data.tokens"}
_OF_TEXT |= {"codec": "data.tokens", "prompt_length": "data.prompt_length"}
_BY_THE_DATA = {**_OF_IMAGES, **_OF_TEXT, "classes": "data.labels"}
PROVIDED: dict[Kind, dict[str, str]] = {
    kind: {} if kind in ("objective", "penalty", "augment") else _BY_THE_DATA for kind in ALIASES
}
PROVIDED["metric"] = {"codec": "data.tokens", "held_out": "data.test", "oracle": "data.source"}
PROVIDED["metric"] |= {"class_counts": "data.labels"}
PROVIDED["tracker"] = {"run": "name"}


PLURAL: dict[Modality, str] = {
    "image": "images",
    "pair": "pairs of images",
    "unpaired": "unpaired images",
    "text": "text",
}


def modalities_of(takes: Signature, kind: Kind) -> tuple[Modality, ...]:
    """What kinds of data a network can be built for, by what it must be told of them."""
    needs = {param.name for param in takes.params if param.required}
    # Where no picture has a partner, G is told of what it is given, and D judges pictures alone.
    alone: tuple[Modality, ...] = ("unpaired",) if kind == "discriminator" else ()
    beside: tuple[Modality, ...] = ("pair",) if kind == "discriminator" else ("pair", "unpaired")
    if needs & _OF_TEXT.keys():
        return ("text",)
    if needs & {_INPUT}:
        return beside
    if needs & _OF_IMAGES.keys():
        takes_input = takes.open or any(param.name == _INPUT for param in takes.params)
        return ("image", *beside, *alone) if takes_input else ("image", *alone)
    return ("image", "pair", "unpaired", "text")
