"""G's step learns from the fakes of the D step before it (`fakes: shared`)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gan_dist.errors import UsageError
from gan_dist.spec.schedules import Clock
from gan_dist.training.batches import StepKey
from gan_dist.training.loop import Iteration, iterate
from gan_dist.training.stages import build_stages
from tests.helpers import small
from tests.training.test_loop import ready

SHARED = {"use": "non_saturating", "fakes": "shared"}
STEPS = 4


def count_passes(it: Iteration) -> list[int]:
    """How often the generator is called from now on, a list that grows."""
    calls: list[int] = []
    it.state.module("generator").register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_one_pass_through_the_generator_serves_both_steps() -> None:
    fresh, shared = ready(small()), ready(small(objective=SHARED))
    for it, passes in ((fresh, 2), (shared, 1)):
        calls = count_passes(it)
        iterate(it, it.state.stages[0])
        assert len(calls) == passes


def by_hand(it: Iteration) -> tuple[nn.Module, nn.Module]:
    """The loop as DCGAN's authors wrote it: D on reals and detached fakes, G on the same fakes by the new D."""
    generator, discriminator = (copy.deepcopy(it.state.module(name)) for name in ("generator", "discriminator"))
    draws: Any = it.feed
    steps = {net: torch.optim.SGD(net.parameters(), lr=0.1) for net in (generator, discriminator)}
    for number in range(STEPS):
        seen = number * it.state.stages[0].clock.batch
        (batch,) = draws.draw(StepKey(seen, seen, "D", 0), it.state.stages[0].phases[0])
        fakes = generator(batch.noise, batch.cond)
        steps[discriminator].zero_grad()
        of_real, of_fake = discriminator(batch.real, batch.cond), discriminator(fakes.detach(), batch.cond)
        (F.softplus(-of_real) + F.softplus(of_fake)).mean().backward()
        steps[discriminator].step()
        steps[generator].zero_grad()
        F.softplus(-discriminator(fakes, batch.cond)).mean().backward()
        steps[generator].step()
    return generator, discriminator


DCGAN = {
    "data": {"source": "digits", "size": 16},
    "generator": {"use": "dcgan", "width": 2, "z": 4},
    "discriminator": {"use": "dcgan", "width": 2},
}


@pytest.mark.parametrize("nets", [{}, DCGAN], ids=["mlp", "dcgan with batch norm"])
def test_it_is_the_loop_of_the_authors(nets: dict[str, Any]) -> None:
    it = ready(small(objective=SHARED, optimizer={"use": "torch.optim:SGD", "lr": 0.1}, **nets))
    expected = by_hand(it)
    for _ in range(STEPS):
        iterate(it, it.state.stages[0])
        it.state.seen += it.state.stages[0].clock.batch
    for name, theirs in zip(("generator", "discriminator"), expected, strict=True):
        for key, value in theirs.state_dict().items():
            torch.testing.assert_close(it.state.module(name).state_dict()[key], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("objective", [SHARED, [SHARED, {"use": "l1", "weight": 2.0}]], ids=["alone", "with reals"])
def test_micro_batches_share_too(objective: Any) -> None:
    """Their fakes are made again, of the same noise and for the same real samples."""
    spec = small(objective=objective, penalties=[{"use": "r1", "gamma": 2.0}])
    whole, split = ready(spec), ready(spec, 4)
    assert split.feed.micros > 1
    for it in (whole, split):
        for _ in range(STEPS):
            iterate(it, it.state.stages[0])
            it.state.seen += it.state.stages[0].clock.batch
    assert whole.state.reals_drawn == split.state.reals_drawn == whole.state.seen
    for name in ("generator", "discriminator"):
        expected, found = (it.state.module(name).state_dict() for it in (whole, split))
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-11)


def test_spectral_normalisation_moves_once_before_the_pass() -> None:
    """A step of its vectors between forward and backward would spoil the graph."""
    nets = {"generator": {"use": "sagan", "width": 2, "z": 4}, "discriminator": {"use": "sngan", "width": 2}}
    it = ready(small(objective={**SHARED, "use": "hinge"}, data={"source": "digits", "size": 32}, **nets))
    for _ in range(2):
        norms = iterate(it, it.state.stages[0])
        assert torch.isfinite(norms)
        it.state.seen += it.state.stages[0].clock.batch


def test_a_stage_without_d_steps_has_nothing_to_share() -> None:
    stages = [{"name": "alone", "objective": SHARED, "train": ["generator"], "for": 16}]
    spec = small(objective=None, until=None, stages=stages)
    with pytest.raises(UsageError, match=r"fakes: shared: phase G of alone .* use fakes: fresh$"):
        build_stages(spec, Clock(spec.batch, 64), {"generator": nn.Linear(1, 1), "discriminator": nn.Linear(1, 1)})
    with pytest.raises(ValueError, match="fakes must be fresh or shared, not 'stale'"):
        build_stages(small(objective={**SHARED, "fakes": "stale"}), Clock(8, 64), {})
