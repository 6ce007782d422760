"""A stage of training as the loop runs it: built objectives and penalties, and the loss they make together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.augment.augmented_discriminator import AugmentedDiscriminator
from gan_dist.contracts import Augment, Batch, Nets, Objective, Penalty, Phase, Term
from gan_dist.errors import UsageError
from gan_dist.registry import lookup
from gan_dist.spec.data import PairData, UnpairedData
from gan_dist.spec.job import JobSpec, StageSpec
from gan_dist.spec.schedules import Clock, Schedule, Scheduled
from gan_dist.spec.sections import OptimizerSettings
from gan_dist.training.optimizers import check_stages


@dataclass(frozen=True)
class WeightedObjective:
    """An objective in a sum."""

    label: str
    objective: Objective
    weight: Scheduled


@dataclass(frozen=True)
class LazyPenalty:
    """A penalty computed every `every` iterations and multiplied by `every` (lazy regularisation)."""

    label: str
    penalty: Penalty
    every: int


@dataclass(frozen=True)
class ScheduledArgument:
    """An argument that follows a schedule: the loop sets the attribute before each iteration."""

    label: str
    component: object
    attribute: str
    schedule: Schedule


@dataclass(frozen=True)
class Cadence:
    """How often something is written, in samples."""

    report: int
    grid: int
    checkpoint: int
    metrics: int
    snapshot: int | None = None


@dataclass(frozen=True)
class LossPart:
    """One term of a phase: its name in the logs, the term, and its factor in the loss."""

    name: str
    term: Term
    factor: float


@dataclass(kw_only=True)
class Stage:
    """One stage. `begins` and `ends` are samples seen."""

    name: str
    begins: int
    ends: int
    objectives: tuple[WeightedObjective, ...]
    penalties: tuple[LazyPenalty, ...]
    settings: dict[str, OptimizerSettings]
    cadence: Cadence
    driven: tuple[ScheduledArgument, ...]
    clock: Clock
    augment: Augment | None = None
    given_by_reals: bool = False  # conditions come with real samples, which every phase then draws
    train: tuple[str, ...] | None = None  # phases of other networks are left out; None for all
    fresh_optimizer: bool = False  # whether it begins without moments
    phases: tuple[Phase, ...] = field(init=False)

    def __post_init__(self) -> None:
        rows = self._chosen(merge_phases([part.objective for part in self.objectives]))
        given = self.given_by_reals
        self.phases = tuple(row._replace(real=row.real or (given and not row.shared)) for row in rows)
        self._check_shared()

    def _check_shared(self) -> None:
        """Raises UsageError where a phase is to get the batch of the one before it, and that has none for it."""
        for row, phase in enumerate(self.phases):
            before = self.phases[row - 1] if row else None
            if phase.shared and (before is None or before.shared or "generator" in before.train):
                raise UsageError(
                    f"objective: fakes: shared: phase {phase.name} of {self.name} learns from the samples of the D "
                    "step before it, and there is none; use fakes: fresh"
                )

    def borrowed_from(self, row: int) -> tuple[str, ...]:
        """The networks that the next row trains, if it gets this row's batch."""
        following = self.phases[row + 1 : row + 2]
        return following[0].train if following and following[0].shared else ()

    def stepped_from(self, row: int) -> tuple[str, ...]:
        """The networks whose step begins with this row: those of a shared batch work in the row before too."""
        return (() if self.phases[row].shared else self.phases[row].train) + self.borrowed_from(row)

    def _chosen(self, rows: tuple[Phase, ...]) -> tuple[Phase, ...]:
        """The phases that train networks which this stage trains.

        Raises:
            ValueError: there is none for a network that is to be trained.
        """
        if self.train is None:
            return rows
        chosen = tuple(row for row in rows if set(row.train) <= set(self.train))
        there = {name for row in chosen for name in row.train}
        if unknown := [name for name in self.train if name not in there]:
            phases = "; ".join(dict.fromkeys(f"{row.name}: {', '.join(row.train)}" for row in rows))
            raise UsageError(
                f"stages: {self.name}: train: {unknown[0]!r} is the network of no phase that the stage would have "
                f"(its objective's: {phases})"
            )
        return chosen

    def set_driven(self, seen: int) -> None:
        """Give scheduled arguments their value at this position."""
        for driven in self.driven:
            setattr(driven.component, driven.attribute, self.clock.value(driven.schedule, seen - self.begins))

    def scheduled_values(self, seen: int) -> dict[str, float]:
        """Every number that follows a schedule, at this position, for the logs."""
        values = {part.label: part.schedule for part in self.driven}
        values |= {f"{w.label}.weight": w.weight for w in self.objectives if isinstance(w.weight, Schedule)}
        values |= {f"{name}.{key}": s for name, own in self.settings.items() for key, s in own.scheduled.items()}
        return {name: self.clock.value(schedule, seen - self.begins) for name, schedule in values.items()}

    def driven_settings(self, network: str, seen: int) -> dict[str, float]:
        """What of a network's optimiser follows a schedule beside the learning rate, at this position."""
        scheduled = self.settings[network].scheduled
        return {key: self.clock.value(schedule, seen - self.begins) for key, schedule in scheduled.items()}

    def due(self, phase: Phase, seen: int) -> list[LazyPenalty]:
        """The penalties of this phase in the iteration that starts at `seen`."""
        iteration = (seen - self.begins) // self.clock.batch
        return [lazy for lazy in self.penalties if lazy.penalty.phase == phase.name and iteration % lazy.every == 0]

    def parts(self, phase: Phase, nets: Nets, batch: Batch, seen: int) -> list[LossPart]:
        """Every term of a phase on one micro-batch, objectives first."""
        due = self.due(phase, seen)
        if self.augment is not None:
            nets = Nets({**nets.by_name, "discriminator": AugmentedDiscriminator(nets.D, self.augment, batch)})
        batch.threshold = threshold_of(one.objective for one in self.objectives)
        batch.differentiated = frozenset(w for lazy in due for w in getattr(lazy.penalty, "differentiates", ()))
        for lazy in due:
            if hasattr(lazy.penalty, "prepare"):
                lazy.penalty.prepare(nets, batch)
        found = []
        for weighted in self.objectives:
            if phase.name not in (own.name for own in weighted.objective.phases):
                continue
            prefix = phase.name if len(self.objectives) == 1 else f"{phase.name}/{weighted.label}"
            weight = self.clock.value(weighted.weight, seen - self.begins)
            for name, term in weighted.objective.terms(phase.name, nets, batch).items():
                found.append(LossPart(f"{prefix}/{name}", term, weight))
        for lazy in due:
            for name, term in lazy.penalty.terms(nets, batch).items():
                found.append(LossPart(f"{phase.name}/{name}", term, float(lazy.every)))
        if self.augment is not None and hasattr(self.augment, "terms") and watches_augment(phase):
            for name, term in self.augment.terms(nets, batch).items():
                found.append(LossPart(f"augment/{name}", term, 1.0))
        return found

    def look_ahead(self, phase: Phase, nets: Nets, batches: list[Batch], total: Callable[[Tensor], Tensor]) -> None:
        """Tell the micro-batches of a phase what objectives want to know of all samples of the global batch.

        Args:
            total: the sum of a tensor over workers.
        """
        if batches[0].n == batches[0].whole:
            return
        for objective in self.looking_ahead(phase):
            with unmoved(net.module for net in nets.by_name.values()), torch.no_grad():
                own = [self._ahead(objective, phase, nets, batch) for batch in batches]
            everyone = own[0].new_zeros(batches[0].whole, *own[0].shape[1:])
            for batch, rows in zip(batches, own, strict=True):
                everyone[batch.first : batch.first + batch.n] = rows
            everyone = total(everyone)
            for batch in batches:
                batch.everyone[objective] = everyone

    def looking_ahead(self, phase: Phase) -> list[Any]:
        """The objectives that want to know something of all samples before any term of this phase."""
        found: list[Any] = [one.objective for one in self.objectives if hasattr(one.objective, "looks_ahead")]
        return [one for one in found if one.looks_ahead(phase.name)]

    def _ahead(self, objective: Any, phase: Phase, nets: Nets, batch: Batch) -> Tensor:
        """Of a copy of the batch, whose samples carry no graph."""
        copy = batch.anew(make_fakes=lambda batch: nets.G(batch.noise, batch.cond))
        judged = nets
        if self.augment is not None:
            judged = Nets({**nets.by_name, "discriminator": AugmentedDiscriminator(nets.D, self.augment, copy)})
        found: Tensor = objective.ahead(phase.name, judged, copy)
        return found

    def loss(self, parts: list[LossPart], n: int, world: int, last: bool) -> Tensor:
        """This micro-batch's summand of the loss: the sum of gradients over micro-batches and `world` workers is the
        gradient of the loss of the whole global batch.

        Args:
            parts: of a micro-batch of `n` samples.
            last: whether it is the last micro-batch, where terms that do not depend on the batch are added.
        """
        total: Any = 0.0
        for part in parts:
            term = part.term
            if term.watch:
                continue
            if term.weight is None:
                total = total + part.factor * term.total * (float(last) / world)
            else:
                whole = term.weight * self.clock.batch / n
                total = total + part.factor / whole * term.total
        assert isinstance(total, Tensor), "a phase without a term that is trained"
        return total

    def after_step(self, phase: Phase, nets: Nets, means: dict[str, Tensor], seen: int) -> None:
        """Tell all that ask for it the phase's means over the global batch."""
        for weighted in self.objectives:
            if hasattr(weighted.objective, "after_step"):
                weighted.objective.after_step(phase.name, nets, means)
        if self.augment is not None and hasattr(self.augment, "after_step") and watches_augment(phase):
            self.augment.after_step(_under("augment/", means), self.clock.batch)
        for lazy in self.due(phase, seen):
            if hasattr(lazy.penalty, "after_step"):
                lazy.penalty.after_step(_under(f"{phase.name}/", means))

    def wants_means(self, phase: Phase, seen: int) -> bool:
        """Whether anything has part in this phase that wants to know its means."""
        asked: list[object] = [weighted.objective for weighted in self.objectives]
        asked += [lazy.penalty for lazy in self.due(phase, seen)]
        asked += [self.augment] if watches_augment(phase) else []
        return any(hasattr(one, "after_step") for one in asked)


