"""The components that a job names, in plain values which may have other faults, and what their classes say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gan_dist.errors import UsageError
from gan_dist.registry.aliases import ALIASES, Kind
from gan_dist.registry.signatures import has_member, read_constant
from gan_dist.spec.fields import is_own_name
from gan_dist.spec.problems import Keys, suggestion
from gan_dist.spec.sections import is_tensorboard

Roots = Sequence[str | Path]

# Keys of a component's mapping that are the job's, not its arguments.
_OWN_KEYS: dict[str, set[str]] = {
    "objective": {"use", "weight"},
    "penalty": {"use", "every"},
    "metric": {"use", "features", "samples"},
}


class ComponentSlot(NamedTuple):
    """A component as a job has it, in plain values."""

    kind: Kind
    keys: Keys
    written: Mapping[str, Any]

    @property
    def args(self) -> dict[str, Any]:
        """Its arguments, without the keys that are the job's own."""
        own = _OWN_KEYS.get(self.kind, {"use"})
        return {key: value for key, value in self.written.items() if key not in own}


def resolve_target(kind: Kind, use: str) -> str:
    """The `module:Name` behind a `use`. Raises ValueError for what is neither an alias nor of that form."""
    if use in ALIASES[kind]:
        return ALIASES[kind][use]
    if is_own_name(use):
        return use
    form = "or your own as 'package.module:Name'"
    raise UsageError(f"unknown {kind} '{use}'{suggestion(use, sorted(ALIASES[kind]))}, {form}")


def those_with(kind: Kind, name: str) -> str:
    """The shipped components of a kind whose class has a method or attribute, for a message: `a, b and c have`."""
    *others, last = [alias for alias, target in ALIASES[kind].items() if has_member(target, name)]
    return f"{', '.join(others)} and {last} have" if others else f"{last} has"


def component_slots(tree: Mapping[str, Any]) -> Iterator[ComponentSlot]:
    """Every component that a job names."""
    yield from _slot("generator", ("generator",), tree.get("generator"))
    yield from _slot("discriminator", ("discriminator",), tree.get("discriminator"))
    yield from _slot("augment", ("augment",), tree.get("augment"))
    data = tree.get("data")
    if isinstance(data, Mapping) and isinstance(data.get("encode"), Mapping):  # else a run or a folder
        yield from _slot("network", ("data", "encode"), data["encode"])
    networks = tree.get("networks")
    for name, written in networks.items() if isinstance(networks, Mapping) else ():
        yield from _slot("network", ("networks", name), written)
    for index, written in enumerate(_listed(tree.get("metrics"))):
        yield from _slot("metric", ("metrics", index), written)
        if isinstance(written, Mapping):
            yield from _slot("extractor", ("metrics", index, "features"), written.get("features"))
    for index, written in enumerate(_listed(tree.get("trackers"))):
        if not is_tensorboard(written):
            yield from _slot("tracker", ("trackers", index), written)
    yield from _terms((), tree)
    for index, stage in enumerate(_listed(tree.get("stages"))):
        if isinstance(stage, Mapping):
            yield from _terms(("stages", index), stage)


def _terms(keys: Keys, part: Mapping[str, Any]) -> Iterator[ComponentSlot]:
    objective = part.get("objective")
    lone = isinstance(objective, Mapping | str)
    for index, written in enumerate([objective] if lone else _listed(objective)):
        yield from _slot("objective", (*keys, "objective", index), written)
    for index, written in enumerate(_listed(part.get("penalties"))):
        yield from _slot("penalty", (*keys, "penalties", index), written)


def _slot(kind: Kind, keys: Keys, written: Any) -> Iterator[ComponentSlot]:
    mapping = {"use": written} if isinstance(written, str) else written
    if isinstance(mapping, Mapping) and isinstance(mapping.get("use"), str):
        yield ComponentSlot(kind, keys, mapping)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def attribute_of(slot: ComponentSlot, name: str, roots: Roots) -> Any:
    """A literal attribute of a component's class; None where it has none, or the class is not there."""
    try:
        return read_constant(resolve_target(slot.kind, slot.written["use"]), name, roots)
    except ValueError:
        return None
