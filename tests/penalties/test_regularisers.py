"""LeCam, balanced consistency and orthogonal regularisation against their formulas and against differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.augment.augmented_discriminator import AugmentedDiscriminator
from gan_dist.data.facts import ImageFacts
from gan_dist.distributed.randomness import Rng
from gan_dist.execution.preflight import network_problems
from gan_dist.networks.image import dcgan
from gan_dist.networks.text import textcnn
from gan_dist.penalties.bcr import Bcr
from gan_dist.penalties.lecam import LeCam
from gan_dist.penalties.orthogonal import Orthogonal, row_overlap
from gan_dist.penalties.output_l2 import OutputL2
from tests.helpers import Bare, Passing, assert_same_state, batch_of, finite_difference, nets_of, small, stop_at, train

WIDE = torch.float64
REAL, FAKE = [2.0, -0.3, 0.9, -4.0], [0.4, -1.7, 1.3, 3.0]


def logits(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=WIDE)


# --- LeCam -----------------------------------------------------------------------------------------------------------


def lecam_after(steps: list[tuple[float, float]], **arguments: Any) -> LeCam:
    """A penalty that was told these means of real and fake logits, one pair a step."""
    penalty = LeCam(**arguments)
    for real, fake in steps:
        penalty.after_step({"lecam_real": logits([real])[0], "lecam_fake": logits([fake])[0]})
    return penalty


def lecam_of(penalty: LeCam, shift: float = 0.0) -> float:
    batch = batch_of(logits(REAL) + shift, logits(FAKE) + shift)
    term = penalty.terms(nets_of(Passing()), batch)["lecam"]
    assert term.weight is not None
    return float(term.total / term.weight)


def test_lecam_is_its_formula() -> None:
    wanted = sum((r + 0.2) ** 2 for r in REAL) / 4 + sum((f - 0.7) ** 2 for f in FAKE) / 4
    assert lecam_of(lecam_after([(0.7, -0.2)], gamma=0.5)) == pytest.approx(0.5 * wanted)
    one_sided = sum(max(0, r + 0.2) ** 2 for r in REAL) / 4 + sum(max(0, 0.7 - f) ** 2 for f in FAKE) / 4
    assert lecam_of(lecam_after([(0.7, -0.2)], gamma=0.5, one_sided=True)) == pytest.approx(0.5 * one_sided)


def test_lecam_s_means_are_unbiased() -> None:
    """Weights 1, decay, decay^2, ... over their sum, so that there is no pull to 0 at the start."""
    state = lecam_after([(1.0, -1.0), (3.0, 2.0)], decay=0.75).state()
    assert state["real"].item() == pytest.approx((0.75 * 1 + 3) / 1.75)
    assert state["fake"].item() == pytest.approx((0.75 * -1 + 2) / 1.75)
    assert state["weight"].item() == pytest.approx(1 - 0.75**2)


def test_lecam_begins_late() -> None:
    """Up to `start` there is no term and the means are the last step's; from there on they move as by `decay`."""
    assert lecam_of(LeCam()) == 0
    told = [(1.0, -1.0), (3.0, 2.0), (5.0, 4.0)]
    assert lecam_of(lecam_after(told[:1], start=2)) == 0
    assert lecam_after(told[:2], start=2, decay=0.75).state()["real"].item() == 3
    assert lecam_after(told, start=2, decay=0.75).state()["real"].item() == pytest.approx(0.75 * 3 + 0.25 * 5)
    assert lecam_of(lecam_after(told[:2], start=2)) > 0


@pytest.mark.parametrize("one_sided", [False, True])
def test_lecam_is_blind_to_what_is_added_to_all_logits(one_sided: bool) -> None:
    """As relativistic and Wasserstein losses are."""
    told = [(1.0, -1.0), (3.0, 2.0)]
    shifted = [(real + 100, fake + 100) for real, fake in told]
    there = lecam_of(lecam_after(shifted, one_sided=one_sided), shift=100.0)
    assert there == pytest.approx(lecam_of(lecam_after(told, one_sided=one_sided)))


def test_lecam_resumes_exactly(tmp_path: Path) -> None:
    job = small(penalties=[{"use": "lecam", "decay": 0.5, "start": 3}], until="9 steps")
    whole = train(job, tmp_path / "whole")
    train(job, tmp_path / "parts", stopping=stop_at(4))
    assert_same_state(whole.newest, train(job, tmp_path / "parts", attempt=2).newest)
    assert whole.newest.training()["objectives"]["0.penalty.lecam.real"] != 0


# --- balanced consistency --------------------------------------------------------------------------------------------


