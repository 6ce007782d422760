"""Which kind of component something is, for `gan_dist.testing`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from torch import nn

from gan_dist.errors import UsageError
from gan_dist.registry import lookup
from gan_dist.spec.problems import suggestion

Component = Literal["generator", "discriminator", "objective", "penalty", "augment"]
Other = Literal["optimizer", "dataset"]
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
    if hasattr(factory, "draw"):
        return "generator"
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
        "(step, load_state_dict) nor dataset (__len__, __getitem__)"
    )


def _is_network(factory: Any) -> bool:
    return inspect.isclass(factory) and issubclass(factory, nn.Module)


def _changes_images(factory: Any) -> bool:
    """Whether a class is called with images and random numbers."""
    named = "forward" if _is_network(factory) else "__call__"
    own = next((vars(base)[named] for base in getattr(factory, "__mro__", ()) if named in vars(base)), None)
    return own is not None and list(inspect.signature(own).parameters)[2:3] == ["rng"]
