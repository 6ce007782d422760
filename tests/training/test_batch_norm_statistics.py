"""Standing statistics: what they are, that training does not feel them, and that samples are made with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.data.conditioning import Conditioning
from gan_dist.execution.preflight import network_problems
from gan_dist.generation.export import export
from gan_dist.generation.model import load
from gan_dist.registry.build import build_networks
from gan_dist.spec.job import JobSpec
from gan_dist.training.batch_norm_statistics import StandingStatistics, batch_norms_of
from tests.helpers import CPU, everything, rows_of, small, train

DCGAN = {"use": "dcgan", "width": 2, "z": 8}
SNGAN = {"use": "sngan", "width": 2, "z": 8}
DATA = {"source": "digits", "size": 16}
OFTEN = {"report": "1 steps", "grid": "1 steps", "checkpoint": "1 steps"}


def job(**changes: Any) -> JobSpec:
    networks = {"generator": DCGAN, "discriminator": {"use": "dcgan", "width": 2, "norm": "none"}}
    return small(**{"data": DATA, **networks, **changes})


def ready(spec: JobSpec) -> tuple[nn.Module, StandingStatistics]:
    """An untrained generator in float64, and what estimates its statistics."""
    rows = rows_of(spec)
    assert spec.standing is not None
    generator = build_networks(spec, rows.facts)["generator"].double()
    return generator, StandingStatistics(spec=spec.standing, batch=spec.batch, rows=rows, seed=spec.seed, device=CPU)


def inputs_of_first_norm(generator: nn.Module, noise: Any, cond: Tensor | None) -> Tensor:
    """What comes to the first batch normalisation, whose inputs depend on no other."""
    found: list[Tensor] = []
    hook = batch_norms_of(generator)[0].register_forward_pre_hook(lambda module, args: found.append(args[0]))
    with torch.no_grad():
        generator(noise, cond)
    hook.remove()
    return found[0]


@pytest.mark.parametrize("labels", ["none", "source"])
def test_statistics_are_averages_over_the_batches(labels: str) -> None:
    data = {**DATA, "size": 32, "labels": labels}
    generator, standing = ready(job(data=data, generator=SNGAN, standing={"batches": 3, "batch": 5}))
    standing(generator)
    means, variances = [], []
    for number in range(3):
        x = inputs_of_first_norm(generator, *standing.inputs(generator, number)).transpose(0, 1).flatten(1)
        assert x.shape[1] % 5 == 0
        means.append(x.mean(1))
        variances.append(x.var(1, unbiased=True))
    assert not torch.equal(means[0], means[1]), "batches differ"
    first = batch_norms_of(generator)[0]
    torch.testing.assert_close(first.running_mean, torch.stack(means).mean(0), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(first.running_var, torch.stack(variances).mean(0), rtol=1e-12, atol=1e-14)


def test_of_one_batch_samples_are_normalised_by_themselves() -> None:
    """With one batch all layers normalise by it, as training does, but for the variances' n - 1."""
    generator, standing = ready(job(standing={"batches": 1, "batch": 64}))
    standing(generator)
    inputs = standing.inputs(generator, 0)
    with torch.no_grad():
        evaluated, trained = generator(*inputs), generator.train()(*inputs)
    torch.testing.assert_close(evaluated, trained, rtol=0, atol=2e-3)


def test_it_leaves_a_generator_as_it_found_it_but_for_statistics() -> None:
    generator, standing = ready(job(standing={}))
    momenta = [layer.momentum for layer in batch_norms_of(generator)]
    weights = [parameter.clone() for parameter in generator.parameters()]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    standing(generator)
    first = {name: buffer.clone() for name, buffer in generator.named_buffers()}
    standing(generator)
    assert torch.equal(torch.get_rng_state(), state)
    assert [layer.momentum for layer in batch_norms_of(generator)] == momenta
    assert not any(module.training for module in generator.modules())
    assert all(map(torch.equal, weights, generator.parameters()))
    assert all(torch.equal(first[name], buffer) for name, buffer in generator.named_buffers()), "the same each time"


def test_classes_come_as_often_as_in_the_data() -> None:
    spec = job(data={**DATA, "labels": "source"}, standing={"batches": 1, "batch": 4000})
    generator, standing = ready(spec)
    _, cond = standing.inputs(generator, 0)
    assert cond is not None
    conditioning = Conditioning.of(rows_of(spec).facts, None, CPU)
    assert conditioning is not None
    shares = conditioning.shares
    found = cond.bincount(minlength=10).cumsum(0) / 4000
    torch.testing.assert_close(found, shares.to(found), rtol=0, atol=4 * 0.5 / 4000**0.5)


@pytest.mark.parametrize("ema", [None, {"half_life": 16}])
def test_training_does_not_feel_it(tmp_path: Path, ema: Any) -> None:
    without = train(job(ema=ema, every=OFTEN), tmp_path / "without")
    beside = train(job(ema=ema, every=OFTEN, standing={"batches": 2}), tmp_path / "with")
    first, second = everything(without.newest), everything(beside.newest)
    assert first.keys() == second.keys()
    differing = {name for name, value in first.items() if isinstance(value, Tensor) and not value.equal(second[name])}
    published = ("running_mean", "running_var", "num_batches_tracked")
    assert differing, "samples are made with other statistics"
    assert all(name.startswith("/generator") and name.endswith(published) for name in differing), differing


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_checkpoints_and_exports_hold_them(tmp_path: Path, weights: str) -> None:
    spec = job(ema={"half_life": 16}, standing={"batches": 2, "batch": 12})
    trained = train(spec, tmp_path / "run")
    model = load(trained.run, weights=weights)
    again, standing = ready(spec)
    again.load_state_dict(model.generator.state_dict())
    standing(again)
    here = dict(model.generator.named_buffers())
    floating = {name: buffer for name, buffer in again.named_buffers() if buffer.is_floating_point()}
    torch.testing.assert_close({name: here[name] for name in floating}, floating, rtol=1e-12, atol=1e-14)
    folder = tmp_path / "exported"
    export(str(tmp_path / "run" / "checkpoints" / trained.newest.folder.uri.split("/")[-1]), folder, weights=weights)
    assert torch.equal(load(folder).sample(4), model.sample(4))


def test_it_may_be_asked_for_later(tmp_path: Path) -> None:
    train(job(until="3 steps", every=OFTEN), tmp_path / "run")
    resumed = train(job(every=OFTEN, standing={"batches": 2}), tmp_path / "run", attempt=2)
    whole = train(job(every=OFTEN, standing={"batches": 2}), tmp_path / "whole")
    first, second = everything(resumed.newest), everything(whole.newest)
    assert all(torch.equal(value, second[name]) for name, value in first.items() if isinstance(value, Tensor))


def test_a_generator_without_batch_normalisation_is_refused() -> None:
    spec = job(generator={"use": "mlp"}, standing={})
    found = network_problems(spec, rows_of(spec).facts)
    assert found == ["standing: generator 'mlp' has no batch normalisation; leave `standing` out"]
    assert not network_problems(job(standing={}), rows_of(spec).facts)
