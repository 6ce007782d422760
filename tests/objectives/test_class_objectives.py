"""Losses about classes and about two noises: their numbers by hand, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.contracts import Term
from gan_dist.data.facts import ImageFacts
from gan_dist.distributed.randomness import Rng
from gan_dist.execution.preflight import network_problems
from gan_dist.networks.image import biggan, dcgan, sngan
from gan_dist.objectives.auxiliary import DataToData, DiscriminativeClassifier, data_to_data
from gan_dist.objectives.latent_consistency import ModeSeeking, Zcr, moved_noise, vectors
from tests.helpers import batch_of, finite_difference, nets_of, small

WIDE = torch.float64


def sphere(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=WIDE, generator=torch.Generator().manual_seed(0)), dim=-1)


# --- data to data ----------------------------------------------------------------------------------------------------


def test_it_is_its_formula() -> None:
    f, v, cond = sphere(5, 3), sphere(5, 3).flip(0), torch.tensor([0, 1, 0, 2, 1])
    for at, loss in enumerate(data_to_data(f, v, cond, 0.5, 0.9)):
        near = math.exp(min(0, float(f[at] @ v[at]) - 0.9) / 0.5)
        others = [float(f[at] @ f[j]) for j in range(5) if cond[j] != cond[at]]
        apart = sum(math.exp(max(0, one - 0.1) / 0.5) for one in others)
        assert loss.item() == pytest.approx(-math.log(near / (near + apart)))


def test_of_one_class_alone_there_is_nothing_to_say() -> None:
    assert not data_to_data(sphere(4, 3), sphere(4, 3), torch.zeros(4).long(), 0.5, 0.98).any()


def test_its_gradient_is_that_of_differences() -> None:
    f, v, cond = sphere(4, 3).requires_grad_(), sphere(4, 3).flip(0), torch.tensor([0, 1, 0, 2])

    def loss() -> Tensor:
        return data_to_data(f, v, cond, 0.5, 0.9).sum()

    (found,) = torch.autograd.grad(loss(), f)
    torch.testing.assert_close(found, finite_difference(lambda: loss().detach(), f), rtol=1e-5, atol=1e-8)


def test_parts_of_a_batch_have_the_gradient_of_the_whole() -> None:
    """Each compares with all, of which its own samples alone have a gradient."""

    class Placing(nn.Module):
        def compare(self, x: Tensor, cond: Tensor) -> Tensor:
            return F.normalize(torch.stack([x, self.classes[cond]], 1), dim=2)

    judge, x, cond = Placing(), torch.randn(7, 3, dtype=WIDE), torch.tensor([0, 1, 0, 2, 1, 1, 0])
    judge.classes = nn.Parameter(torch.randn(3, 3, dtype=WIDE))
    x.requires_grad_()
    nets, objective = nets_of(judge), DataToData()

    def of_part(first: int, last: int) -> Term:
        batch = batch_of(x[first:last], x[first:last], cond[first:last])
        batch.first, batch.everyone = first, {} if last - first == 7 else {objective: everyone}
        return objective.terms("D", nets, batch)["data_to_data"]

    everyone = objective.ahead("D", nets, batch_of(x, x, cond)).detach()
    whole, parts = of_part(0, 7), [of_part(0, 3), of_part(3, 4), of_part(4, 7)]
    wanted = torch.autograd.grad(whole.total, (x, judge.classes))
    found = torch.autograd.grad(sum(part.total for part in parts), (x, judge.classes))
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(sum(part.total for part in parts), whole.total)
    assert [part.weight for part in parts] == [3, 1, 3]


@pytest.mark.parametrize("kind", [dcgan, sngan, biggan])
def test_discriminators_place_samples_and_classes_on_a_sphere(kind: Any) -> None:
    judge = kind.Discriminator(size=32, channels=1, classes=3, width=8, auxiliary="proxies")
    x, cond = torch.randn(4, 1, 32, 32), torch.tensor([0, 2, 1, 1])
    places = judge.compare(x, cond)
    assert places.shape == (4, 2, 512) and torch.allclose(places.norm(dim=2), torch.ones(4, 2))
    assert torch.equal(places[2, 1], places[3, 1]) and not torch.equal(places[0, 1], places[1, 1])
    assert judge.embed is None and judge(x, cond).shape == (4,)
    terms = DataToData().terms("D", nets_of(judge), batch_of(x, x, cond))
    assert terms["data_to_data"].total.item() > 0
    assert kind.Discriminator(size=32, channels=1, classes=3, width=2, auxiliary="real_fake").classify(x).shape == (
        4,
        6,
    )


# --- a classifier of real and generated samples ----------------------------------------------------------------------


class Saying(nn.Module):
    """Six logits of each sample: its own first six numbers."""

    classes, auxiliary = 3, "real_fake"

    def classify(self, x: Tensor) -> Tensor:
        return x[:, :6]


def test_real_and_generated_samples_of_a_class_are_told_apart() -> None:
    real, fake, cond = sphere(4, 6), sphere(4, 6).flip(0), torch.tensor([0, 2, 1, 1])
    batch, nets = batch_of(real, fake, cond), nets_of(Saying())

    def unlikely(x: Tensor, offset: int) -> float:
        return -sum(float(torch.log_softmax(x[i], 0)[2 * int(cond[i]) + offset]) for i in range(4))

    terms = DiscriminativeClassifier().terms("D", nets, batch)
    assert terms["real_class"].total.item() == pytest.approx(unlikely(real, 0))
    assert terms["fake_class"].total.item() == pytest.approx(unlikely(fake, 1))
    g = DiscriminativeClassifier().terms("G", nets, batch)["fake_class"]
    assert g.total.item() == pytest.approx(unlikely(fake, 0) - unlikely(fake, 1))


@pytest.mark.parametrize(
    ("objective", "has", "text"),
    [
        ("data_to_data", "classes", "objective: data_to_data: the discriminator says nothing of them; give it "
                                    "`auxiliary: proxies`"),
        ("discriminative_classifier", "none", "`auxiliary: real_fake`"),
    ],
)  # fmt: skip
def test_a_discriminator_that_says_nothing_of_classes_is_refused(objective: str, has: str, text: str) -> None:
    facts = ImageFacts(count=100, size=16, channels=1, checksum="random", classes=("a", "b"), class_counts=(50, 50))
    job = small(
        data={"source": "digits", "size": 16, "labels": "source"},
        discriminator={"use": "dcgan", "width": 2, "auxiliary": has},
        objective=[{"use": "hinge"}, {"use": objective}],
    )
    assert any(text in problem for problem in network_problems(job, facts))


# --- two noises ------------------------------------------------------------------------------------------------------


class Doubling(nn.Module):
    """G(z) = 2z, as pictures."""

    def draw(self, n: int, rng: Rng) -> Tensor:
        return rng.normal(6)

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        return 2 * noise.view(-1, 1, 2, 3)


class Summing(nn.Module):
    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return x.flatten(1).sum(1)


def two_noises() -> tuple[Any, Any]:
    z = sphere(5, 6)
    batch = batch_of(None, 2 * z.view(-1, 1, 2, 3))
    batch.noise = z
    return batch, nets_of(Summing(), Doubling())


def test_neighbours_are_judged_alike_and_look_different() -> None:
    batch, nets = two_noises()
    moved = 0.05 * batch.rng("zcr").normal(6)
    d = Zcr(fake=3.0).terms("D", nets, batch)["zcr"]
    assert d.total.item() == pytest.approx(3 * (2 * moved).sum(1).square().sum().item())
    g = Zcr(spread=0.5).terms("G", nets, batch)["spread"]
    assert g.weight == 30 and g.total.item() == pytest.approx(-0.5 * (2 * moved).square().sum().item())


def test_maps_of_noise_stay_where_they_are() -> None:
    noise = {"z": sphere(2, 3), "pixels": [torch.zeros(2, 1, 4, 4)], "change": torch.zeros(2)}
    batch = batch_of(None, torch.zeros(2, 1))
    moved = moved_noise(noise, batch.rng("zcr"), 0.1)
    assert not torch.equal(moved["z"], noise["z"]) and moved["pixels"] is noise["pixels"]
    assert len(vectors(noise)) == 1 and vectors(noise)[0] is noise["z"]


def test_modes_are_sought_where_the_picture_ignores_the_noise() -> None:
    batch, nets = two_noises()
    term = ModeSeeking().terms("G", nets, batch)["mode_seeking"]
    assert term.total.item() / 5 == pytest.approx(1 / (2 + 1e-5)), "G(z) = 2z moves twice as far as z"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Zcr(radius=0.0), "radius above, not 20.0, 0.5 and 0.0"),
        (lambda: DataToData(temperature=0.0), "temperature must be above 0"),
        (lambda: DataToData(margin=1.5), r"margin in \[0, 1\], not 0.5 and 1.5"),
    ],
)
def test_numbers_out_of_range(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()
