"""Objectives that compare generated samples with real ones: L1, L2 and feature matching."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.contracts import Term
from gan_dist.data.facts import ImageFacts
from gan_dist.execution.preflight import network_problems
from gan_dist.networks.image import dcgan, mlp, r3gan, sngan, stylegan2
from gan_dist.objectives.reconstruction import L1, L2, FeatureMatching
from tests.helpers import Passing, batch_of, finite_difference, nets_of, small, train

WIDE = torch.float64
REAL = torch.linspace(-1, 1, 12, dtype=WIDE).view(3, 1, 2, 2)
FAKE = REAL.flip(0).sin()


class Features(nn.Module):
    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return torch.stack([x.sum((1, 2, 3)), x.square().sum((1, 2, 3))], 1)


def value(term: Term) -> Tensor:
    assert term.weight is not None
    return term.total / term.weight


def test_distances_are_means_over_pixels() -> None:
    batch = batch_of(REAL, FAKE)
    pairs = list(zip(FAKE.flatten().tolist(), REAL.flatten().tolist(), strict=True))
    l1, l2 = L1().terms("G", nets_of(Passing()), batch)["l1"], L2().terms("G", nets_of(Passing()), batch)["l2"]
    assert value(l1).item() == pytest.approx(sum(abs(f - r) for f, r in pairs) / 12)
    assert value(l2).item() == pytest.approx(sum((f - r) ** 2 for f, r in pairs) / 12)
    assert L1().terms("D", nets_of(Passing()), batch) == {}


def test_feature_matching_is_the_distance_of_means() -> None:
    term = FeatureMatching().terms("G", nets_of(Features()), batch_of(REAL, FAKE))["features"]
    wanted = 0.0
    for feature in (lambda x: x.sum(), lambda x: x.square().sum()):
        apart = sum(float(feature(x)) for x in REAL) / 3 - sum(float(feature(x)) for x in FAKE) / 3
        wanted += apart**2
    assert term.weight == 3 and value(term).item() == pytest.approx(wanted)


@pytest.mark.parametrize(("objective", "name"), [(L1(), "l1"), (L2(), "l2"), (FeatureMatching(), "features")])
def test_gradients_are_those_of_differences(objective: Any, name: str) -> None:
    fake = FAKE.clone().requires_grad_()

    def loss() -> Tensor:
        return value(objective.terms("G", nets_of(Features()), batch_of(REAL, fake))[name])

    (found,) = torch.autograd.grad(loss(), fake)
    torch.testing.assert_close(found, finite_difference(lambda: loss().detach(), fake), rtol=0, atol=1e-8)


NARROW: dict[Any, dict[str, int]] = {
    mlp: {"hidden": 4},
    dcgan: {"width": 2},
    r3gan: {"width": 8, "group": 4},
    sngan: {"width": 2},
    stylegan2: {"capacity": 16, "most": 4},
}


@pytest.mark.parametrize("module", NARROW, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_d_has_features_for_each_sample(module: Any) -> None:
    net = module.Discriminator(size=16, channels=1, **NARROW[module])
    found = net.features(torch.randn(3, 1, 16, 16))
    assert found.ndim == 2 and len(found) == 3 and found.requires_grad


def test_a_d_without_features_is_refused() -> None:
    facts = ImageFacts(count=100, size=8, channels=1, checksum="random")
    objective = ["hinge", "feature_matching"]
    own = {"use": f"{__name__}:Flat"}
    (found,) = network_problems(small(objective=objective, discriminator=own), facts)
    assert found == "objective: feature_matching needs a discriminator with features, as mlp has it"


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.scale * x.flatten(1).sum(1)


def test_a_sum_trains(tmp_path: Path) -> None:
    objective = ["hinge", {"use": "feature_matching", "weight": 0.1}, {"use": "l1", "weight": 0.01}]
    line = (train(small(objective=objective), tmp_path).local / "scalars.jsonl").read_text().splitlines()[-1]
    assert '"G/feature_matching/features"' in line and '"G/l1/l1"' in line and '"D/hinge/adversarial"' in line
