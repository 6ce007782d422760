"""Augmentations: each change against its definition, derivatives, and where D's gradient is taken."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.augment import transforms
from gan_dist.augment.ada import Ada, rotation
from gan_dist.augment.augmented_discriminator import AugmentedDiscriminator
from gan_dist.augment.diffaugment import DiffAugment
from gan_dist.augment.transforms import SYM6, cutout, flip, resample_affine, rotate_quarters, shift_pixels
from gan_dist.contracts import Objective, Phase
from gan_dist.data.facts import ImageFacts
from gan_dist.distributed.randomness import Rng, single_lane_rng
from gan_dist.execution.preflight import network_problems
from gan_dist.objectives.adversarial import Hinge, LeastSquares, NonSaturating
from gan_dist.objectives.reconstruction import L1
from gan_dist.objectives.relativistic import Relativistic
from gan_dist.objectives.wasserstein import Wasserstein
from gan_dist.penalties.r1 import R1
from gan_dist.training.stages import threshold_of, watches_augment
from tests.helpers import CPU, Bare, Passing, assert_same_state, batch_of, nets_of, small, stop_at, train

WIDE = torch.float64


def rng_of(n: int, key: str = "augment") -> Rng:
    return single_lane_rng((key,), n, CPU, WIDE)


def pictures(n: int = 6, channels: int = 3, size: int = 16) -> Tensor:
    return rng_of(n, "pictures").normal(channels, size, size)


def blob(size: int = 32) -> Tensor:
    """A smooth picture, which resampling hardly changes."""
    at = torch.linspace(-1, 1, size, dtype=WIDE)
    return torch.exp(-6 * ((at[None, :] - 0.3) ** 2 + 2 * (at[:, None] + 0.1) ** 2))[None, None]


def maps(linear: Tensor, shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    return torch.cat([linear, torch.tensor([[shift[0]], [shift[1]]], dtype=WIDE)[None]], 2)


# --- whole pixels ----------------------------------------------------------------------------------------------------


def test_flips_and_turns_are_torchs() -> None:
    x = pictures(4)
    which = torch.tensor([True, False, True, False])
    made = flip(x, which)
    assert torch.equal(made[0], x[0].flip(2)) and torch.equal(made[1], x[1])
    made = rotate_quarters(x, torch.arange(4))
    for quarter in range(4):
        assert torch.equal(made[quarter], x[quarter].rot90(quarter, (1, 2)))


@pytest.mark.parametrize("mirrored", [True, False])
def test_moves_are_those_of_a_padded_picture(mirrored: bool) -> None:
    x = pictures(3, size=8)
    shift = torch.tensor([[3, -2], [0, 0], [-7, 7]])
    padded = nn.functional.pad(x, (7, 7, 7, 7), mode="reflect" if mirrored else "constant")
    for made, big, (right, down) in zip(shift_pixels(x, shift, mirrored), padded, shift.tolist(), strict=True):
        assert torch.equal(made, big[:, 7 - down : 15 - down, 7 - right : 15 - right])


def test_a_hole_is_a_square_of_zeros_that_may_lie_over_the_edge() -> None:
    x = torch.ones(2, 1, 8, 8)
    made = cutout(x, torch.tensor([[0.0, 0.0], [0.5, 0.7]]), 0.5)
    assert made[0].sum() == 64 - 4, "around the corner pixel, a quarter of the square is inside"
    rows, columns = made[1, 0].sum(1), made[1, 0].sum(0)
    assert rows.tolist().count(4) == 4 and columns.tolist().count(4) == 4


# --- resampling ------------------------------------------------------------------------------------------------------


def test_the_filter_is_orthonormal_to_its_shifts_by_two() -> None:
    taps = torch.tensor(SYM6, dtype=WIDE)
    for shift in (0, 2, 4, 6, 8, 10):
        product = (taps[shift:] * taps[: len(taps) - shift]).sum()
        assert product == pytest.approx(float(shift == 0), abs=1e-10)
    assert taps.sum() == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("size", [4, 8, 32])
def test_the_map_that_moves_nothing_gives_the_picture_back(size: int) -> None:
    x = pictures(2, size=size)
    eye = torch.eye(2, 3, dtype=WIDE).expand(2, 2, 3)
    assert torch.allclose(resample_affine(x, eye), x, atol=1e-10)


def test_maps_do_what_they_say() -> None:
    x = blob()
    quarter = rotation(torch.tensor([math.pi / 2], dtype=WIDE))
    assert torch.allclose(resample_affine(x, maps(quarter)), x.rot90(1, (2, 3)), atol=2e-3)
    mirror = torch.tensor([[[-1.0, 0], [0, 1]]], dtype=WIDE)
    assert torch.allclose(resample_affine(x, maps(mirror)), x.flip(3), atol=2e-3)
    eye = torch.eye(2, dtype=WIDE)[None]
    left = resample_affine(x, maps(eye, (2 * 3 / 32, 0.0)))
    assert torch.allclose(left[..., :-3], x[..., 3:], atol=1e-6)
    mirrored = x[..., -3:].flip(3)
    assert torch.allclose(left[..., -3:], mirrored, atol=2e-3), "what lies beyond the edge"


def test_scaling_is_about_the_middle_with_little_loss() -> None:
    at = torch.linspace(-31 / 32, 31 / 32, 32, dtype=WIDE)
    wave = torch.cos(3 * at)[None, None, None, :].expand(1, 1, 32, 32)
    half = torch.eye(2, dtype=WIDE)[None] / 2
    assert torch.allclose(resample_affine(wave, maps(half)), torch.cos(1.5 * at).expand(1, 1, 32, 32), atol=2e-3)


# --- colour ----------------------------------------------------------------------------------------------------------


def test_colours_by_their_definitions() -> None:
    x, n = pictures(5), 5
    by = rng_of(n, "by").uniform() + 0.2
    mean = x.mean(1, keepdim=True)
    each = by[:, None, None, None]
    assert torch.allclose(transforms.apply_color_matrix(x, transforms.brightness(by)), x + each)
    assert torch.allclose(transforms.apply_color_matrix(x, transforms.contrast(by)), each * x)
    assert torch.allclose(transforms.apply_color_matrix(x, transforms.saturation(by)), mean + each * (x - mean))
    once = torch.ones(n, dtype=WIDE)
    assert torch.allclose(transforms.apply_color_matrix(x, transforms.luma_flip(once)), x - 2 * mean)
    assert torch.equal(transforms.apply_color_matrix(x, transforms.luma_flip(0 * once)), x)


def test_hue_turns_about_grey() -> None:
    x = pictures(4)
    third = torch.full((4,), 2 * math.pi / 3, dtype=WIDE)
    assert torch.allclose(transforms.apply_color_matrix(x, transforms.hue(third)), x[:, [2, 0, 1]]), "red becomes green"
    turned_x = transforms.apply_color_matrix(x, transforms.hue(rng_of(4).uniform() * 6))
    assert torch.allclose(turned_x.mean(1), x.mean(1))
    assert torch.allclose(turned_x.square().sum(1), x.square().sum(1))


def test_grey_stays_grey_and_transparency_stays() -> None:
    angle = rng_of(4).uniform()
    grey = pictures(4, channels=1)
    assert torch.allclose(transforms.apply_color_matrix(grey, transforms.hue(angle)), grey)
    clear = pictures(4, channels=4)
    made = transforms.apply_color_matrix(clear, transforms.contrast(angle))
    assert torch.equal(made[:, 3], clear[:, 3]) and made.shape == clear.shape


# --- the two together ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_with_p_0_a_picture_stays_as_it_is_to_the_bit(channels: int) -> None:
    x = pictures(8, channels=channels)
    assert torch.equal(Ada(p=0.0, cutout=1.0)(x, rng_of(8)), x)
    assert not torch.equal(Ada(p=1.0)(x, rng_of(8)), x)


@pytest.mark.parametrize(
    ("group", "share"),
    [
        # Half the mirrors and a quarter of the turns change nothing; four pixels are moved by none.
        ("blit", 1 - (1 - 0.1) * (1 - 0.15)),
        ("geometry", 1 - (1 - 0.2) ** 4),
        # Hue and saturation do nothing to grey.
        ("colour", 1 - (1 - 0.2) ** 2 * (1 - 0.1)),
        ("cutout", 0.2),
    ],
)
def test_each_change_comes_as_often_as_p_says(group: str, share: float) -> None:
    x = pictures(2000, channels=1, size=4)
    only = {"blit": 0.0, "geometry": 0.0, "colour": 0.0, "cutout": 0.0} | {group: 1.0}
    changed = (Ada(p=0.2, **only)(x, rng_of(2000)) - x).abs().amax((1, 2, 3)) > 1e-9
    assert changed.double().mean().item() == pytest.approx(share, abs=0.03)


AUGMENTS = {
    "ada": Ada(p=0.7, cutout=1.0),
    "diffaugment": DiffAugment(),
    "translation alone": DiffAugment(policy=["translation"]),
}


@pytest.mark.parametrize("name", AUGMENTS)
@pytest.mark.parametrize("channels", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_first_and_second_derivatives(name: str, channels: int) -> None:
    x = pictures(2, channels=channels, size=5).requires_grad_()

    def changed(x: Tensor) -> Tensor:
        return AUGMENTS[name](x, rng_of(2))

    assert torch.autograd.gradcheck(changed, (x,))
    assert torch.autograd.gradgradcheck(lambda x: changed(x).pow(3), (x,))


@pytest.mark.parametrize("name", AUGMENTS)
def test_a_sample_is_changed_alike_in_any_company(name: str) -> None:
    """Lanes of 4: the second lane alone is as it was beside the first."""
    x = pictures(8)
    whole = AUGMENTS[name](x, Rng(("a",), [(0, 4), (1, 4)], CPU, WIDE))
    part = AUGMENTS[name](x[4:], Rng(("a",), [(1, 4)], CPU, WIDE))
    assert torch.equal(whole[4:], part)


def test_diffaugment_by_its_definition() -> None:
    x = pictures(3)
    brightness, saturation, contrast = (u[:, None, None, None] for u in rng_of(3).uniform(3).unbind(1))
    x1 = x + brightness - 0.5
    x2 = (x1 - x1.mean(1, keepdim=True)) * 2 * saturation + x1.mean(1, keepdim=True)
    mean = x2.mean((1, 2, 3), keepdim=True)
    wanted = (x2 - mean) * (contrast + 0.5) + mean
    assert torch.allclose(DiffAugment(policy=["color"])(x, rng_of(3)), wanted)


# --- before D --------------------------------------------------------------------------------------------------------


class Doubling:
    def __call__(self, x: Tensor, rng: Rng) -> Tensor:
        return 2 * x


class Summing(nn.Module):
    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return x.flatten(1).sum(1)


def test_r1_is_taken_by_the_picture_before_the_change() -> None:
    x = pictures(3, channels=1, size=4)
    nets, batch = nets_of(Summing()), batch_of(x, x)
    nets.by_name["discriminator"] = AugmentedDiscriminator(Bare(Summing()), Doubling(), batch)
    penalty = R1(gamma=2.0).terms(nets, batch)["r1"]
    assert penalty.total.item() == pytest.approx(3 * 16 * 2**2)
    assert torch.equal(nets.D.raw(x), x.flatten(1).sum(1)), "raw D sees the picture itself"


def test_real_and_fake_samples_are_changed_independently() -> None:
    x = pictures(4)
    batch = batch_of(x, x.clone())
    net = AugmentedDiscriminator(Bare(nn.Identity()), Ada(p=0.9), batch)
    assert not torch.equal(net(x), net(x))


def test_p_follows_the_sign_of_real_logits() -> None:
    ada = Ada(p=0.5, target=0.6, ramp=800)

    def four_steps(sign: float) -> None:
        for _ in range(4):
            ada.after_step({"real_sign": torch.tensor(sign, dtype=WIDE)}, 20)

    four_steps(0.9)
    assert float(ada.p) == pytest.approx(0.5 + 4 * 20 / 800)
    four_steps(0.5)
    assert float(ada.p) == pytest.approx(0.5)
    for _ in range(20):
        four_steps(-1.0)
    assert float(ada.p) == 0.0


@pytest.mark.parametrize(
    ("objective", "wanted"),
    [
        (NonSaturating(), {"real_sign": (1 + 1 - 1 + 1) / 4}),
        (LeastSquares(), {"real_sign": (1 - 1 - 1 + 1) / 4}),  # above 0.5
        (Relativistic(), {"lead_sign": (1 + 1 - 1 - 1) / 4}),
        (Wasserstein(), {"lead_sign": (1 + 1 - 1 - 1) / 4}),
    ],
)
def test_how_sure_d_is(objective: Objective, wanted: dict[str, float]) -> None:
    """By the loss's own zero; where it has none, against generated samples, whatever is added to all logits."""
    real, fake = (torch.tensor(values, dtype=WIDE) for values in ([2.0, 0.3, -0.1, 0.9], [1.0, -1.0, 0.5, 3.0]))
    for shift in (0.0, 7.0) if "lead_sign" in wanted else (0.0,):
        batch = batch_of(real + shift, fake + shift)
        batch.threshold = threshold_of([objective])
        terms = Ada(target=0.6).terms(nets_of(Passing()), batch)
        found = {name: float(term.total / term.weight) for name, term in terms.items() if name != "p"}
        assert found == pytest.approx(wanted)


