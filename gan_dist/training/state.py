"""Everything that resumes. If it is not here, it is not resumed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.contracts import Nets, Phase
from gan_dist.distributed.runtime import WorkerRuntime, WrappedNetwork
from gan_dist.runs.checkpoint import EMA, Checkpoint, average_name, load_weights
from gan_dist.spec.amounts import Amount
from gan_dist.spec.power_average import exponent_of, kept_share
from gan_dist.spec.schedules import Clock
from gan_dist.spec.sections import EmaSpec, OptimizerSettings
from gan_dist.training.loss_scale import LossScale
from gan_dist.training.optimizers import build_optimizer
from gan_dist.training.stages import Stage, lazy_correction


class TrainState:
    """Networks, their optimisers and average, the objectives' own state, and the clock.

    Attributes:
        seen: samples seen; the one clock.
        reals_drawn: samples of data drawn; the position in the data.
        nets: networks by name, as objectives call them.
        averages: of the generator; samples and metrics are of the first.
        standing: sets the batch statistics of a generator that samples are made with; None keeps training's.
        scales: of the losses by phase, where networks compute in float16; else empty.
    """

    def __init__(
        self,
        *,
        nets: Mapping[str, WrappedNetwork],
        settings: Mapping[str, OptimizerSettings],
        averages: Sequence[Ema] = (),
        stages: list[Stage],
        standing: Callable[[nn.Module], None] | None = None,
        scaled: bool = False,
    ) -> None:
        self.nets, self.averages, self.stages, self.standing = dict(nets), tuple(averages), stages, standing
        names = {phase.name for stage in stages for phase in stage.phases} if scaled else set()
        self.scales = {name: LossScale() for name in sorted(names)}
        self.trainable = {
            name: [p for p in net.module.parameters() if p.requires_grad] for name, net in self.nets.items()
        }
        self.moving = {
            name: [part for part in net.module.modules() if hasattr(part, "before_step")]
            for name, net in self.nets.items()
        }
        self.settling = {name: _settling(net.module) for name, net in self.nets.items()}
        self.optimizers = {
            name: build_optimizer(settings[name], parameters)
            for name, parameters in self.trainable.items()
            if parameters
        }
        self.seen = 0
        self.reals_drawn = 0
        for net in self.nets.values():
            net.module.train()
        for stage in stages:
            self._begin(stage)

    def _begin(self, stage: Stage) -> None:
        """Tell the objectives that want to know that their stage begins; forget the moments where it says so."""
        for optimizer in self.optimizers.values() if stage.fresh_optimizer else ():
            optimizer.forget()
        for weighted in stage.objectives:
            if hasattr(weighted.objective, "begin"):
                weighted.objective.begin(Nets(self.nets))

    def module(self, name: str) -> nn.Module:
        return self.nets[name].module

    def stage(self) -> Stage:
        """The stage that the clock is in; the last one when all are over."""
        return next((stage for stage in self.stages if self.seen < stage.ends), self.stages[-1])

    @contextmanager
    def training(self, names: tuple[str, ...]) -> Iterator[None]:
        """Only these networks want gradients inside."""
        for name, parameters in self.trainable.items():
            for parameter in parameters:
                parameter.requires_grad_(name in names)
        yield

    def parameters_of(self, names: tuple[str, ...]) -> list[nn.Parameter]:
        """What is trained of these networks."""
        return [parameter for name in names for parameter in self.trainable[name]]

    def before_step(self, names: tuple[str, ...]) -> None:
        """Tell the parts of these networks that want to know that a step begins."""
        for name in names:
            for part in self.moving[name]:
                moving: Any = part
                moving.before_step()

    def enter(self, stage: Stage) -> None:
        """Give the optimisers the settings of a stage; their moments go on unless it wants them fresh."""
        if self.seen == stage.begins:
            self._begin(stage)
        for name, optimizer in self.optimizers.items():
            optimizer.enter(stage.settings[name], lazy_correction(stage, name))

    def learning_rate(self, stage: Stage, name: str) -> float:
        """Of one network in the iteration that starts now, warm-up included."""
        settings, elapsed = stage.settings[name], self.seen - stage.begins
        warmup = stage.clock.samples(settings.warmup)
        warm = min(1.0, (elapsed + stage.clock.batch) / warmup) if warmup else 1.0
        return stage.clock.value(settings.lr, elapsed) * warm

    def step(self, phase: Phase, stage: Stage) -> dict[str, Tensor] | None:
        """Clip, step and clear the gradients of a phase's networks, and tell the parts of them that want to know; their
        gradient norms before clipping. None where scaled ones were not finite, and nothing was done but clear them."""
        norms, scale = {}, self.scales.get(phase.name)
        for name in phase.train:
            gradients = [p.grad for p in self.trainable[name] if p.grad is not None]
            if scale is not None:
                scale.unscale(gradients)
            norms[name] = torch.nn.utils.get_total_norm(gradients)
        if scale is not None and not scale.follow(norms):
            for name in phase.train:
                self.optimizers[name].zero_grad()
            return None
        for name in phase.train:
            if (most := stage.settings[name].clip) is not None:
                torch.nn.utils.clip_grads_with_norm_(self.trainable[name], most, norms[name])
            optimizer = self.optimizers[name]
            lr = self.learning_rate(stage, name) * lazy_correction(stage, name)
            optimizer.drive(lr, stage.driven_settings(name, self.seen))
            optimizer.step()
            optimizer.zero_grad()
            for part in self.settling[name]:
                part.after_step()
        return norms

    def update_ema(self) -> None:
        for average in self.averages:
            average.update(self.seen)

    def published(self, run: WorkerRuntime) -> nn.Module:
        """The generator that samples are made with, in evaluation mode: the average where there is one, with
        buffers averaged over workers and the job's standing statistics. Every worker must call this; training is not
        touched."""
        return self._for_samples(self.averages[0].module if self.averages else self._copy(), run)

    def _copy(self) -> nn.Module:
        return copy.deepcopy(self.module("generator"))

    def _for_samples(self, generator: nn.Module, run: WorkerRuntime) -> nn.Module:
        generator.load_state_dict(averaged_buffers(self.module("generator"), run), strict=False)
        if self.standing is not None:
            self.standing(generator)
        return generator.eval()

    def capture(self, run: WorkerRuntime) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """What a checkpoint holds: networks by name, and the training state. Every worker must call this."""
        networks = {}
        for name, net in self.nets.items():
            networks[name] = {**net.module.state_dict(), **averaged_buffers(net.module, run)}
        if self.standing is not None:
            networks["generator"] |= _floating_buffers(self._for_samples(self._copy(), run))
        for average in self.averages:
            networks[average.name] = dict(self._for_samples(average.module, run).state_dict())
        for objective in self._started_objectives():
            if hasattr(objective, "collect"):
                objective.collect(run.sum)
        training = {
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "objectives": {key: _plain_state(value) for key, value in self._own_state().items()},
            "buffers": {name: _buffers_of_all(net.module, run) for name, net in self.nets.items()},
            "scales": {name: scale.state() for name, scale in self.scales.items()},
        }
        return networks, training

    def snapshot(self, run: WorkerRuntime) -> dict[float, dict[str, Tensor]]:
        """The averages by sigma, as samples are made with them. Every worker must call this."""
        return {
            average.spec.sigma: dict(self._for_samples(average.module, run).state_dict())
            for average in self.averages
            if average.spec.sigma is not None
        }

    def clock(self) -> dict[str, int]:
        return {"seen": self.seen, "reals_drawn": self.reals_drawn}

    def restore(self, checkpoint: Checkpoint, run: WorkerRuntime) -> None:
        """Go on from a checkpoint. With as many workers as it had, each gets its own buffers back.

        Raises:
            ValueError: its networks are not this job's.
        """
        training = checkpoint.training()
        for name, net in self.nets.items():
            load_weights(net.module, checkpoint.tensors(name), name)
            _set_buffers(net.module, training["buffers"][name], run)
        for average in self.averages:
            name = average.name if checkpoint.has(f"{average.name}.safetensors") else "generator"
            load_weights(average.module, checkpoint.tensors(name), name)
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(training["optimizers"][name])
        for phase in self.scales.keys() & training["scales"].keys():  # none of a run that was not of float16 before
            self.scales[phase].set_state(training["scales"][phase])
        self.seen, self.reals_drawn = (checkpoint.meta["clock"][name] for name in ("seen", "reals_drawn"))
        for key, value in self._own_state().items():
            _set_state(value, training["objectives"][key])

    def _started_objectives(self) -> list[Any]:
        """Those of stages that have begun."""
        return [one.objective for stage in self.stages if stage.begins < self.seen for one in stage.objectives]

    def _own_state(self) -> dict[str, Tensor | nn.Module]:
        """What the augmentation, and objectives and penalties of stages that have begun, keep, by name."""
        augment = self.stages[0].augment
        own = augment.state() if augment is not None and hasattr(augment, "state") else {}
        found = {f"augment.{name}": value for name, value in own.items()}
        for number, stage in enumerate(one for one in self.stages if one.begins < self.seen):
            for weighted in stage.objectives:
                own = weighted.objective.state() if hasattr(weighted.objective, "state") else {}
                found.update({f"{number}.{weighted.label}.{name}": value for name, value in own.items()})
            for lazy in stage.penalties:
                own = lazy.penalty.state() if hasattr(lazy.penalty, "state") else {}
                found.update({f"{number}.penalty.{lazy.label}.{name}": value for name, value in own.items()})
        return found


def _settling(module: nn.Module) -> list[Any]:
    """The parts of a network that have an `after_step` and a weight of their own that is trained."""
    found: list[Any] = [part for part in module.modules() if hasattr(part, "after_step")]
    return [part for part in found if any(one.requires_grad for one in part.parameters(recurse=False))]


def averaged_buffers(module: nn.Module, run: WorkerRuntime) -> dict[str, Tensor]:
    """The floating buffers of a module, averaged over workers. Every worker must call this."""
    floating = _floating_buffers(module)
    if not floating or run.world == 1:
        return floating
    total = run.sum(_flat(floating)) / run.world
    return _unflat(total, floating)


def _buffers_of_all(module: nn.Module, run: WorkerRuntime) -> list[Tensor]:
    """Each worker's floating buffers as one flat float64 vector."""
    floating = _floating_buffers(module)
    return [part.cpu() for part in run.gather(_flat(floating))] if floating else []


