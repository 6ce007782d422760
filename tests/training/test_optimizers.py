"""Optimisers that are not ours: stepped as by hand with torch, resumed bit for bit, and checked before anything
runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_dist.contracts import Phase
from gan_dist.errors import JobError, UsageError
from gan_dist.launch.load_job import load_job
from gan_dist.spec.job import JobSpec
from gan_dist.testing.checks import problems
from gan_dist.training.batches import StepKey
from gan_dist.training.loop import Iteration, accumulate, iterate
from tests.helpers import assert_same_state, kill_at, small, stop_at, train
from tests.training.test_loop import ready

OWN = '''
import torch

class Slow(torch.optim.Optimizer):
    """Steps by a mean in float64, and counts its steps beside the parameters.

    Args:
        pull: how fast the mean follows.
    """

    def __init__(self, params, lr: float = 0.1, *, pull: float, sign: bool = False):
        super().__init__(params, {"lr": lr, "pull": pull, "sign": sign, "steps": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["steps"] += 1
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("mean", torch.zeros_like(p, dtype=torch.float64))
                mean.lerp_(p.grad.double(), group["pull"])
                p.sub_((mean.sign() if group["sign"] else mean).to(p.dtype) * group["lr"] / group["steps"] ** 0.5)

class Closed(Slow):
    def step(self, closure):
        closure()

class Objects(Slow):
    def step(self, closure=None):
        super().step()
        self.state[self.param_groups[0]["params"][0]]["seen"] = {1, 2}

class Dice(Slow):
    def step(self, closure=None):
        torch.manual_seed(0)
        super().step()

class Forgets(Slow):
    def load_state_dict(self, state):
        pass

class Nothing:
    def __init__(self, params, lr=0.1):
        pass
'''
RMSPROP = {"use": "torch.optim:RMSprop", "lr": 0.01, "momentum": 0.5, "alpha": 0.9}
SGD = {"use": "torch.optim:SGD", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
SLOW = {"use": "own_optimizers:Slow", "lr": 0.05, "pull": 0.3}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_optimizers.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def made(name: str, parameters: Any, **args: Any) -> torch.optim.Optimizer:
    if name == "Slow":
        from own_optimizers import Slow  # type: ignore[import-not-found]

        return Slow(parameters, **args)  # type: ignore[no-any-return]
    return getattr(torch.optim, name)(parameters, **args)  # type: ignore[no-any-return]


def by_hand(it: Iteration, optimizers: dict[str, torch.optim.Optimizer]) -> None:
    """One iteration whose steps are torch's own."""
    stage = it.state.stages[0]
    for row, phase in enumerate(stage.phases):
        with it.state.training(phase.train):
            accumulate(it, stage, phase, StepKey(it.state.seen, it.state.reals_drawn, phase.name, row))
        optimizers[phase.train[0]].step()
        for net in it.state.nets.values():
            net.module.zero_grad()
        it.state.reals_drawn += stage.clock.batch * phase.real
    it.state.seen += stage.clock.batch


@pytest.mark.parametrize("written", [RMSPROP, SGD, SLOW], ids=lambda one: one["use"])
def test_steps_are_those_of_torch_by_hand(own: Path, written: dict[str, Any]) -> None:
    spec = small(optimizer={**written, "discriminator": {"lr": 0.02}})
    ours, theirs = ready(spec), ready(spec)
    args = {key: value for key, value in written.items() if key != "use"}
    optimizers = {
        name: made(written["use"].split(":")[1], parameters, **{**args, **({"lr": 0.02} if name[0] == "d" else {})})
        for name, parameters in theirs.state.trainable.items()
    }
    for _ in range(4):
        iterate(ours, ours.state.stages[0])
        ours.state.seen += spec.batch
        by_hand(theirs, optimizers)
    for name, parameters in ours.state.trainable.items():
        for one, other in zip(parameters, theirs.state.trainable[name], strict=True):
            assert torch.equal(one, other), name