@contextmanager
def unmoved(modules: Iterable[nn.Module]) -> Iterator[None]:
    """What passes through modules inside leaves their buffers, such as moving statistics, as they were."""
    kept = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
    yield
    for buffer, before in kept:
        buffer.copy_(before)


def _under(prefix: str, means: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): mean for name, mean in means.items() if name.startswith(prefix)}


def watches_augment(phase: Phase) -> bool:
    """Whether D learns from real samples in this phase, on which an augmentation may depend."""
    return phase.real and "discriminator" in phase.train


def threshold_of(objectives: Iterable[Objective]) -> float | None:
    """The logit between real and fake; None where an objective of the sum knows only differences, which mean something
    beside any other too."""
    said = [getattr(one, "threshold", 0.0) for one in objectives if hasattr(one, "threshold")]
    return None if None in said else next(iter(said), 0.0)


def merge_phases(objectives: list[Objective]) -> tuple[Phase, ...]:
    """The rows of one iteration of a sum: those of the first objective, then rows that only later ones have.

    Raises:
        ValueError: two objectives train different networks in a phase of the same name.
    """
    rows = list(objectives[0].phases)
    for objective in objectives[1:]:
        for phase in objective.phases:
            same = [row for row in rows if row.name == phase.name]
            if not same:
                rows.append(phase)
            elif same[0].train != phase.train:
                raise UsageError(
                    f"objective: phase {phase.name!r} trains {', '.join(same[0].train)} in one objective and "
                    f"{', '.join(phase.train)} in another"
                )
            else:
                real, shared = phase.real or same[0].real, phase.shared or same[0].shared
                rows = [row._replace(real=real, shared=shared) if row.name == phase.name else row for row in rows]
    return tuple(rows)