def _set_buffers(module: nn.Module, of_all: list[Tensor], run: WorkerRuntime) -> None:
    floating = _floating_buffers(module)
    if floating and len(of_all) == run.world:
        module.load_state_dict(_unflat(of_all[run.rank], floating), strict=False)


def _floating_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Floating buffers that belong to the state dict, by name."""
    saved = module.state_dict().keys()
    return {n: b for n, b in module.named_buffers() if n in saved and b.is_floating_point()}


def _flat(tensors: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([tensor.detach().double().flatten() for tensor in tensors.values()])


def _unflat(flat: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    pieces = torch.split(flat, [tensor.numel() for tensor in like.values()])
    return {
        name: piece.view_as(tensor).to(tensor.device, tensor.dtype)
        for (name, tensor), piece in zip(like.items(), pieces, strict=True)
    }


def _plain_state(value: Tensor | nn.Module) -> Any:
    return value.state_dict() if isinstance(value, nn.Module) else value.detach().cpu()


def _set_state(value: Tensor | nn.Module, stored: Any) -> None:
    if isinstance(value, nn.Module):
        value.load_state_dict(stored)
    else:
        value.copy_(stored)


class Ema:
    """A moving average of the generator's weights: a second generator whose weights follow those of the first.

    w_ema = b w_ema + (1 - b) w; by half-life in samples b = 0.5^(batch/half-life) (Karras et al. 2020, arXiv
    2006.06676), by width b = (1 - batch/seen)^(exponent + 1) (see `spec.power_average`).

    Buffers are not averaged over time; whoever uses `module` sets them (see `state.TrainState.published`).

    Args:
        name: under which it is stored.
    """

    def __init__(self, spec: EmaSpec, generator: nn.Module, clock: Clock, name: str = EMA) -> None:
        self.spec, self.clock, self.name = spec, clock, name
        self.exponent = None if spec.sigma is None else exponent_of(spec.sigma)
        self.module = copy.deepcopy(generator).eval().requires_grad_(False)
        # Looked for once: walking through a network's modules takes longer than averaging a small one.
        self._average: list[Tensor] = list(self.module.parameters())
        self._followed: list[Tensor] = list(generator.parameters())

    def beta(self, seen: int) -> float:
        """How much of the average stays at the iteration that ends at `seen`."""
        if self.exponent is not None:
            return kept_share(self.exponent, self.clock.batch, seen)
        if seen <= self.clock.samples(self.spec.start):
            return 0.0
        half = self.spec.half_life
        assert half is not None
        samples = self.clock.samples(half) if isinstance(half, Amount) else self.clock.value(half, seen)
        if self.spec.ramp_up is not None:
            samples = min(samples, self.spec.ramp_up * seen)
        return float(0.5 ** (self.clock.batch / samples)) if samples > 0 else 0.0

    @torch.no_grad()
    def update(self, seen: int) -> None:
        """Follow the generator in the iteration that ends at `seen`."""
        torch._foreach_lerp_(self._average, self._followed, 1 - self.beta(seen))


def build_averages(specs: Sequence[EmaSpec] | None, generator: nn.Module, clock: Clock) -> list[Ema]:
    """The averages of a job, the first under the name that samples are made by."""
    return [
        Ema(spec, generator, clock, EMA if place == 0 else average_name(spec.sigma))
        for place, spec in enumerate(specs or ())
    ]