def test_schedules_and_warm_up_drive_what_is_in_param_groups() -> None:
    lr = {"cosine": {"from": 0.1, "to": 0.0, "over": "10 steps"}}
    momentum = {"linear": {"from": 0.0, "to": 0.8, "over": "4 steps"}}
    decay = {"piecewise": [[0, 0.1], ["2 steps", 0.2]]}
    written = {"use": "torch.optim:SGD", "lr": lr, "momentum": momentum, "warmup": "3 steps", "weight_decay": decay}
    spec = small(optimizer=written)
    it = ready(spec)
    state, stage = it.state, it.state.stages[0]
    for step in range(6):
        iterate(it, stage)
        group = state.optimizers["generator"].optimizer.param_groups[0]  # type: ignore[attr-defined]
        warm = min(1.0, (step + 1) / 3)
        assert group["lr"] == pytest.approx(0.05 * (1 + math.cos(math.pi * step / 10)) * warm)
        assert group["momentum"] == pytest.approx(min(0.8, 0.2 * step))
        assert group["weight_decay"] == (0.1 if step < 2 else 0.2)
        assert stage.scheduled_values(state.seen)["generator.momentum"] == pytest.approx(group["momentum"])
        state.seen += spec.batch


def test_weight_decay_of_our_own_follows_a_schedule_too() -> None:
    it = ready(small(optimizer={"weight_decay": {"linear": {"from": 0.0, "to": 1.0, "over": "2 steps"}}}))
    for expected in (0.0, 0.5, 1.0):
        iterate(it, it.state.stages[0])
        assert it.state.optimizers["generator"].weight_decay == expected  # type: ignore[attr-defined]
        it.state.seen += 8


@pytest.mark.parametrize("use", ["adam", "adamw", "torch.optim:Adam"])
def test_betas_follow_schedules(use: str) -> None:
    """The second along a cosine, as every published R3GAN has it; under a lazy penalty to the power 3/4."""
    ramp = {"cosine": {"from": 0.9, "to": 0.99, "over": "4 steps"}}
    it = ready(small(optimizer={"use": use, "lr": 0.1, "betas": [0.0, ramp]}, penalties=[{"use": "r1", "every": 3}]))
    stage = it.state.stages[0]
    for step in range(5):
        it.state.step(Phase("both", ("discriminator", "generator")), stage)
        second = 0.99 - 0.09 * (1 + math.cos(math.pi * step / 4)) / 2
        for name, power in (("generator", 1), ("discriminator", 0.75)):
            one: Any = it.state.optimizers[name]
            betas = one.betas if use.startswith("adam") else one.optimizer.param_groups[0]["betas"]
            assert betas == pytest.approx((0.0, second**power))
        assert stage.scheduled_values(it.state.seen)["generator.betas.1"] == pytest.approx(second)
        it.state.seen += 8


def test_a_run_whose_betas_move_resumes_exactly(tmp_path: Path) -> None:
    ramp = {"linear": {"from": 0.5, "to": 0.9, "over": "6 steps"}}
    spec = small(optimizer={"betas": [ramp, 0.99]})
    whole = train(spec, tmp_path / "whole")
    train(spec, tmp_path / "parts", stopping=stop_at(4))
    assert_same_state(whole.newest, train(spec, tmp_path / "parts", attempt=2).newest)


@pytest.mark.parametrize("use", ["torch.optim:RMSprop", "torch.optim:NAdam"])
def test_lazy_penalties_correct_betas_where_there_are_any(use: str) -> None:
    it = ready(small(optimizer={"use": use, "lr": 0.1}, penalties=[{"use": "r1", "every": 3}]))
    it.state.step(Phase("both", ("discriminator", "generator")), it.state.stages[0])
    groups = {name: one.optimizer.param_groups[0] for name, one in it.state.optimizers.items()}  # type: ignore[attr-defined]
    assert groups["discriminator"]["lr"] == pytest.approx(0.1 * 3 / 4) and groups["generator"]["lr"] == 0.1
    if "betas" in groups["generator"]:
        assert groups["generator"]["betas"] == (0.9, 0.999)
        assert groups["discriminator"]["betas"] == (0.9**0.75, 0.999**0.75)


