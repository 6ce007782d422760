"""From the job's component specs to built networks, objectives and penalties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gan_dist import components
from gan_dist.contracts import Augment, Objective, Penalty
from gan_dist.data.facts import DataFacts
from gan_dist.randomness import seed_of
from gan_dist.schedule import Clock
from gan_dist.spec.data import PairData
from gan_dist.spec.job import JobSpec, StageSpec
from gan_dist.spec.schedules import Schedule
from gan_dist.stages import Cadence, Driven, Lazy, Stage, Weighted

CADENCES = ("report", "grid", "checkpoint", "metrics")
KINDS: dict[str, components.Kind] = {"generator": "generator", "discriminator": "discriminator"}


def build_networks(spec: JobSpec, facts: DataFacts) -> dict[str, nn.Module]:
    """Every network of the job on the CPU, each initialised from its own seed.

    Raises:
        ValueError: a constructor refused its arguments; the text begins with the network's key.
    """
    return {
        name: _seeded(spec.seed, name, KINDS.get(name, "network"), component.use, component.args, facts.provided)
        for name, component in spec.network_specs.items()
    }


def build_stages(spec: JobSpec, clock: Clock, networks: Mapping[str, nn.Module]) -> list[Stage]:
    """The stages of the job, one after the other on the clock.

    Raises:
        ValueError: a constructor refused its arguments, or a schedule drives what is no plain attribute.
    """
    augment = components.build("augment", spec.augment.use, spec.augment.args, {}) if spec.augment else None
    stages: list[Stage] = []
    begins = 0
    for plan in spec.phases_plan:
        stage = _stage(plan, begins, clock, spec, networks, augment)
        stages.append(stage)
        begins = stage.ends
    return stages


def _stage(
    plan: StageSpec,
    begins: int,
    clock: Clock,
    spec: JobSpec,
    networks: Mapping[str, nn.Module],
    augment: Augment | None,
) -> Stage:
    assert plan.penalties is not None and plan.optimizer is not None and plan.every is not None
    driven = [d for name, net in networks.items() for d in _driven(name, net, spec.network_specs[name].args)]
    if spec.augment:
        driven += _driven("augment", augment, spec.augment.args)
    objectives, penalties = [], []
    for one in plan.objective:
        built: Objective = components.build("objective", one.use, one.args, {})
        label = one.use.rpartition(":")[2]
        objectives.append(Weighted(label, built, one.weight))
        driven += _driven(label, built, one.args)
    for other in plan.penalties:
        penalty: Penalty = components.build("penalty", other.use, other.args, {})
        label = other.use.rpartition(":")[2]
        penalties.append(Lazy(label, penalty, other.every))
        driven += _driven(label, penalty, other.args)
    cadence = Cadence(*(clock.samples(getattr(plan.every, name)) for name in CADENCES))
    return Stage(
        plan.name or " + ".join(weighted.label for weighted in objectives),
        begins,
        begins + clock.samples(plan.length),
        tuple(objectives),
        tuple(penalties),
        {name: plan.optimizer.settings(name) for name in networks},
        cadence,
        tuple(driven),
        clock,
        augment,
        isinstance(spec.data, PairData),
        plan.train,
        plan.fresh_optimizer,
    )


def _seeded(
    seed: int,
    name: str,
    kind: components.Kind,
    use: str,
    args: Mapping[str, Any],
    provided: Mapping[str, Any],
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "init", name))
        built = components.build(kind, use, args, provided)
    if not isinstance(built, nn.Module):
        raise ValueError(f"{name}.use: {use!r} made a {type(built).__name__}, which is no torch.nn.Module")
    return built


def _driven(label: str, component: object, args: Mapping[str, Any]) -> list[Driven]:
    """The scheduled arguments of a component, which must be plain attributes of the same name."""
    found = []
    for name, value in args.items():
        if not isinstance(value, Schedule):
            continue
        if not isinstance(getattr(component, name, None), (int, float)):
            raise ValueError(f"{label}.{name}: a schedule needs the component to read self.{name} as a plain number")
        found.append(Driven(f"{label}.{name}", component, name, value))
    return found
