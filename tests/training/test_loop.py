"""One iteration's arithmetic: accumulation, averages, clipping, warm-up, and what is trained when."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.contracts import Nets
from gan_dist.data.encoding.image import encode
from gan_dist.data.order import epoch_samples
from gan_dist.distributed.lanes import lanes_of_rank, seed_of
from gan_dist.distributed.runtime import LocalRuntime
from gan_dist.registry.build import build_networks
from gan_dist.runs.checkpoint import load_weights, stored
from gan_dist.spec.job import EmaSpec, JobSpec
from gan_dist.spec.schedules import Clock
from gan_dist.training.batches import BatchFactory, StepKey
from gan_dist.training.loop import Iteration, accumulate, iterate
from gan_dist.training.run_logger import Stats
from gan_dist.training.stages import build_stages
from gan_dist.training.state import Ema, TrainState
from tests.helpers import CPU, everything, never, rows_of, small, train


def ready(spec: JobSpec, micro: int | None = None) -> Iteration:
    """Everything an iteration needs, in float64."""
    rows, run = rows_of(spec), LocalRuntime(CPU, lambda event: None, never)
    clock = Clock(spec.batch, epoch_samples(rows.facts.count, spec.batch))
    modules = {name: module.double() for name, module in build_networks(spec, rows.facts).items()}
    stages = build_stages(spec, clock, modules)
    nets = {name: run.wire(module, False, torch.enable_grad) for name, module in modules.items()}
    state = TrainState(nets=nets, settings=stages[0].settings, stages=stages)
    state.enter(stages[0])
    feed = BatchFactory(
        rows=rows,
        generator=nets["generator"],
        run=run,
        seed=spec.seed,
        batch=spec.batch,
        micro_batch=micro or spec.batch,
        dtype=torch.float64,
        encode=lambda pixels, rng: (encode(pixels, CPU, torch.float64), None),
    )
    return Iteration(state=state, nets=Nets(nets), feed=feed, run=run, stats=Stats(CPU))


def gradients(it: Iteration, row: int) -> dict[str, Tensor]:
    stage = it.state.stages[0]
    phase = stage.phases[row]
    with it.state.training(phase.train):
        accumulate(it, stage, phase, StepKey(0, 0, phase.name, row))
    return {
        f"{name}.{key}": parameter.grad.clone()
        for name, net in it.state.nets.items()
        for key, parameter in net.module.named_parameters()
        if parameter.grad is not None
    }


def test_a_person_s_own_randomness_is_seeded_as_torch_would() -> None:
    feed, moment = ready(small()).feed, StepKey(16, 32, "G", 1)
    torch.manual_seed(seed_of(0, 16, 1, "global", 2, 0))
    expected = torch.rand(5)
    feed.reseed(moment, 2)
    assert torch.equal(torch.rand(5), expected)
    feed.reseed(moment, 3)
    assert not torch.equal(torch.rand(5), expected)


def at(it: Iteration, rank: int, world: int) -> Iteration:
    """The same iteration as one of many workers computes it; what it adds to the gradients stays there."""
    run = LocalRuntime(CPU, lambda event: None, never)
    run.rank, run.world = rank, world
    feed = copy.copy(it.feed)
    feed.run, feed.lanes = run, lanes_of_rank(feed.batch, rank, world)
    return replace(it, feed=feed, run=run)


@pytest.mark.parametrize("world", [2, 63, 128])
@pytest.mark.parametrize("row", [0, 1])
def test_a_hundred_and_twenty_eight_workers_compute_what_one_does(world: int, row: int) -> None:
    """Each has its share of 512 samples, and the sum of their gradients is that of the whole batch."""
    it = ready(small(batch=512, data={"source": "digits", "size": 16}))
    stage = it.state.stages[0]
    phase = stage.phases[row]
    whole = gradients(it, row)
    it.state.module("generator").zero_grad()
    it.state.module("discriminator").zero_grad()
    workers = [at(it, rank, world) for rank in range(world)]
    assert sum(worker.feed.share for worker in workers) == 512
    with it.state.training(phase.train):
        for worker in workers:
            accumulate(worker, stage, phase, StepKey(0, 0, phase.name, row))
    trained = it.state.module(phase.train[0])
    for key, parameter in trained.named_parameters():
        torch.testing.assert_close(parameter.grad, whole[f"{phase.train[0]}.{key}"], rtol=1e-10, atol=1e-13)


SUM = [{"use": "hinge"}, {"use": "least_squares", "weight": 0.3}]
R1 = [{"use": "r1", "gamma": 2.0}]
OBJECTIVES: list[Any] = [
    {"use": name} for name in ("non_saturating", "minimax", "least_squares", "hinge", "relativistic")
]
OBJECTIVES.append({"use": "wasserstein", "d_steps": 1})


@pytest.mark.parametrize("objective", [*OBJECTIVES, SUM], ids=[*(one["use"] for one in OBJECTIVES), "sum"])
@pytest.mark.parametrize("micro", [1, 4, 8, 12])
@pytest.mark.parametrize("row", [0, 1])
def test_micro_batches_add_up_to_the_gradient_of_the_batch(objective: Any, micro: int, row: int) -> None:
    spec = small(objective=objective, penalties=R1, batch=26)
    whole, split = ready(spec), ready(spec, micro)
    assert (whole.feed.micros, split.feed.micros) == (1, math.ceil(7 / max(1, micro // 4)))
    expected, found = gradients(whole, row), gradients(split, row)
    assert expected.keys() == found.keys() and expected
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-12, atol=1e-12)
    means = [it.stats.means(it.run.sum) for it in (whole, split)]
    assert means[0] == pytest.approx(means[1], rel=1e-6)  # what is only watched is summed in float32


def test_the_loss_is_the_mean_over_the_whole_batch() -> None:
    it = ready(small(objective=SUM, penalties=R1, batch=26), micro=8)
    gradients(it, 0)
    means = it.stats.means(it.run.sum)
    parts = means["D/hinge/adversarial"] + 0.3 * means["D/least_squares/adversarial"] + means["D/r1"]
    assert means["loss/D"] == pytest.approx(parts, rel=1e-12)


@pytest.mark.parametrize(
    ("row", "trained", "other"), [(0, "discriminator", "generator"), (1, "generator", "discriminator")]
)
def test_only_the_networks_of_a_phase_get_gradients(row: int, trained: str, other: str) -> None:
    found = gradients(ready(small()), row)
    assert any(name.startswith(trained) for name in found)
    assert not any(name.startswith(other) for name in found)


def test_frozen_parameters_stay_frozen() -> None:
    it = ready(small())
    first = next(it.state.module("generator").parameters())
    state = TrainState(nets=it.state.nets, settings=it.state.stages[0].settings, stages=it.state.stages)
    assert id(first) in {id(p) for p in state.trainable["generator"]}
    first.requires_grad_(False)
    state = TrainState(nets=it.state.nets, settings=it.state.stages[0].settings, stages=it.state.stages)
    with state.training(("generator",)):
        assert not first.requires_grad


def test_one_step_of_adam_is_adam() -> None:
    it = ready(small(optimizer={"lr": 0.01, "betas": [0.5, 0.9], "eps": 1e-6}))
    weights = [p.detach().clone() for p in it.state.trainable["discriminator"]]
    gradient = list(gradients(copy.deepcopy(it), 0).values())
    stage = it.state.stages[0]
    with it.state.training(("discriminator",)):
        accumulate(it, stage, stage.phases[0], StepKey(0, 0, "D", 0))
    it.state.step(stage.phases[0], stage)
    for before, slope, after in zip(weights, gradient, it.state.trainable["discriminator"], strict=True):
        # In the first step both moments are the gradient and its square, whatever the betas.
        expected = before - 0.01 * slope / (slope.abs() + 1e-6)
        torch.testing.assert_close(after.detach(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("clip", [1e-3, 1e6])
def test_gradients_are_clipped_by_their_norm_together(clip: float) -> None:
    free, clipped = ready(small()), ready(small(optimizer={"clip": clip}))
    norm = math.sqrt(sum(float(one.square().sum()) for one in gradients(free, 0).values()))
    seen: list[float] = []
    optimizer, stage = clipped.state.optimizers["discriminator"], clipped.state.stages[0]

    step = optimizer.step

    def noting() -> None:
        seen.append(sum(float(p.grad.square().sum()) for p in optimizer.parameters) ** 0.5)
        step()

    optimizer.step = noting
    gradients(clipped, 0)
    norms = clipped.state.step(stage.phases[0], stage)
    assert norms["discriminator"].item() == pytest.approx(norm, rel=1e-12)
    assert seen == [pytest.approx(min(norm, clip), rel=1e-5)]


def test_learning_rate_warms_up_and_follows_its_schedule() -> None:
    lr = {"linear": {"from": 1.0, "to": 0.0, "over": 80}}
    it = ready(small(optimizer={"lr": lr, "warmup": "4 steps"}))
    stage, found = it.state.stages[0], []
    for it.state.seen in range(0, 88, 8):
        found.append(it.state.learning_rate(stage, "generator"))
    expected = [min(1, (step + 1) / 4) * (1 - step / 10) for step in range(11)]
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_stage_keeps_the_moments_of_the_one_before_unless_it_wants_fresh_ones(tmp_path: Path, fresh: bool) -> None:
    """Adam's first step without moments is the learning rate, whatever the gradient."""
    plan = [
        {"objective": "hinge", "for": "3 steps"},
        {"objective": "hinge", "for": "1 steps", "fresh_optimizer": fresh, "optimizer": {"lr": 1e-3, "eps": 1e-30}},
    ]
    every = {"report": "1k", "grid": "1k", "checkpoint": "1 steps"}
    spec = small(objective=None, until=None, stages=plan, every=every, keep={"last": 10})
    trained = train(spec, tmp_path / "run")
    before, after = (one.tensors("generator") for one in stored(trained.run.checkpoints())[-2:])
    moved = torch.cat([(after[name] - weight).flatten() for name, weight in before.items()])
    steps = moved[moved != 0].abs()
    assert (bool(((steps - 1e-3).abs() < 1e-6).all())) == fresh


