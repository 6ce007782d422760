"""The networks of a job, built from its component specs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from gan_dist.data.facts import DataFacts
from gan_dist.distributed.first_weights import first_weights
from gan_dist.distributed.lanes import seed_of
from gan_dist.errors import UsageError
from gan_dist.registry import lookup
from gan_dist.registry.freezing import freeze
from gan_dist.spec.job import JobSpec

KINDS: dict[str, lookup.Kind] = {"generator": "generator", "discriminator": "discriminator"}


def build_networks(spec: JobSpec, facts: DataFacts, names: Collection[str] | None = None) -> dict[str, nn.Module]:
    """Every network of the job on the CPU, each initialised from its own seed.

    Args:
        names: of those that are wanted; None for all.

    Raises:
        ValueError: a constructor refused its arguments, or there is no such part to freeze; the text begins with the
            network's key.
    """
    found = {
        name: _seeded(spec.seed, name, KINDS.get(name, "network"), component.use, component.args, facts.provided)
        for name, component in spec.network_specs.items()
        if names is None or name in names
    }
    for name, what in spec.freeze.items():
        if name in found:
            freeze(found[name], what, f"freeze.{name}")
    return found


def _seeded(
    seed: int,
    name: str,
    kind: lookup.Kind,
    use: str,
    args: Mapping[str, Any],
    provided: Mapping[str, Any],
) -> nn.Module:
    with first_weights(seed_of(seed, "init", name)):
        built = lookup.build_component(kind, use, args, provided)
    if not isinstance(built, nn.Module):
        raise UsageError(f"{name}.use: {use!r} made a {type(built).__name__}, which is no torch.nn.Module")
    return built