class Weighing(nn.Module):
    """D(x) = w.x, which a move changes."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.arange(64, dtype=WIDE).sin())

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return x.flatten(1) @ self.w


class Summing(nn.Module):
    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return x.flatten(1).sum(1)


def pictures(seed: int) -> Tensor:
    return torch.randn(8, 1, 8, 8, dtype=WIDE, generator=torch.Generator().manual_seed(seed))


def test_consistency_costs_nothing_where_nothing_changes() -> None:
    flat = torch.ones(8, 1, 8, 8, dtype=WIDE)
    terms = Bcr().terms(nets_of(Weighing()), batch_of(flat, 2 * flat))
    assert terms["bcr_real"].total.item() == pytest.approx(0) == terms["bcr_fake"].total.item()


def test_consistency_compares_a_moved_picture_with_itself() -> None:
    """Every change is one of 2 x 3 x 3, and the difference of the logits is that of one of them."""
    x, net = pictures(0), Weighing()
    terms = Bcr(real=2.0, fake=3.0).terms(nets_of(net), batch_of(x, x))
    allowed = []
    for mirrored in (x, x.flip(3)):
        padded = nn.functional.pad(mirrored, (1, 1, 1, 1), mode="reflect")
        allowed += [padded[..., i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    squares = torch.stack([(net(one) - net(x)).square() for one in allowed])
    batch = batch_of(x, x)
    for name, strength in (("bcr_real", 2.0), ("bcr_fake", 3.0)):
        assert 0 < terms[name].total.item() <= strength * squares.amax(0).sum().item()
        assert terms[name].weight == 8
    one = Bcr(real=1.0).terms(nets_of(net), batch_of(x[:1], x[:1]))["bcr_real"].total
    assert (squares[:, 0] - one).abs().min() < 1e-9, batch.n


def test_consistency_is_of_d_without_augmentation() -> None:
    class Noising:
        def __call__(self, x: Tensor, rng: Rng) -> Tensor:
            return x + rng.normal(*x.shape[1:])

    flat = torch.ones(8, 1, 8, 8, dtype=WIDE)
    batch = batch_of(flat, flat)
    nets = nets_of(Summing())
    nets.by_name["discriminator"] = AugmentedDiscriminator(Bare(Summing()), Noising(), batch)
    assert Bcr().terms(nets, batch)["bcr_real"].total.item() == pytest.approx(0)


# --- orthogonal ------------------------------------------------------------------------------------------------------


def test_overlap_is_the_sum_over_pairs_of_filters() -> None:
    weight = torch.randn(4, 3, 2, 2, dtype=WIDE)
    rows = [row.flatten() for row in weight]
    wanted = sum(float((a @ b) ** 2) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j)
    assert row_overlap(weight).item() == pytest.approx(wanted)
    assert row_overlap(5 * torch.eye(3, dtype=WIDE)).item() == pytest.approx(0), "lengths do not count"


def test_orthogonal_takes_the_weights_that_are_trained() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Embedding(5, 3), nn.Linear(2, 2)).to(WIDE)
    net[2].requires_grad_(False)
    term = Orthogonal(beta=2.0, network="discriminator").terms(nets_of(net), batch_of(None, pictures(0)))["orthogonal"]
    assert term.weight is None and term.total.item() == pytest.approx(2 * row_overlap(net[0].weight).item())
    assert Orthogonal().phase == "G" and Orthogonal(network="discriminator").phase == "D"


# --- L2 on the last layer --------------------------------------------------------------------------------------------


def test_l2_on_the_last_layer_is_that_of_the_authors_two_logits() -> None:
    """Of all pairs of weights whose difference is our one, theirs prefers that with this penalty, at 0.2 for each."""
    judge = textcnn.Discriminator(vocabulary=6, length=4, embedding=3, widths=(1, 2), filters=(2, 2)).to(WIDE)
    term = OutputL2().terms(nets_of(judge), batch_of(None, torch.zeros(2, 4)))["output_l2"]
    difference = torch.cat([judge.out.weight.detach().flatten(), judge.out.bias.detach()])
    one = torch.zeros_like(difference, requires_grad=True)
    for _ in range(200):
        loss = 0.2 * (one.square().sum() + (one - difference).square().sum()) / 2
        (slope,) = torch.autograd.grad(loss, one)
        one = (one - slope).detach().requires_grad_()
    assert term.weight is None and term.total.item() == pytest.approx(loss.item(), rel=1e-12)
    term.total.backward()
    assert torch.allclose(judge.out.weight.grad, 0.1 * judge.out.weight) and judge.highway.new.weight.grad is None
    with pytest.raises(ValueError, match="weight must be at least 0, not -1"):
        OutputL2(weight=-1)


GRADIENTS: dict[str, tuple[Any, str]] = {
    "lecam": (LeCam(), "lecam"),
    "bcr": (Bcr(), "bcr_real"),
    "orthogonal": (Orthogonal(beta=1.0, network="discriminator"), "orthogonal"),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_those_of_differences(name: str) -> None:
    penalty, term = GRADIENTS[name]
    torch.manual_seed(0)
    net = dcgan.Discriminator(size=16, channels=1, width=1, norm="none").to(WIDE)
    x = torch.randn(4, 1, 16, 16, dtype=WIDE)

    def loss() -> Tensor:
        total: Tensor = penalty.terms(nets_of(net), batch_of(x, x.flip(0)))[term].total
        return total

    weight = net.body[2].weight
    (found,) = torch.autograd.grad(loss(), weight)
    torch.testing.assert_close(found, finite_difference(lambda: loss().detach(), weight), rtol=1e-5, atol=1e-7)


def test_batch_norm_goes_with_what_differentiates_nothing() -> None:
    facts = ImageFacts(count=100, size=16, channels=1, checksum="random")
    pair = {"generator": "dcgan", "discriminator": "dcgan", "data": {"source": "digits", "size": 16}}
    allowed = [{"use": "lecam"}, {"use": "bcr"}, {"use": "orthogonal"}]
    assert network_problems(small(**pair, penalties=allowed), facts) == []
    assert len(network_problems(small(**pair, penalties=["r1"]), facts)) == 1


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: LeCam(decay=1.0), r"gamma must be at least 0 and decay in \[0, 1\), not 0.3 and 1.0"),
        (lambda: Bcr(fake=-1.0), "real and fake must be at least 0, not 10.0 and -1.0"),
        (lambda: Orthogonal(beta=-1.0), "beta must be at least 0, not -1.0"),
    ],
)
def test_numbers_out_of_range(make: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()