@pytest.mark.parametrize("written", [RMSPROP, SGD, SLOW, {"use": "torch.optim:Adagrad"}], ids=lambda one: one["use"])
@pytest.mark.parametrize("cut", [stop_at, kill_at])
def test_a_resumed_run_is_the_same_bit_for_bit(own: Path, tmp_path: Path, written: dict[str, Any], cut: Any) -> None:
    spec = small(optimizer={**written, "clip": 1.0}, precision="fp32", until="6 steps")
    whole = train(spec, tmp_path / "whole")
    first = train(spec, tmp_path / "parts", cut(3))
    assert first.result["ending"] in ("stopped", "killed")
    assert first.newest.meta["clock"]["seen"] < 48
    second = train(spec, tmp_path / "parts", attempt=2)
    assert_same_state(second.newest, whole.newest)


def test_stages_set_what_they_name_and_begin_fresh(own: Path) -> None:
    base = {"objective": "hinge", "for": "2 steps"}
    spec = small(
        objective=None,
        until=None,
        optimizer={**SLOW, "sign": False},
        stages=[
            base,
            {**base, "optimizer": {"pull": 0.7, "discriminator": {"sign": True}}},
            {**base, "fresh_optimizer": True},
        ],
    )
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    it = ready(spec)
    seen = []
    for stage in it.state.stages:
        it.state.enter(stage)
        while it.state.seen < stage.ends:
            iterate(it, stage)
            it.state.seen += spec.batch
        group = it.state.optimizers["discriminator"].optimizer.param_groups[0]  # type: ignore[attr-defined]
        seen.append((group["pull"], group["sign"], group["steps"]))
    assert seen == [(0.3, False, 2), (0.7, True, 4), (0.3, False, 2)]


JOB = """\
name: small
data: {source: digits, size: 8}
generator: {use: mlp, hidden: 8, z: 4}
discriminator: {use: mlp, hidden: 8}
objective: hinge
batch: 8
until: 2 steps
optimizer: WRITTEN
"""


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{use: adamm}", "job.yaml:8: optimizer.use: 'adamm' is not allowed; did you mean 'adam'? (allowed: adam, "
         "adamw), or any other as 'package.module:Name'"),
        ("{use: adam, momentum: 0.9}", "job.yaml:8: optimizer.momentum: unknown key (allowed: betas, clip, "
         "discriminator, eps, generator, lr, use, warmup, weight_decay)"),
        ("{generator: {momentum: 0.9}}", "job.yaml:8: optimizer.generator.momentum: unknown key (allowed: betas, clip, "
         "eps, lr, warmup, weight_decay)"),
        ("{use: 'own_optimizers:Slo', pull: 1}", "job.yaml:8: optimizer.use: no 'Slo' in module 'own_optimizers'; did "
         "you mean 'Slow'? (it has: Closed, Dice, Forgets, Nothing, Objects, Slow)"),
        ("{use: 'own_optimisers:Slow'}", "job.yaml:8: optimizer.use: no module 'own_optimisers'; did you mean "
         "'own_optimizers'?"),
        ("{use: 'own_optimizers:Slow', pul: 0.5, pull: 0.5}", "job.yaml:8: optimizer.pul: unknown key; did you mean "
         "'pull'? (allowed: clip, discriminator, generator, lr, pull, sign, warmup)"),
        ("{use: 'own_optimizers:Slow'}", "job.yaml:8: optimizer.pull: 'own_optimizers:Slow' needs this argument: how "
         "fast the mean follows."),
        ("{use: 'own_optimizers:Slow', generator: {pull: 1}, discriminator: {pull: 'a'}}", "job.yaml:8: "
         "optimizer.discriminator.pull: 'a' must be a number"),
        ("{use: 'own_optimizers:Slow', pull: 0.5, sign: {linear: {from: 0, to: 1, over: 1k}}}", "job.yaml:8: "
         "optimizer.sign: cannot be a schedule; it must be true or false"),
        ("{use: 'own_optimizers:Slow', pull: 0.5, weight_decay: 0.1}", "job.yaml:8: optimizer.weight_decay: "
            "unknown key "
            ""
         "(allowed: clip, discriminator, generator, lr, pull, sign, warmup)"),
        ("{use: 'own_optimizers:Slow', pull: 0.5, discriminatr: {lr: 1}}", "job.yaml:8: optimizer.discriminatr: "
            "unknown "
            ""
         "key; did you mean 'discriminator'? (allowed: clip, discriminator, generator, lr, pull, sign, warmup)"),
        ("{use: 'own_optimizers:Closed', pull: 0.5}", "job.yaml:8: optimizer.use: 'own_optimizers:Closed' needs a "
         "closure that computes the loss again, several times in a step; an iteration here computes it once"),
        ("{use: 'torch.optim:LBFGS'}", "job.yaml:8: optimizer.use: 'torch.optim:LBFGS' needs a closure that computes "
         "the loss again, several times in a step; an iteration here computes it once"),
        ("{use: 'torch.optim:SGD', nesterov: 3}", "job.yaml:8: optimizer.nesterov: 3 must be true or false"),
    ],
)  # fmt: skip
def test_faults_are_told_before_anything_runs(
    own: Path, monkeypatch: pytest.MonkeyPatch, written: str, expected: str
) -> None:
    monkeypatch.chdir(own)
    (own / "job.yaml").write_text(JOB.replace("WRITTEN", written))
    with pytest.raises(JobError) as told:
        load_job("job.yaml")
    assert str(told.value).splitlines() == [expected]


