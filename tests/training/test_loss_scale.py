"""Scaled losses of float16: the factor rounds nothing, a step that overflows is left out, and it resumes exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gan_dist.runs.checkpoint import stored
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.training import loss_scale
from gan_dist.training.loop import Iteration, iterate
from gan_dist.training.loss_scale import LossScale
from tests.helpers import assert_same_state, small, train
from tests.training.test_loop import ready

FINITE, INFINITE = {"D": torch.tensor(2.0)}, {"D": torch.tensor(2.0), "G": torch.tensor(torch.inf)}


def test_the_factor_halves_at_once_and_doubles_after_many_good_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "GROWN_AFTER", 3)
    scale = LossScale()
    made = [scale.follow(INFINITE if bad else FINITE) for bad in (0, 0, 1, 0, 0, 0, 0)]
    assert made == [True, True, False, True, True, True, True]
    assert scale.state() == [2.0**16, 1.0], "halved, doubled after three in a row, and one since"
    scale.factor = 1.0
    assert scale.follow(INFINITE), "that is no matter of the format: whoever looks for divergence shall see it"


def iterated(it: Iteration, times: int) -> dict[str, torch.Tensor]:
    for _ in range(times):
        iterate(it, it.state.stages[0])
        it.state.seen += it.feed.batch
    return {f"{name}.{key}": one for name, net in it.state.nets.items() for key, one in net.module.state_dict().items()}


def scaled(factor: float, weight: float = 1.0) -> Iteration:
    it = ready(small(objective={"use": "non_saturating", "weight": weight}, penalties=[{"use": "r1", "every": 2}]))
    it.state.scales = {phase.name: LossScale() for phase in it.state.stages[0].phases}
    for scale in it.state.scales.values():
        scale.factor = factor
    return it


def test_a_power_of_two_rounds_nothing() -> None:
    plain, other = iterated(ready(small(penalties=[{"use": "r1", "every": 2}])), 3), iterated(scaled(2.0**20), 3)
    assert all(torch.equal(one, other[name]) for name, one in plain.items())


def test_a_step_that_overflows_is_left_out() -> None:
    """A factor of 2^1023 makes gradients of float64 infinite; halved often enough, training goes on."""
    it = scaled(2.0**1023, weight=1e6)
    before = {name: one.clone() for name, one in iterated(it, 0).items()}
    assert all(torch.equal(one, before[name]) for name, one in iterated(it, 1).items())
    assert it.state.scales["D"].factor == it.state.scales["G"].factor == 2.0**1022
    assert all(not optimizer.state_dict()["state"] for optimizer in it.state.optimizers.values())
    for scale in it.state.scales.values():
        scale.factor = 2.0**16
    assert any(not torch.equal(one, before[name]) for name, one in iterated(it, 1).items())


def stops_after(looks: int) -> Callable[[], bool]:
    """Asks for a stop at the n-th time the loop looks."""
    asked = iter(range(looks - 1))
    return lambda: next(asked, None) is None


def test_a_run_of_float16_resumes_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a factor that overflows float16 at first and grows later, so that it moves on either side of the stop."""
    monkeypatch.setattr(loss_scale, "FIRST", 2.0**34)
    monkeypatch.setattr(loss_scale, "GROWN_AFTER", 4)
    spec = small(precision="fp16", until="24 steps", every={"report": "1 steps", "checkpoint": "1G"})
    whole = train(spec, tmp_path / "whole")
    factors = [line["loss_scale/D"] for line in whole.run.reports()]
    assert factors[0] == 2.0**34 and min(factors) < factors[-1] < 2.0**34, "halved, and doubled later"
    assert train(spec, tmp_path / "parts", stopping=stops_after(9)).result["ending"] == "stopped"
    train(spec, tmp_path / "parts", attempt=2)
    folders = [RunFolder(Folder.at(tmp_path / name)).checkpoints() for name in ("whole", "parts")]
    last, parts = (stored(folder)[-1] for folder in folders)
    assert_same_state(last, parts)
    assert last.training()["scales"].keys() == {"D", "G"}
