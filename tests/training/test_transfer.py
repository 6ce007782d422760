"""Weights for a network of another size, with other classes or channels: at first it makes what its source made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.data.facts import ImageFacts
from gan_dist.networks.image import dcgan, fastgan, r3gan, stylegan2
from gan_dist.networks.layers.resample import Upsample
from gan_dist.runs.request import InitialWeights
from gan_dist.training.transfer import SourceNetwork, Transferred, transfer
from tests.helpers import small, train
from tests.published import shaken

WIDE = torch.float64
STYLE: dict[str, Any] = {"mapping": 2, "capacity": 1024, "most": 8}
GROUPED: dict[str, Any] = {"width": 8, "wide": 64, "group": 4, "blocks": 1}


def facts_of(size: int = 16, channels: int = 3, classes: tuple[str, ...] = ()) -> ImageFacts:
    return ImageFacts(count=9, checksum="x", size=size, channels=channels, classes=classes)


def moved(kind: type, own: dict[str, Any], theirs: dict[str, Any], **args: Any) -> tuple[Any, Any, Transferred]:
    """A network that took what fits of another one's weights; that one; and what became of them.

    Args:
        own, theirs: what the data of each are like.
    """
    made, facts = [], []
    for seed, given in enumerate((own, theirs)):
        facts.append(facts_of(**given))
        provided = {"size": facts[-1].size, "channels": facts[-1].channels, "classes": len(facts[-1].classes)}
        made.append(shaken(kind(**provided, **args), seed).to(WIDE).eval())
    target, source = made
    if kind is r3gan.Generator:
        for module in target.modules():
            if isinstance(module, r3gan.Block):
                nn.init.zeros_(module.branch[-1].weight)  # as new blocks begin
    there = SourceNetwork(tensors=source.state_dict(), network=source, facts=facts[1])
    found = transfer(target, facts[0], there)
    assert found is not None
    return target, source, found


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=WIDE, generator=torch.Generator().manual_seed(7))


def styled(size: int) -> dict[str, Any]:
    """Noise of a StyleGAN2 of 6 numbers, whose small maps are those of any size."""
    sides = [4] + [side for side in (8, 16, 32, 64) if side <= size for _ in range(2)]
    return {"z": random(3, 6), "pixels": [random(3, 1, side, side) for side in sides]}


def test_all_of_an_equal_network_is_taken() -> None:
    target, source, found = moved(dcgan.Discriminator, {}, {}, width=4)
    assert found.is_whole and len(found.taken) == len(source.state_dict())
    assert all(torch.equal(target.state_dict()[name], one) for name, one in source.state_dict().items())


def test_a_larger_stylegan2_makes_the_smaller_ones_pictures_enlarged() -> None:
    target, source, found = moved(stylegan2.Generator, {"size": 64}, {"size": 16}, **STYLE, z=6, w=5)
    wanted = source(styled(16))
    for _ in range(2):
        wanted = Upsample().to(WIDE)(wanted)
    assert torch.allclose(target(styled(64)), wanted, atol=1e-10)
    assert {name.split(".")[0] for name in found.new} == {"layers", "pictures"} and not found.unused
    assert "layers.5.weight" in found.new and "pictures.3.weight" in found.new and "layers.4.weight" in found.taken


def test_a_larger_r3gan_makes_the_smaller_ones_pictures_enlarged() -> None:
    target, source, found = moved(r3gan.Generator, {"size": 32}, {"size": 16}, **GROUPED, z=6)
    wanted = Upsample().to(WIDE)(source(random(3, 6)))
    assert torch.allclose(target(random(3, 6)), wanted, atol=1e-10)
    assert all(name.startswith("rest.5.") for name in found.new) and "rest.6.weight" in found.taken


@pytest.mark.parametrize(
    ("kind", "args", "shared"),
    [
        (stylegan2.Discriminator, STYLE, {"blocks.1": "blocks.0", "blocks.2": "blocks.1", "last": "last"}),
        (r3gan.Discriminator, GROUPED, {"first.3": "first.1", "first.5": "first.3", "last": "last"}),
    ],
)
def test_blocks_of_a_discriminator_are_counted_from_the_small_end(
    kind: type, args: dict[str, Any], shared: dict[str, str]
) -> None:
    target, source, found = moved(kind, {"size": 32}, {"size": 16}, **args)
    ours, theirs = target.state_dict(), source.state_dict()
    for here, there in shared.items():
        for name in ours:
            if name.startswith(f"{here}."):
                assert torch.equal(ours[name], theirs[name.replace(here, there, 1)]), name
    first = "blocks.0." if kind is stylegan2.Discriminator else "first.1."
    assert any(name.startswith(first) for name in found.new) and not found.unused


@pytest.mark.parametrize("kind", [stylegan2, r3gan, dcgan], ids=lambda one: one.__name__.rpartition(".")[2])
def test_a_generator_that_learns_classes_makes_at_first_what_it_made_without(kind: Any) -> None:
    args = {stylegan2: {**STYLE, "z": 6, "w": 5}, r3gan: {**GROUPED, "z": 6}, dcgan: {"width": 2, "z": 6}}[kind]
    target, source, found = moved(kind.Generator, {"classes": ("a", "b", "c")}, {}, **args)
    noise: Any = styled(16) if kind is stylegan2 else random(3, 6)
    wanted = source(noise)
    assert torch.allclose(target(noise, torch.tensor([0, 1, 2])), wanted, atol=1e-10)
    assert list(found.reshaped.values()) == ["classes begin with no effect"]
    assert all("embed" in name for name in found.new)


def test_every_class_of_a_batch_normalisation_begins_as_the_only_one() -> None:
    target, source, found = moved(fastgan.Generator, {"classes": ("a", "b")}, {}, width=8, z=6)
    for name in found.reshaped:
        assert torch.equal(target.state_dict()[name], source.state_dict()[name].expand(2, -1))
    assert found.reshaped and not found.new


def test_classes_keep_their_numbers_by_name() -> None:
    target, source, found = moved(
        r3gan.Generator, {"classes": ("cat", "emu", "dog")}, {"classes": ("dog", "cat")}, **GROUPED, z=6
    )
    ours, theirs = target.embed.weight, source.embed.weight
    assert torch.equal(ours[:, 0], theirs[:, 1]) and torch.equal(ours[:, 2], theirs[:, 0])
    assert torch.allclose(ours[:, 1], theirs.mean(1))
    assert found.reshaped == {"embed.weight": "by the names of the classes"}
    # As many classes, of other names; and classes that have numbers alone, as those of published files.
    target, source, _ = moved(r3gan.Generator, {"classes": ("b", "a")}, {"classes": ("a", "b")}, **GROUPED, z=6)
    assert torch.equal(target.embed.weight, source.embed.weight.flip(1))
    target, source, found = moved(r3gan.Generator, {"classes": ("b", "a")}, {"classes": ("0", "1")}, **GROUPED, z=6)
    assert torch.equal(target.embed.weight, source.embed.weight) and found.is_whole


@pytest.mark.parametrize("kind", [stylegan2, r3gan], ids=["stylegan2", "r3gan"])
def test_colours(kind: Any) -> None:
    """A grey generator makes grey pictures in colour, a discriminator of grey ones judges them as before; and back."""
    args: dict[str, Any] = STYLE if kind is stylegan2 else GROUPED
    noise: Any = styled(16) if kind is stylegan2 else random(3, 6)
    more = {"z": 6, "w": 5} if kind is stylegan2 else {"z": 6}
    target, source, found = moved(kind.Generator, {"channels": 3}, {"channels": 1}, **args, **more)
    assert torch.allclose(target(noise), source(noise).expand(-1, 3, -1, -1), atol=1e-10) and found.reshaped
    target, source, _ = moved(kind.Generator, {"channels": 1}, {"channels": 3}, **args, **more)
    assert torch.allclose(target(noise), source(noise).mean(1, keepdim=True), atol=1e-10)
    grey = random(3, 1, 16, 16)
    target, source, _ = moved(kind.Discriminator, {"channels": 3}, {"channels": 1}, **args)
    assert torch.allclose(target(grey.expand(-1, 3, -1, -1)), source(grey), atol=1e-10)
    target, source, _ = moved(kind.Discriminator, {"channels": 1}, {"channels": 3}, **args)
    assert torch.allclose(target(grey), source(grey.expand(-1, 3, -1, -1)), atol=1e-10)


def test_of_another_width_what_fits_is_taken_and_the_rest_is_listed() -> None:
    own, theirs = (
        shaken(stylegan2.Generator(size=16, channels=3, mapping=2, capacity=1024, most=most, z=6, w=5), most)
        for most in (4, 8)
    )
    there = SourceNetwork(tensors=theirs.state_dict(), network=theirs, facts=facts_of())
    found = transfer(own, facts_of(), there)
    assert found is not None and {name.split(".")[0] for name in found.taken} == {"map", "layers", "pictures"}
    said = found.describe()
    assert said.startswith(f"{len(found.taken)} weights taken; {len(found.new)} begin anew: basis, ")
    assert f"and {len(found.new) - 6} more; {len(found.unused)} of the source not used: basis, " in said


def test_nothing_is_taken_where_no_matrix_fits() -> None:
    own, theirs = (r3gan.Generator(size=16, channels=3, **{**GROUPED, "width": width}, z=6) for width in (8, 16))
    before = {name: one.clone() for name, one in own.state_dict().items()}
    there = SourceNetwork(tensors=theirs.state_dict(), network=theirs, facts=facts_of())
    assert transfer(own, facts_of(), there) is None
    assert all(torch.equal(before[name], one) for name, one in own.state_dict().items())


@pytest.mark.slow
def test_a_run_starts_from_one_of_another_size(tmp_path: Path) -> None:
    """What it took is told, its average is taken in the same way, and it trains."""
    networks: dict[str, Any] = {
        "generator": {"use": "stylegan2", **STYLE, "z": 4, "w": 4},
        "discriminator": {"use": "stylegan2", **STYLE},
        "ema": {"half_life": 8},
    }
    source = train(small(**networks), tmp_path / "source").newest
    job = small(**networks, data={"source": "digits", "size": 16, "labels": "source"}, optimizer={"lr": 0})
    new = train(job, tmp_path / "new", start_from=InitialWeights(source.folder.uri))
    told = [event["text"] for event in new.events if event["event"] == "warning"]
    assert told[0].startswith("--from: generator: ") and "classes begin with no effect" in told[0]
    assert told[1].startswith("--from: discriminator: ") and "begin anew" in told[1]
    for name in ("layers.2.weight", "basis"):
        assert torch.equal(new.newest.tensors("generator")[name], source.tensors("generator")[name])
    for network in ("generator", "generator_ema"):
        assert not new.newest.tensors(network)["pictures.2.weight"].any()
