"""From the job's component specs to built networks, objectives and penalties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from gan_dist.contracts import Augment, Objective, Penalty
from gan_dist.errors import UsageError
from gan_dist.registry import lookup
from gan_dist.spec.data import PairData
from gan_dist.spec.job import JobSpec, StageSpec
from gan_dist.spec.schedules import Schedule
from gan_dist.training.optimizers import check_stages
from gan_dist.training.schedule import Clock
from gan_dist.training.stages import Cadence, LazyPenalty, ScheduledArgument, Stage, Weighted

CADENCES = ("report", "grid", "checkpoint", "metrics")


def build_stages(spec: JobSpec, clock: Clock, networks: Mapping[str, nn.Module]) -> list[Stage]:
    """The stages of the job, one after the other on the clock.

    Raises:
        ValueError: a constructor refused its arguments, or a schedule drives what is no plain attribute, or
            an optimiser cannot be made.
    """
    augment = lookup.build("augment", spec.augment.use, spec.augment.args, {}) if spec.augment else None
    stages: list[Stage] = []
    begins = 0
    for plan in spec.phases_plan:
        stage = _stage(plan, begins, clock, spec, networks, augment)
        stages.append(stage)
        begins = stage.ends
    for name, network in networks.items():
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        check_stages(name, [stage.settings[name] for stage in stages], trained)
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
        built: Objective = lookup.build("objective", one.use, one.args, {})
        label = one.use.rpartition(":")[2]
        objectives.append(Weighted(label, built, one.weight))
        driven += _driven(label, built, one.args)
    for other in plan.penalties:
        penalty: Penalty = lookup.build("penalty", other.use, other.args, {})
        label = other.use.rpartition(":")[2]
        penalties.append(LazyPenalty(label, penalty, other.every))
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


def _driven(label: str, component: object, args: Mapping[str, Any]) -> list[ScheduledArgument]:
    """The scheduled arguments of a component, which must be plain attributes of the same name."""
    found = []
    for name, value in args.items():
        if not isinstance(value, Schedule):
            continue
        if not isinstance(getattr(component, name, None), (int, float)):
            raise UsageError(f"{label}.{name}: a schedule needs the component to read self.{name} as a plain number")
        found.append(ScheduledArgument(f"{label}.{name}", component, name, value))
    return found