def lazy_correction(stage: Stage, network: str) -> float:
    """k/(k+1) for a network under a penalty of every k iterations, else 1 (Karras et al. 2020, appendix B)."""
    intervals = [
        lazy.every
        for lazy in stage.penalties
        for phase in stage.phases
        if phase.name == lazy.penalty.phase and network in phase.train and lazy.every > 1
    ]
    return min((every / (every + 1) for every in intervals), default=1.0)


CADENCES = ("report", "grid", "checkpoint", "metrics")


def build_stages(spec: JobSpec, clock: Clock, networks: Mapping[str, nn.Module]) -> list[Stage]:
    """The stages of the job, one after the other on the clock.

    Raises:
        ValueError: a constructor refused its arguments, a schedule drives what is no plain attribute, or an optimiser
            cannot be made.
    """
    augment = lookup.build_component("augment", spec.augment.use, spec.augment.args, {}) if spec.augment else None
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
        built: Objective = lookup.build_component("objective", one.use, one.args, {})
        label = one.use.rpartition(":")[2]
        objectives.append(WeightedObjective(label, built, one.weight))
        driven += _driven(label, built, one.args)
    for other in plan.penalties:
        penalty: Penalty = lookup.build_component("penalty", other.use, other.args, {})
        label = other.use.rpartition(":")[2]
        penalties.append(LazyPenalty(label, penalty, other.every))
        driven += _driven(label, penalty, other.args)
    kept = plan.every.snapshot
    cadence = Cadence(
        **{name: clock.samples(getattr(plan.every, name)) for name in CADENCES},
        snapshot=None if kept is None else clock.samples(kept),
    )
    return Stage(
        name=plan.name or " + ".join(weighted.label for weighted in objectives),
        begins=begins,
        ends=begins + clock.samples(plan.length),
        objectives=tuple(objectives),
        penalties=tuple(penalties),
        settings={name: plan.optimizer.settings(name) for name in networks},
        cadence=cadence,
        driven=tuple(driven),
        clock=clock,
        augment=augment,
        given_by_reals=isinstance(spec.data, PairData | UnpairedData) or getattr(spec.data, "prompt", None) is not None,
        train=plan.train,
        fresh_optimizer=plan.fresh_optimizer,
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