def test_stages_have_one_optimiser(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own)
    text = JOB.replace("objective: hinge\n", "").replace("until: 2 steps\n", "").replace("optimizer: WRITTEN\n", "")
    stage = "  - {objective: hinge, for: 1k, optimizer: {use: USE}}\n"
    (own / "job.yaml").write_text(text + "stages:\n" + stage.replace("USE", "adam") + stage.replace("USE", "adamw"))
    with pytest.raises(JobError, match=r"stages\[1\].optimizer.use: 'adamw', but 'adam' before; all stages have the"):
        load_job("job.yaml")
    (own / "job.yaml").write_text(text + "stages:\n" + stage.replace("USE", "'torch.optim:SGD'") * 2)
    spec = load_job("job.yaml")
    again = JobSpec.model_validate_json(spec.model_dump_json())
    assert again == spec and [one.optimizer.settings("generator").args for one in again.phases_plan] == [{}, {}]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({**SGD, "momentum": 0.0}, "optimizer: 'torch.optim:SGD': Nesterov momentum requires a momentum and zero"),
        ({**RMSPROP, "alpha": -1.0}, "optimizer: 'torch.optim:RMSprop': Invalid alpha value: -1.0"),
        (
            {"use": "own_optimizers:Nothing"},
            "optimizer.use: 'own_optimizers:Nothing' is no optimiser: it has no param_",
        ),
    ],
)
def test_what_a_class_refuses_is_told_by_its_key(own: Path, written: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError) as told:
        ready(small(optimizer=written))
    assert str(told.value).startswith(expected)


def test_a_state_that_no_checkpoint_gives_back_is_refused(own: Path, tmp_path: Path) -> None:
    spec = small(optimizer={**SLOW, "use": "own_optimizers:Objects"})
    with pytest.raises(UsageError, match=r"keeps a set at \['state'\]\[0\]\['seen'\] of its state_dict"):
        train(spec, tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Slow", []),
        ("Closed", ["use: 'own_optimizers:Closed' needs a closure"]),
        ("Objects", ["state_dict: keeps a set at ['state'][0]['seen']"]),
        ("Dice", ["step: changes torch's random numbers"]),
        ("Forgets", ["load_state_dict: the steps after it are others"]),
        ("Nothing", ["optimizer.use: 'own_optimizers:Nothing' is no optimiser"]),
    ],
)
def test_check_finds_what_would_go_wrong(own: Path, name: str, expected: list[str]) -> None:
    args = {} if name == "Nothing" else {"pull": 0.3}
    kind = "optimizer" if name == "Nothing" else None
    found = problems(f"own_optimizers:{name}", kind, (own,), **args)  # type: ignore[arg-type]
    assert len(found) == len(expected), found
    for text, begins in zip(found, expected, strict=True):
        assert begins in text
