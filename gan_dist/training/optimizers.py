"""The optimiser of one network: our Adam, or any with the contract of `torch.optim.Optimizer`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gan_dist.errors import UsageError
from gan_dist.registry import lookup
from gan_dist.registry.section_checks import CLOSURE
from gan_dist.spec.schedules import Schedule
from gan_dist.spec.sections import OptimizerSettings
from gan_dist.training.adam import Adam, driven_betas, first_betas

PLAIN = (bool, int, float, str, type(None))


class Optimizer(Protocol):
    """What steps one network."""

    def enter(self, settings: OptimizerSettings, lazy: float) -> None:
        """Take the settings of a stage; `lazy` is the exponent of moving averages' decay rates."""

    def drive(self, lr: float, values: Mapping[str, float]) -> None:
        """Take the learning rate of the next step, and what else follows a schedule."""

    def step(self) -> None: ...
    def zero_grad(self) -> None: ...

    def forget(self) -> None:
        """Begin anew."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, stored: Mapping[str, Any]) -> None: ...


def build_optimizer(settings: OptimizerSettings, parameters: list[nn.Parameter]) -> Optimizer:
    """The optimiser of a network.

    Raises:
        ValueError: it refuses its arguments or the parameters, or cannot be stepped here.
    """
    if settings.is_ours:
        return Adam(parameters, decoupled=settings.use == "adamw")
    return OtherOptimizer(settings, parameters)


class OtherOptimizer:
    """One that is not ours. What a job writes of it is set in its `param_groups`, at each stage and by schedules; what
    it keeps there and in its state by itself is left to it.

    Args:
        settings: of the first stage.
        parameters: those that are stepped.
    """

    def __init__(self, settings: OptimizerSettings, parameters: list[nn.Parameter]) -> None:
        self.settings, self.parameters = settings, parameters
        self.optimizer = construct_optimizer(settings, parameters)
        self.named, self.lazy = set(settings.args), 1.0

    def enter(self, settings: OptimizerSettings, lazy: float) -> None:
        begins = construct_optimizer(settings, self.parameters).param_groups[0]
        self.named |= set(settings.args)
        values = {key: begins[key] for key in self.named if key in begins}
        self.lazy = lazy
        if isinstance(betas := begins.get("betas"), tuple | list):
            values["betas"] = first_betas(betas, lazy)
        self._set(values)

    def drive(self, lr: float, values: Mapping[str, float]) -> None:
        plain: dict[str, Any] = {key: value for key, value in values.items() if not key.startswith("betas.")}
        if len(plain) < len(values):
            plain["betas"] = driven_betas(self.optimizer.param_groups[0]["betas"], values, self.lazy)
        self._set({"lr": lr, **plain})

    def step(self) -> None:
        self.optimizer.step()

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def forget(self) -> None:
        self.optimizer = construct_optimizer(self.settings, self.parameters)

    def state_dict(self) -> dict[str, Any]:
        """Its own. Raises UsageError where it holds what a checkpoint could not give back."""
        found: dict[str, Any] = self.optimizer.state_dict()
        for place, value in unserializable_leaves(found):
            raise UsageError(
                f"optimizer: '{self.settings.use}' keeps a {type(value).__name__} at {place} of its state_dict; a "
                "checkpoint gives back tensors, numbers, texts, and lists and dicts of them"
            )
        return found

    def load_state_dict(self, stored: Mapping[str, Any]) -> None:
        """Go on from what was stored, each tensor in the type that it had."""
        self.optimizer.load_state_dict(dict(stored))
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for number, kept in stored.get("state", {}).items():
            placed = self.optimizer.state[parameters[number]] if isinstance(number, int) else {}
            for key, value in kept.items() if placed else ():
                # PyTorch gives all but "step" the type of the parameter.
                if (
                    isinstance(value, Tensor)
                    and isinstance(placed.get(key), Tensor)
                    and placed[key].dtype != value.dtype
                ):
                    placed[key] = value.to(placed[key].device, copy=True)

    def _set(self, values: Mapping[str, Any]) -> None:
        for group in self.optimizer.param_groups:
            group.update(values)


def construct_optimizer(settings: OptimizerSettings, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """An optimiser as its class makes it; of a schedule it gets the first value.

    Raises:
        ValueError: it refuses its arguments or the parameters, cannot be stepped here, or a schedule drives what it
            does not read from its `param_groups`.
    """
    values = {"lr": settings.lr, **settings.args}
    values = {key: _begins(value) for key, value in values.items()}
    try:
        found: Any = lookup.load_object(settings.use)(parameters, **values)
    except (ValueError, TypeError) as error:
        raise UsageError(f"optimizer: '{settings.use}': {error}") from error
    if missing := [name for name in ("param_groups", "step", "state_dict") if not hasattr(found, name)]:
        raise UsageError(f"optimizer.use: '{settings.use}' is no optimiser: it has no {missing[0]}")
    step = inspect.signature(found.step).parameters.values()
    if any(one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in step):
        raise UsageError(f"optimizer.use: '{settings.use}' {CLOSURE}")
    for key in ("lr", *settings.scheduled):
        if not isinstance(_kept(found.param_groups[0], key), int | float):
            raise UsageError(
                f"optimizer.{key}: '{settings.use}' keeps no number of that name in its param_groups, so that it "
                "cannot follow a schedule"
            )
    return found  # type: ignore[no-any-return]


def _begins(value: Any) -> Any:
    """What an optimiser is made with: of a schedule, and of those among `betas`, the first value."""
    if isinstance(value, Schedule):
        return value.values[0]
    return tuple(map(_begins, value)) if isinstance(value, tuple) else value


def _kept(group: Mapping[str, Any], key: str) -> Any:
    """What a group of parameters has under a key; under `betas.1` that one of its betas."""
    name, _, place = key.partition(".")
    kept = group.get(name)
    return kept[int(place)] if place and isinstance(kept, tuple | list) and int(place) < len(kept) else kept


def check_stages(label: str, stages: list[OptimizerSettings], parameters: list[nn.Parameter]) -> None:
    """Whether a network's optimiser can be made, and be given the settings of every stage.

    Raises:
        ValueError: it cannot; the text begins with the key.
    """
    first = stages[0]
    if first.is_ours or not parameters:
        return
    groups = construct_optimizer(first, parameters).param_groups[0]
    for settings in stages[1:]:
        groups = groups | construct_optimizer(settings, parameters).param_groups[0]
        for key in {**first.args, **settings.args}:
            if key not in groups and first.args.get(key) != settings.args.get(key):
                raise UsageError(
                    f"optimizer.{key}: '{first.use}' reads it when it is made, so that no stage can change it ({label})"
                )


def unserializable_leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a state that are neither tensors nor plain values, with where they are."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from unserializable_leaves(inner, f"{place}[{key!r}]")
    elif type(value) in (list, tuple):
        for number, inner in enumerate(value):
            yield from unserializable_leaves(inner, f"{place}[{number}]")
    elif not isinstance(value, Tensor) and type(value) not in PLAIN:
        yield place, value