def test_a_critic_beside_another_loss_is_judged_by_differences() -> None:
    assert threshold_of([Hinge(), Wasserstein()]) is None and threshold_of([Hinge(), L1()]) == 0


def test_p_is_steered_by_the_lead(tmp_path: Path) -> None:
    """In a run with a relativistic loss, where D's logits have no zero."""
    job = small(objective={"use": "relativistic"}, augment={"use": "ada", "target": 0.6, "ramp": 100}, until="8 steps")
    train(job, tmp_path)
    reports = [json.loads(line) for line in (tmp_path / "scalars.jsonl").read_text().splitlines()]
    assert all(-1 <= report["augment/lead_sign"] <= 1 for report in reports) and "augment/real_sign" not in reports[0]
    assert [report["D/real_minus_fake"] for report in reports] == pytest.approx(
        [report["D/real_logits"] - report["D/fake_logits"] for report in reports], abs=1e-6
    )


def test_only_phases_that_train_d_on_reals_are_watched() -> None:
    assert watches_augment(Phase("D", ("discriminator",)))
    assert not watches_augment(Phase("G", ("generator",), real=True))
    assert not watches_augment(Phase("D", ("discriminator",), real=False))


def test_a_run_with_adaptive_p_resumes_exactly(tmp_path: Path) -> None:
    job = small(augment={"use": "ada", "target": 0.6, "p": 0.3, "ramp": 100}, until="11 steps")
    whole = train(job, tmp_path / "whole")
    train(job, tmp_path / "parts", stopping=stop_at(6))
    parts = train(job, tmp_path / "parts", attempt=2)
    assert_same_state(whole.newest, parts.newest)
    stored = whole.newest.training()["objectives"]
    assert stored["augment.p"] != 0.3 and stored["augment.steps"] == 11