def test_a_stage_may_train_one_network_alone(tmp_path: Path) -> None:
    plan = [{"objective": "hinge", "for": "3 steps", "train": ["discriminator"]}]
    spec = small(objective=None, until=None, stages=plan)
    trained = train(spec, tmp_path / "run").newest
    moved = {
        name: any(not torch.equal(trained.tensors(name)[key], one) for key, one in net.double().state_dict().items())
        for name, net in build_networks(spec, rows_of(spec).facts).items()
    }
    assert moved == {"generator": False, "discriminator": True}


def test_a_stage_that_trains_what_no_phase_trains_is_refused() -> None:
    spec = small(
        objective=None,
        until=None,
        stages=[{"objective": "hinge", "for": "3 steps", "train": ["encoder"]}],
        networks={"encoder": {"use": "vae"}},
    )
    with pytest.raises(
        ValueError, match=r"hinge: train: 'encoder' is the network of no phase .*D: discriminator; G: gen"
    ):
        ready(spec)


def test_lazy_penalties_correct_d_s_optimiser_alone() -> None:
    spec = small(optimizer={"lr": 0.1, "betas": [0.5, 0.9]}, penalties=[{"use": "r1", "every": 3}])
    it = ready(spec)
    iterate(it, it.state.stages[0])
    generator, discriminator = it.state.optimizers["generator"], it.state.optimizers["discriminator"]
    assert discriminator.lr == pytest.approx(0.1 * 3 / 4)
    assert discriminator.betas == pytest.approx((0.5**0.75, 0.9**0.75))
    assert generator.lr == 0.1 and generator.betas == (0.5, 0.9)


