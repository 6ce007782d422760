"""Distillation into D against a cosine by hand, what it costs and leaves alone, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.augment.augmented_discriminator import AugmentedDiscriminator
from gan_dist.augment.diffaugment import DiffAugment
from gan_dist.contracts import Batch, Nets
from gan_dist.data.facts import ImageFacts
from gan_dist.distributed.first_weights import first_weights
from gan_dist.execution.preflight import network_problems
from gan_dist.networks.image import gat
from gan_dist.networks.layers import teachers
from gan_dist.networks.layers.teachers import build_teacher, teacher_width
from gan_dist.objectives.distillation import Distillation
from gan_dist.objectives.multi_level import MultiLevel, judged_reals, noised_levels
from tests.helpers import Bare, assert_same_state, batch_of, everything, nets_of, small, stop_at, train

WIDE = torch.float64
LITE: dict[str, Any] = {"teacher": "efficientnet_lite0", "weights": "random", "resolution": 32}
SMALL: dict[str, Any] = {"hidden": 16, "depth": 4, "heads": 2}


class Teacher(nn.Module):
    """Says the same of every picture at hand, and remembers what it was shown."""

    def __init__(self, whole: Tensor, places: Tensor) -> None:
        super().__init__()
        self.whole, self.places = nn.Parameter(whole), nn.Parameter(places)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.shown = x
        return self.whole + 0, self.places + 0


def taught(size: int = 8, width: int = 5) -> tuple[gat.Discriminator, Batch, Nets]:
    """D and a batch of three in float64."""
    torch.manual_seed(0)
    judge = gat.Discriminator(size=size, channels=1, **SMALL, taught=width).double()
    batch = batch_of(torch.rand(3, 1, size, size, dtype=WIDE) * 2 - 1, torch.zeros(3, 1, size, size, dtype=WIDE))
    batch.noise = torch.randn(3, 4, dtype=WIDE)
    return judge, batch, nets_of(judge, gat.Generator(size=size, channels=1, **SMALL, z=4).double())


def distillation(places: int = 4, width: int = 5) -> tuple[Distillation, Teacher]:
    objective = Distillation(**LITE)
    teacher = Teacher(torch.randn(3, width, dtype=WIDE), torch.randn(3, width, places, places, dtype=WIDE))
    objective.network = teacher
    return objective, teacher


def cosine(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum() / (one.square().sum().sqrt() * other.square().sum().sqrt())


@pytest.mark.parametrize("side", [4, 2, 7])
def test_it_is_one_minus_the_cosine_for_the_whole_and_each_place(side: int) -> None:
    judge, batch, nets = taught()
    objective, teacher = distillation(side)
    terms = objective.terms("D", nets, batch)
    assert batch.real is not None and torch.equal(teacher.shown, batch.real), "without noise"
    levels = noised_levels(batch.real[:, None].expand(-1, 4, -1, -1, -1), batch.rng("levels real"))
    _, tokens = judge.forward_tokens(levels.flatten(1, 2))
    made = judge.predict(tokens)  # type: ignore[misc]
    seen = teacher.places
    if side != 4:
        seen = F.interpolate(seen, (4, 4), mode="bicubic", align_corners=False)  # type: ignore[assignment]
    whole = sum(1 - cosine(made[n, 0], teacher.whole[n]) for n in range(3)) / 3
    places = sum(
        1 - cosine(made[n, 1 + 4 * row + column], seen[n, :, row, column])
        for n in range(3)
        for row in range(4)
        for column in range(4)
    )
    for name, wanted in (("whole", whole), ("places", places / 48)):
        term = terms[name]
        assert term.weight is not None
        torch.testing.assert_close(term.total / term.weight, wanted, rtol=1e-12, atol=0)
    sum(term.total for term in terms.values()).backward()  # type: ignore[union-attr]
    assert teacher.whole.grad is None and teacher.places.grad is None
    assert all(p.grad is not None for p in (*judge.predict.parameters(), *judge.blocks.parameters()))  # type: ignore[union-attr]
    assert judge.head.weight.grad is None, "what judges learns nothing of it"


@pytest.mark.parametrize("first", [0, 1])
def test_the_pass_of_the_loss_is_shared(first: int) -> None:
    """D is passed as often as without it, and the loss is the same."""
    judge, batch, nets = taught()
    passes: list[int] = []
    judge.first.register_forward_hook(lambda *_: passes.append(1))
    alone = MultiLevel(gamma=0.0).terms("D", nets, batch)["adversarial"]
    assert len(passes) == 2
    passes.clear()
    parts: list[Any] = [MultiLevel(gamma=0.0), distillation()[0]]
    fresh = batch.anew()
    terms: dict[str, Any] = {}
    for part in (parts[first], parts[1 - first]):
        terms |= part.terms("D", nets, fresh)
    assert len(passes) == 2 and torch.equal(terms["adversarial"].total, alone.total)
    assert distillation()[0].terms("G", nets, batch) == {}, "nothing for G"


@pytest.mark.parametrize("policy", [["translation", "cutout"], ["color", "translation", "cutout"]])
def test_the_teacher_sees_what_was_augmented(policy: list[Any]) -> None:
    """As the last of D's four pictures: colours are changed by means over all of them."""
    judge, batch, nets = taught()
    augment = DiffAugment(policy=policy)
    augmented = AugmentedDiscriminator(Bare(judge), augment, batch)
    objective, teacher = distillation()
    objective.terms("D", Nets({**nets.by_name, "discriminator": augmented}), batch)
    assert batch.real is not None and augmented.passes == 1
    wanted = augment(batch.real.repeat(1, 4, 1, 1), batch.rng("augment 1"))[:, 3:]
    assert torch.equal(teacher.shown, wanted) and not torch.equal(wanted, batch.real)