def test_p_is_logged_and_may_follow_a_schedule(tmp_path: Path) -> None:
    rising = {"linear": {"from": 0.0, "to": 0.8, "over": "8 steps"}}
    trained = train(small(augment={"use": "ada", "p": rising}), tmp_path)
    lines = (trained.local / "scalars.jsonl").read_text().splitlines()
    assert '"augment/p": 0.0' in lines[0] and '"augment/p": 0.5' in lines[5]


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"p": 1.5}, "p must be in [0, 1], not 1.5"),
        ({"target": 1.0}, "target must be in (0, 1), not 1.0; the paper has 0.6"),
        ({"colour": -0.5}, "colour must be in [0, 1], not -0.5"),
        ({"ramp": 0}, "ramp must be at least 1 image, not 0"),
    ],
)
def test_numbers_out_of_range(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError) as refused:
        Ada(**arguments)
    assert str(refused.value) == complaint


def test_unknown_policy() -> None:
    with pytest.raises(ValueError, match="policy must be some of color, translation, cutout, not \\['colour'\\]"):
        DiffAugment(policy=["colour"])  # type: ignore[list-item]


@pytest.mark.parametrize("shape", [(8, 12), (12, 8)])
def test_images_that_are_no_squares(shape: tuple[int, int]) -> None:
    x = torch.rand(64, 3, *shape, dtype=WIDE) * 2 - 1
    assert Ada(p=1.0, cutout=1.0)(x, rng_of(64)).shape == DiffAugment()(x, rng_of(64)).shape == x.shape
    assert torch.equal(Ada(p=0.0)(x, rng_of(64)), x)
    hole = cutout(torch.ones(1, 1, *shape), torch.tensor([[0.5, 0.5]]), 1 / 2)
    assert hole.numel() - int(hole.sum()) == shape[0] // 2 * (shape[1] // 2), "half of the height by half of the width"
    assert torch.equal(rotate_quarters(x[:2], torch.tensor([2, 1]))[0], x[0].rot90(2, (1, 2)))