@pytest.mark.parametrize(("d_steps", "reals"), [(1, 8), (3, 24)])
def test_each_d_step_draws_its_own_data(d_steps: int, reals: int) -> None:
    it = ready(small(objective={"use": "hinge", "d_steps": d_steps}))
    iterate(it, it.state.stages[0])
    assert it.state.reals_drawn == reals


def test_the_phases_of_a_sum_are_merged() -> None:
    it = ready(small(objective=[{"use": "hinge", "d_steps": 2}, {"use": "least_squares"}]))
    assert [phase.name for phase in it.state.stages[0].phases] == ["D", "D", "G"]


class One(nn.Module):
    """A generator of one weight."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([value], dtype=torch.float64))


def averaged(steps: int, **spec: Any) -> float:
    """The average after weights 1, 1, 1, ... that began at 0."""
    generator = One(0.0)
    ema = Ema(EmaSpec.model_validate(spec), generator, Clock(8, 800))
    generator.w.data.fill_(1.0)
    for step in range(1, steps + 1):
        ema.update(step * 8)
    return float(ema.module.w.item())  # type: ignore[union-attr, operator]


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_ema_halves_what_is_left_in_each_half_life(steps: int) -> None:
    assert averaged(steps, half_life=400) == pytest.approx(1 - 0.5 ** (steps * 8 / 400), rel=1e-12)


def test_ema_of_no_half_life_follows_at_once() -> None:
    assert averaged(1, half_life=0) == 1


def test_ema_ramps_up() -> None:
    left = 1.0
    for step in range(1, 51):
        left *= 0.5 ** (8 / min(100, 0.25 * step * 8))
    assert averaged(50, half_life=100, ramp_up=0.25) == pytest.approx(1 - left, rel=1e-12)


def test_ema_starts_late() -> None:
    generator = One(0.0)
    ema = Ema(EmaSpec.model_validate({"half_life": 80, "start": 16}), generator, Clock(8, 800))
    values = []
    for step, weight in enumerate((5.0, 7.0, 1.0), 1):
        generator.w.data.fill_(weight)
        ema.update(step * 8)
        values.append(ema.module.w.item())  # type: ignore[union-attr, operator]
    assert values == pytest.approx([5, 7, 7 + (1 - 7) * (1 - 0.5 ** (8 / 80))])


def test_ema_s_half_life_may_be_scheduled() -> None:
    schedule = {"piecewise": [[0, 80], [24, 8]]}
    left = 0.5 ** (2 * 8 / 80) * 0.5 * 0.5  # the updates end at 8, 16, 24 and 32 samples
    assert averaged(4, half_life=schedule) == pytest.approx(1 - left, rel=1e-12)


def test_the_average_in_a_checkpoint_is_the_average_of_the_weights_seen(tmp_path: Path) -> None:
    every = {"report": "1k", "grid": "1k", "checkpoint": "1 steps"}
    spec = small(ema={"half_life": 16}, until="3 steps", every=every, keep={"last": 10})
    trained = train(spec, tmp_path / "run")
    first = build_networks(spec, rows_of(spec).facts)["generator"].double()
    average = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    beta = 0.5 ** (8 / 16)
    for checkpoint in stored(trained.run.checkpoints()):
        raw = checkpoint.tensors("generator")
        average = {name: beta * average[name] + (1 - beta) * raw[name] for name in raw}
        torch.testing.assert_close(checkpoint.tensors("generator_ema"), average, rtol=1e-12, atol=1e-14)


def test_weights_of_another_network_are_refused_by_name() -> None:
    with pytest.raises(ValueError) as caught:
        load_weights(nn.Linear(2, 3), {"weight": torch.ones(3, 4), "extra": torch.ones(())}, "generator")
    assert str(caught.value) == (
        "generator: the stored weights are of another network "
        "(weight: 3x2 here, 3x4 stored; bias: 3 here, absent stored; extra: absent here, scalar stored)"
    )


def test_grids_and_checkpoints_do_not_disturb_training(tmp_path: Path) -> None:
    often = {"report": "1 steps", "grid": "1 steps", "checkpoint": "1 steps"}
    rarely = {"report": "1M", "grid": "1M", "checkpoint": "1M"}
    dcgan = {"use": "dcgan", "width": 2}
    job = {
        "data": {"source": "digits", "size": 16},
        "generator": dcgan,
        "discriminator": dcgan,
        "ema": {"half_life": 8},
    }
    busy = train(small(**job, every=often), tmp_path / "busy")
    quiet = train(small(**job, every=rarely), tmp_path / "quiet")
    first, second = everything(busy.newest), everything(quiet.newest)
    for name, value in first.items():
        assert torch.equal(value, second[name]) if isinstance(value, Tensor) else value == second[name], name
