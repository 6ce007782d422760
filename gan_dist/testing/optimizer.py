"""A person's own optimiser tried on a small network, for `gan_dist.testing`."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.errors import UsageError
from gan_dist.spec.optimizer import OptimizerSettings, OptimizerSpec
from gan_dist.training.optimizers import OtherOptimizer, strange

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
    found = list(strange(state))
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