def test_turns_and_shifts_of_wide_images_are_in_pixels() -> None:
    down, right = torch.arange(32, dtype=WIDE) - 15, torch.arange(48, dtype=WIDE) - 25
    x = torch.exp(-(down**2)[:, None] / 80 - right**2 / 80)[None, None]
    half, quarter = (rotation(torch.tensor([angle], dtype=WIDE)) for angle in (math.pi, math.pi / 2))
    assert torch.allclose(resample_affine(x, maps(half)), x.rot90(2, (2, 3)), atol=2e-3)
    assert torch.allclose(resample_affine(x, maps(quarter))[..., 8:-8], x[..., 8:-8].rot90(1, (2, 3)), atol=2e-3)
    moved = resample_affine(x, maps(torch.eye(2, dtype=WIDE)[None], (-2 * 3 / 48, -2 * 5 / 32)))
    assert torch.allclose(moved[..., 5:, 3:], x[..., :-5, :-3], atol=1e-6), "3 pixels right and 5 down"


class Cropping:
    """Wrong: the picture becomes smaller."""

    def __call__(self, x: Tensor, rng: Rng) -> Tensor:
        return x[..., 1:]


FACTS = ImageFacts(count=100, size=8, channels=1, checksum="random")


@pytest.mark.parametrize(
    ("augment", "complaint"),
    [
        ({"use": f"{__name__}:Cropping"}, "augment: makes (2, 1, 8, 7) of images (2, 1, 8, 8) [B, C, H, W]"),
        ({"use": "ada", "p": 2.0}, "augment 'ada': p must be in [0, 1], not 2.0"),
        (
            {"use": "ada", "target": 0.6, "p": {"linear": {"from": 0.0, "to": 0.5, "over": "1k"}}},
            "augment.p: a schedule needs the component to read self.p as a plain number",
        ),
    ],
)
def test_what_cannot_work_is_said_before_training(augment: dict[str, Any], complaint: str) -> None:
    (found,) = network_problems(small(augment=augment), FACTS)
    assert found.startswith(complaint)