def test_what_a_batch_shares_does_not_hold_it() -> None:
    """Else its pictures and the graph of its passes stay until Python looks for circles, after an error too."""
    _, batch, nets = taught()
    judged = judged_reals(nets, batch)
    held = {id(one) for one in vars(judged).values()}
    assert batch.once("judged reals", list) is judged and not held & {id(batch), id(nets), id(nets.D)}


def test_the_teacher_that_comes_with_the_extra_sees_grey_as_colour() -> None:
    torch.manual_seed(0)
    teacher = build_teacher("efficientnet_lite0", "random", 64)
    assert not teacher.training and not any(parameter.requires_grad for parameter in teacher.parameters())
    grey = torch.rand(2, 1, 20, 24) * 2 - 1
    whole, places = teacher(grey)
    assert whole.shape == (2, 320) == (2, teacher_width("efficientnet_lite0", "random"))
    assert places.shape == (2, 320, 2, 2)
    torch.testing.assert_close(whole, places.mean((2, 3)))
    assert torch.equal(teacher(grey.expand(-1, 3, -1, -1))[1], places)


def test_dinov2_is_as_large_as_its_file(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not here")
    torch.manual_seed(0)
    network = timm.create_model("vit_small_patch14_dinov2", img_size=56, num_classes=0).eval()
    path = str(tmp_path / "small.pth")
    torch.save(network.state_dict(), path)
    assert teacher_width("dinov2", path) == 384
    teacher = build_teacher("dinov2", path, 56)
    shown = torch.rand(2, 1, 56, 56) * 2 - 1
    whole, places = teacher(shown)
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    tokens = network.forward_features(((shown + 1) / 2 - mean) / deviation)
    torch.testing.assert_close(whole, tokens[:, 0])
    torch.testing.assert_close(places[:, :, 1, 2], tokens[:, 1 + 4 + 2])
    assert build_teacher("dinov2", path, 28)(shown)[1].shape == (2, 384, 2, 2)


JOB: dict[str, Any] = {
    "generator": {"use": "gat", **SMALL, "z": 4},
    "discriminator": {"use": "gat", **SMALL, "taught": 320},
    "objective": [{"use": "multi_level"}, {"use": "distillation", **LITE}],
    "until": "5 steps",
}


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_for_bit_and_stores_no_teacher(tmp_path: Path) -> None:
    straight = train(small(**JOB), tmp_path / "straight")
    train(small(**JOB), tmp_path / "twice", stop_at(3))
    again = train(small(**JOB), tmp_path / "twice", attempt=2)
    assert_same_state(straight.newest, again.newest)
    line = json.loads((straight.local / "scalars.jsonl").read_text().splitlines()[-1])
    assert {"D/distillation/whole", "D/distillation/places"} < set(line)
    own = gat.Discriminator(size=8, channels=1, **SMALL, taught=320).state_dict()
    assert straight.newest.tensors("discriminator").keys() == own.keys()
    assert not any("taps" in name or "teacher" in name for name in everything(straight.newest))


@pytest.mark.slow
def test_micro_batches_change_nothing_and_the_teacher_is_never_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[nn.Module] = []

    def remembered(*args: Any) -> nn.Module:
        made.append(teachers.build_teacher(*args))
        return made[-1]

    monkeypatch.setattr("gan_dist.objectives.distillation.build_teacher", remembered)
    calm = {"optimizer": {"lr": 1e-3, "eps": 1e-6}, "until": "3 steps"}
    whole = train(small(**JOB | calm), tmp_path / "whole").newest.tensors("discriminator")
    parts = train(small(**JOB | calm, micro_batch=4), tmp_path / "parts").newest.tensors("discriminator")
    assert all(torch.allclose(one, parts[name], rtol=0, atol=1e-10) for name, one in whole.items())
    assert len(made) == 2
    for one in made:
        assert not one.training and all(p.grad is None and not p.requires_grad for p in one.parameters())
        with first_weights(0):
            fresh = teachers.build_teacher("efficientnet_lite0", "random", 32).state_dict()
        assert all(torch.equal(tensor, fresh[name].to(tensor.dtype)) for name, tensor in one.state_dict().items())


def problems(**changes: Any) -> list[str]:
    facts = ImageFacts(count=100, size=8, channels=changes.pop("channels", 1), checksum="random")
    return network_problems(small(**JOB | changes), facts)


def test_what_does_not_fit_is_said_in_preflight() -> None:
    label = "objective: distillation"
    assert problems() == []
    assert problems(discriminator={"use": "gat", **SMALL}) == [
        f"{label}: the discriminator predicts no features; give it `taught: 320`"
    ]
    assert problems(discriminator={"use": "gat", **SMALL, "taught": 768}) == [
        f"{label}: the discriminator predicts features of 768 dimensions, and those of efficientnet_lite0 have 320; "
        "give it `taught: 320`"
    ]
    assert problems(channels=4) == [
        f"{label}: efficientnet_lite0 looks at pictures of 1 or 3 channels, not 4; set data.channels: 3"
    ]
    (found,) = problems(objective=[{"use": "hinge"}, JOB["objective"][1]], discriminator={"use": "mlp", "hidden": 4})
    assert found == f"{label} needs a discriminator with forward_tokens and predictions, as gat has it"


def test_the_message_says_which_file_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError) as caught:
        Distillation()
    wanted = tmp_path / "hub" / "checkpoints" / "dinov2-large-399fba97.safetensors"
    assert str(caught.value) == (
        f"the weights of dinov2 are needed, and '{wanted}' is not there; get them: gan-dist download dinov2, or name a "
        "file: weights: FILE. weights: random is for trying out"
    )
    wanted.parent.mkdir(parents=True)
    wanted.write_bytes(b"half of it")
    with pytest.raises(ValueError, match="is damaged: its SHA-256 does not begin with 399fba97; download it again"):
        Distillation()


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        (
            {"cls_token": torch.zeros(1, 1, 384), "register_tokens": torch.zeros(1, 4, 384)},
            "holds a DINOv2 with registers, which is another network",
        ),
        ({"weight": torch.zeros(3)}, "holds no weights of DINOv2: there is no cls_token"),
        ({"cls_token": torch.zeros(1, 1, 192)}, r"features of 192 dimensions; known are 384, 768, 1024 \(S, B and L\)"),
    ],
)
def test_another_network_is_refused(tensors: dict[str, Tensor], text: str, tmp_path: Path) -> None:
    torch.save(tensors, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=text):
        Distillation(weights=str(tmp_path / "other.pth"))


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_dist.networks.layers.dinov2.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^'dinov2' needs timm: pip install 'gan-dist\[timm\]'$"):
        Distillation(weights="random")


@pytest.mark.parametrize(("teacher", "resolution"), [("dinov2", 225), ("efficientnet_lite0", 31)])
def test_a_resolution_out_of_range_is_refused(teacher: Any, resolution: int) -> None:
    with pytest.raises(ValueError, match=rf"resolution must be at least 32, .*, not {resolution}$"):
        Distillation(teacher, "random", resolution)
