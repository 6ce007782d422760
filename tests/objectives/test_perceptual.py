"""The perceptual loss and the auxiliary classifier: their numbers by hand, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.contracts import Batch, Nets
from gan_dist.distributed.runtime import LocalRuntime
from gan_dist.execution.preflight import network_problems
from gan_dist.networks.image import dcgan
from gan_dist.networks.layers.pretrained_backbone import FeatureTaps
from gan_dist.objectives.auxiliary import AuxiliaryClassifier
from gan_dist.objectives.reconstruction import Perceptual
from tests.helpers import CPU, rows_of, small


def batch_of(real: Tensor, fakes: Tensor, cond: Tensor | None = None) -> Batch:
    rng: Any = None
    return Batch(len(real), real, cond, None, rng, lambda batch: fakes)


def nets_of(**modules: nn.Module) -> Nets:
    run = LocalRuntime(CPU, lambda event: None, lambda: False)
    from contextlib import nullcontext

    return Nets({name: run.wire(module, False, nullcontext) for name, module in modules.items()})


@pytest.mark.parametrize("channels", [1, 3])
def test_perceptual_is_the_sum_over_maps_of_mean_squares(channels: int) -> None:
    objective = Perceptual(weights="random")
    nets = nets_of(generator=nn.Linear(1, 1))
    objective.begin(nets)
    real, fakes = torch.rand(2, channels, 32, 32), torch.rand(2, channels, 32, 32, requires_grad=True)
    term = objective.terms("G", nets, batch_of(real, fakes))["perceptual"]
    torch.manual_seed(0)
    taps = FeatureTaps("vgg16", "random")
    colour = [one.expand(2, 3, 32, 32) for one in (fakes, real)]
    maps = list(zip(*map(taps, colour), strict=True))
    expected = sum((f[n] - r[n]).square().mean().item() for f, r in maps for n in range(2)) / 2
    assert len(maps) == 4 and (term.total / term.weight).item() == pytest.approx(expected, rel=1e-5)
    (gradient,) = torch.autograd.grad(term.total, fakes)
    assert gradient.abs().sum() > 0 and not any(p.requires_grad for p in taps.parameters())
    same = objective.terms("G", nets, batch_of(real, real.clone()))["perceptual"]
    assert same.total == 0


def test_perceptual_leaves_random_numbers_alone_and_says_which_weights_it_wants(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"the weights of vgg16 are needed, .*vgg16-397923af.pth"):
        Perceptual()
    nets = nets_of(generator=nn.Linear(1, 1))
    before = torch.random.get_rng_state()
    Perceptual(weights="random").begin(nets)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_classifier_learns_from_both_and_teaches_the_generator() -> None:
    torch.manual_seed(0)
    judge = dcgan.Discriminator(size=16, channels=1, classes=3, width=2, norm="none", auxiliary="classes")
    nets = nets_of(discriminator=judge)
    real, fakes, cond = torch.rand(4, 1, 16, 16), torch.rand(4, 1, 16, 16), torch.tensor([0, 1, 2, 1])
    objective = AuxiliaryClassifier()
    terms = objective.terms("D", nets, batch_of(real, fakes, cond))
    value = {name: (term.total / term.weight).item() for name, term in terms.items()}
    for name, samples in (("real_class", real), ("fake_class", fakes)):
        assert value[name] == pytest.approx(F.cross_entropy(judge.classify(samples), cond).item(), rel=1e-6)
    assert value["real_accuracy"] == (judge.classify(real).argmax(1) == cond).float().mean()
    assert list(objective.terms("G", nets, batch_of(real, fakes, cond))) == ["fake_class"]
    assert judge(real, cond).equal(judge(real, cond.flip(0))), "it is not told the class"


def problems(**changes: Any) -> list[str]:
    spec = small(
        **{
            "data": {"source": "digits", "size": 16, "labels": "source"},
            "generator": {"use": "dcgan", "width": 2, "z": 4},
            "discriminator": {"use": "dcgan", "width": 2, "auxiliary": "classes"},
            "objective": [{"use": "hinge"}, {"use": "auxiliary_classifier"}],
            **changes,
        }
    )
    return network_problems(spec, rows_of(spec).facts)


def test_what_the_classifier_needs_is_said_in_preflight() -> None:
    assert problems() == []
    label = "objective: auxiliary_classifier"
    assert problems(data={"source": "digits", "size": 16}) == [
        f"{label}: there are no classes to tell apart; set data.labels"
    ]
    assert problems(discriminator={"use": "dcgan", "width": 2}) == [
        f"{label}: the discriminator says nothing of them; give it `auxiliary: classes`"
    ]
    mlp = {"use": "mlp", "hidden": 8}
    assert problems(discriminator=mlp) == [f"{label} needs a discriminator with classify, as dcgan has it"]
