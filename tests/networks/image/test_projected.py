"""The projected discriminator: mixing by its definition, frozen parts that stay frozen, weights that are not there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.data.facts import ImageFacts
from gan_dist.execution.preflight import network_problems
from gan_dist.execution.smoke import with_stand_in_networks
from gan_dist.networks.image.projected import CrossScaleMixing, Discriminator, Head
from gan_dist.networks.layers import pretrained_backbone
from gan_dist.networks.layers.pretrained_backbone import KNOWN, FeatureTaps, weights_file
from tests.helpers import assert_same_state, small, stop_at, train

WIDE = torch.float64
SMALL = {"weights": "random", "resolution": 64, "width": 2}


def net(**args: Any) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(**{"size": 16, "channels": 1, **SMALL, **args})


@pytest.fixture(autouse=True)
def no_weights_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.mark.parametrize("name", KNOWN)
def test_maps_have_four_sizes(name: str) -> None:
    taps = FeatureTaps(name, "random")
    found = taps(torch.rand(1, 3, 64, 64))
    assert [tuple(one.shape[1:]) for one in found] == [
        (channels, 64 // stride, 64 // stride) for channels, stride in zip(taps.channels, (4, 8, 16, 32), strict=True)
    ]


def test_images_are_scaled_as_the_network_wants_them() -> None:
    taps = FeatureTaps("vgg16", "random")
    seen: list[Tensor] = []
    taps.network.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    taps(torch.zeros(1, 3, 32, 32))
    wanted = [(0.5 - mean) / deviation for mean, deviation in zip(*KNOWN["vgg16"].scale, strict=True)]
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [0, 3])
def test_logits_are_those_of_all_places_of_four_maps(channels: int, classes: int) -> None:
    cond = torch.tensor([0, 2]) if classes else None
    logits = net(channels=channels, classes=classes)(torch.rand(2, channels, 16, 16), cond)
    # From 64 pixels: maps of 32, 16, 8, 4, halved to 8, 8, 8, 4, and a 4x4 convolution.
    assert logits.shape == (2, 25 + 25 + 25 + 1)


def test_at_the_paper_s_size_each_map_is_halved_as_there() -> None:
    halved = [sum(isinstance(part, nn.BatchNorm2d) for part in Head(4, 112 // 2**scale, 0).body) for scale in range(4)]
    assert halved == [4, 3, 2, 1]


def test_mixing_is_its_definition() -> None:
    torch.manual_seed(0)
    mixing = CrossScaleMixing((3, 5, 7), 2).to(WIDE)
    maps = [
        torch.randn(2, channels, 8 // 2**scale, 8 // 2**scale, dtype=WIDE) for scale, channels in enumerate((3, 5, 7))
    ]

    def conv(layer: nn.Module, x: Tensor) -> Tensor:
        return torch.einsum("oi,bihw->bohw", layer.weight[:, :, 0, 0], x) + layer.bias[:, None, None]

    def doubled(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)

    smallest = conv(mixing.down[2], doubled(conv(mixing.across[2], maps[2])))
    middle = conv(mixing.down[1], doubled(conv(mixing.across[1], maps[1]) + smallest))
    largest = conv(mixing.down[0], doubled(conv(mixing.across[0], maps[0]) + middle))
    for found, wanted in zip(mixing(maps), (largest, middle, smallest), strict=True):
        assert torch.allclose(found, wanted, atol=1e-12)
    assert mixing.channels == [2, 2, 4]


def test_frozen_parts_stay_frozen_and_in_evaluation_mode(tmp_path: Path) -> None:
    discriminator = net().train()
    taps = discriminator._taps[0]
    assert not taps.network.training and not any(one.training for one in taps.modules())
    assert not any(one.requires_grad for one in (*taps.parameters(), *discriminator.mix.parameters()))
    assert not any("taps" in key for key in discriminator.state_dict())
    discriminator.to(WIDE)
    assert all(one.dtype == WIDE for one in taps.parameters()), "converted with the rest"


JOB: dict[str, Any] = {
    "data": {"source": "digits", "size": 16},
    "generator": {"use": "mlp", "hidden": 8, "layers": 1, "z": 4},
    "discriminator": {"use": "projected", **SMALL},
    "objective": "hinge",
}


@pytest.mark.slow
def test_a_run_moves_only_the_heads_and_resumes_exactly(tmp_path: Path) -> None:
    job = small(**JOB, until="3 steps", batch=4, precision="fp32")
    whole = train(job, tmp_path / "whole")
    train(job, tmp_path / "parts", stopping=stop_at(2))
    assert_same_state(whole.newest, train(job, tmp_path / "parts", attempt=2).newest)
    first, last = train(job.model_copy(update={"until": job.every.report}), tmp_path / "one").newest, whole.newest
    before, after = first.tensors("discriminator"), last.tensors("discriminator")
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert not any(key.startswith("mix.") for key in moved) and any(key.startswith("heads.") for key in moved)
    assert sum(one.numel() for one in after.values()) < 3_000_000, "3.4 million of the backbone are left out"


# --- weights ---------------------------------------------------------------------------------------------------------


def saved(folder: Path, tensors: dict[str, Tensor], name: str = "mine.pth") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, folder / name)
    return str(folder / name)


def test_weights_come_from_their_file(tmp_path: Path) -> None:
    stored = FeatureTaps("vgg16", "random").network.state_dict()
    taps = FeatureTaps("vgg16", saved(tmp_path, {**stored, "classifier.0.weight": torch.zeros(3)}))
    assert all(torch.equal(one, stored[key]) for key, one in taps.network.state_dict().items())


def test_a_published_file_is_found_where_torch_keeps_it_and_must_be_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    path = Path(saved(folder, {}, KNOWN["vgg16"].file))
    with pytest.raises(ValueError, match=r"is damaged: its SHA-256 does not begin with 397923af; download it again"):
        weights_file("vgg16", None)
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(pretrained_backbone.KNOWN, "vgg16", KNOWN["vgg16"]._replace(file=f"vgg16-{digits}.pth"))
    path.rename(folder / f"vgg16-{digits}.pth")
    assert weights_file("vgg16", None) == folder / f"vgg16-{digits}.pth"


FACTS = ImageFacts(count=100, size=16, channels=1, checksum="random")


def problem_of(**args: Any) -> str:
    (found,) = network_problems(
        small(**{**JOB, "discriminator": {"use": "projected", "backbone": "vgg16", "resolution": 64, **args}}), FACTS
    )
    return found


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    place = tmp_path / "torch" / "hub" / "checkpoints" / "vgg16-397923af.pth"
    assert problem_of() == (
        f"discriminator 'projected': the weights of vgg16 are needed, and {str(place)!r} is not there; get them: "
        "gan-dist download vgg16, or name a file: weights: FILE. weights: random is for trying out"
    )


def test_weights_of_another_network(tmp_path: Path) -> None:
    stored = {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(1)}
    named = saved(tmp_path, stored)
    assert problem_of(weights=named) == (
        f"discriminator 'projected': {named!r} holds no weights of vgg16: 25 of 26 are absent or of another shape, "
        "first features.0.bias, features.2.weight, features.2.bias, features.5.weight, features.5.bias"
    )


def test_a_file_that_holds_no_weights(tmp_path: Path) -> None:
    (tmp_path / "photo.pth").write_bytes(b"no weights")
    named = str(tmp_path / "photo.pth")
    assert problem_of(weights=named) == (
        f"discriminator 'projected': {named!r} cannot be read as weights of torch; they are safetensors, or what "
        "torch.save wrote of a state_dict, and nothing but tensors"
    )
    torch.save([torch.zeros(1)], named)
    assert problem_of(weights=named).endswith("holds a list, not the tensors of a state_dict by name")


def test_transparency_and_small_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"projected judges images of 1 or 3 channels, not 4; set data.channels: 3"):
        net(channels=4)
    with pytest.raises(ValueError, match="resolution must be at least 64 and width at least 1, not 32, 2"):
        net(resolution=32)


def test_a_penalty_of_second_order_is_refused() -> None:
    job = small(**{**JOB, "penalties": ["r1"]})
    assert "r1 differentiates a network with batch normalisation" in network_problems(job, FACTS)[0]


def test_a_rehearsal_says_that_weights_are_random(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    asked = {"use": "projected", "backbone": "resnet50", "resolution": 64}
    spec = with_stand_in_networks(small(**{**JOB, "discriminator": asked}), events.append)
    assert spec.discriminator is not None and spec.discriminator.args == {
        "backbone": "resnet50",
        "resolution": 64,
        "weights": "random",
    }
    (warning,) = events
    assert warning["text"].startswith("discriminator: the weights of resnet50 are needed, and ")
    assert warning["text"].endswith("; a rehearsal takes random ones")
    assert with_stand_in_networks(small(**JOB), events.append) == small(**JOB) and len(events) == 1


def test_a_class_is_compared_as_the_authors_do() -> None:
    """<h, leaky(A e_y + b)> / 8 at each place, e_y a normal vector of 128 numbers."""
    head = Head(4, 8, 3).double().eval()
    x, classes = torch.rand(2, 4, 8, 8, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[[2, 0]]
    vectors, layer, _ = head.embed
    assert vectors.weight.shape == (128, 3) and abs(vectors.weight.std().item() - 1) < 0.15
    compared = torch.where((z := vectors.weight.T[[2, 0]] @ layer.weight.T + layer.bias) > 0, z, 0.2 * z)
    slow = torch.einsum("bcp,bc->bp", head.body(x).flatten(2), compared) / 8
    assert torch.allclose(head(x, classes), slow)
