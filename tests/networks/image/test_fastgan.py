"""FastGAN's networks: shapes, parameters, gates against their formula; what D rebuilds, and its loss by hand."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from gan_dist.augment.augmented_discriminator import AugmentedDiscriminator
from gan_dist.contracts import Batch, Nets
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.distributed.runtime import LocalRuntime
from gan_dist.execution.preflight import network_problems
from gan_dist.networks.image import fastgan
from gan_dist.networks.image.fastgan import SkipLayerExcitation, UpBlock
from gan_dist.objectives.reconstruction import Distance, Reconstruction
from tests.helpers import CPU, batch_of, nets_of, never, rows_of, small
from tests.networks.image.test_shapes import count


def generator(size: int = 16, **args: Any) -> fastgan.Generator:
    torch.manual_seed(0)
    return fastgan.Generator(**{"size": size, "channels": 3, "z": 6, "width": 2, **args})


@pytest.mark.parametrize("size", [8, 16, 32, 64, 256])
@pytest.mark.parametrize("classes", [0, 3])
def test_it_makes_images_of_every_size(size: int, classes: int) -> None:
    net = generator(size, classes=classes, channels=1)
    cond = torch.tensor([0, 2]) if classes else None
    made = net(net.draw(2, single_lane_rng((), 2, CPU)), cond)
    assert made.shape == (2, 1, size, size) and made.abs().max() <= 1


def test_small_maps_gate_those_sixteen_times_as_large() -> None:
    with torch.device("meta"):
        assert list(generator(1024, width=64).gates) == ["64", "128", "256", "512"]
    assert list(generator(32).gates) == []


def test_parameters_are_those_of_its_layers() -> None:
    # At 64 pixels with width 2: channels 32, 16, 8, 4, 4 at 4, 8, 16, 32, 64 pixels.
    first = 6 * 64 * 16 + 2 * 64
    twice = [9 * 32 * 32 + 9 * 16 * 32 + 4 * 32 + 2, 9 * 8 * 8 + 9 * 4 * 8 + 4 * 8 + 2]  # 4 to 8, 16 to 32 pixels
    once = [9 * 16 * 16 + 2 * 16, 9 * 4 * 8 + 2 * 8]  # 8 to 16, 32 to 64 pixels
    gate = 16 * 32 * 4 + 4 * 4
    last = 9 * 4 * 3 + 3
    assert count(generator(64)) == first + sum(twice) + sum(once) + gate + last


def test_a_gate_is_its_formula() -> None:
    gate = SkipLayerExcitation(3, 5).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    pooled = x.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5))

    def normalised(layer: Any) -> torch.Tensor:
        return layer.weight / (layer.u @ layer.weight.flatten(1) @ layer.v)

    inner = torch.einsum("oikl,bikl->bo", normalised(gate.squeeze), pooled)
    wanted = torch.sigmoid((inner * torch.sigmoid(inner)) @ normalised(gate.excite)[:, :, 0, 0].T)
    assert torch.allclose(gate(x)[:, :, 0, 0], wanted)


def test_a_block_of_two_adds_noise_before_each_normalisation() -> None:
    block = UpBlock(4, 3, 0, twice=True).double()
    x, noise = torch.randn(2, 4, 4, 4, dtype=torch.float64), torch.randn(2, 2, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        block.strengths.copy_(torch.tensor([0.5, -2.0]))  # type: ignore[union-attr]
    wanted = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for number in range(2):
        inner = block.convs[number](wanted) + block.strengths[number] * noise[:, number, None]  # type: ignore[index]
        inner = F.batch_norm(inner, None, None, training=True)
        wanted = inner[:, :3] * torch.sigmoid(inner[:, 3:])
    assert torch.allclose(block(x, None, noise), wanted)


def test_the_same_noise_in_any_company() -> None:
    net = generator(32)
    noise = net.draw(8, single_lane_rng((), 8, CPU))
    assert [tuple(one.shape) for one in noise["pixels"]] == [(8, 2, 8, 8), (8, 2, 32, 32)]
    with torch.no_grad():
        for block in net.blocks:
            if block.twice:
                block.strengths.fill_(1.0)
    net.eval()
    half = {"z": noise["z"][:4], "pixels": [one[:4] for one in noise["pixels"]]}
    assert torch.allclose(net(noise)[:4], net(half), atol=1e-5)


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data.size: 16 is nearest"):
        generator(18)
    with pytest.raises(ValueError, match="fastgan at 1024 pixels needs width >= 8, not 2"):
        generator(1024)
    with pytest.raises(ValueError, match=r"fastgan judges images of .* not 16; data.size: 32 is nearest"):
        discriminator(16)
    with pytest.raises(ValueError, match="fastgan at 512 pixels needs width >= 4, not 2"):
        discriminator(512)
    with pytest.raises(ValueError, match="fastgan at 1024 pixels needs width >= 8, not 7"):
        discriminator(1024, width=7)


def discriminator(size: int = 32, **args: Any) -> fastgan.Discriminator:
    torch.manual_seed(0)
    return fastgan.Discriminator(**{"size": size, "channels": 3, "width": 2, "decoders": True, **args})


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        (256, (29_127_846, 11_526_160)),
        pytest.param(512, (29_174_392, 11_526_496), marks=pytest.mark.slow),
        pytest.param(1024, (29_176_512, 11_528_192), marks=pytest.mark.slow),
    ],
)
def test_parameters_are_those_of_the_authors_code(size: int, parameters: tuple[int, int]) -> None:
    """Theirs of G have a second image of 128 pixels (192 weights), and no bias at the end."""
    with torch.device("meta"):
        made, judging = generator(size, width=64, z=256), discriminator(size, width=64)
    assert (count(made) + 192 - 3, count(judging)) == parameters


@pytest.mark.parametrize(
    ("size", "width", "copied"), [(32, 2, 16), (64, 2, 32), (128, 2, 64), (256, 4, 128), (512, 4, 128)]
)
@pytest.mark.parametrize("classes", [0, 3])
def test_it_judges_and_rebuilds_images_of_every_size(size: int, width: int, copied: int, classes: int) -> None:
    judging = discriminator(size, width=width, channels=1, classes=classes)
    x, cond = torch.rand(3, 1, size, size) * 2 - 1, torch.tensor([0, 2, 1]) if classes else None
    assert judging(x, cond).shape == (3, 50)
    pairs = judging.reconstructed(x, torch.tensor([0, 3, 1]))
    assert [tuple(one.shape) for pair in pairs for one in pair] == [(3, 1, copied, copied)] * 6
    assert all(made.abs().max() <= 1 for made, _ in pairs)


def test_decoders_should_make_the_picture_twice_and_a_quarter_of_it() -> None:
    judging = discriminator(64)
    x = torch.arange(2 * 3 * 64 * 64, dtype=torch.float32).view(2, 3, 64, 64) / (2 * 3 * 64 * 64)
    (_, whole), (_, again), (_, part) = judging.reconstructed(x, torch.tensor([1, 2]))
    halved = x.unflatten(2, (32, 2)).unflatten(4, (32, 2)).mean((3, 5))
    assert torch.equal(whole, again) and torch.allclose(whole, halved, atol=1e-6)
    assert torch.equal(part, torch.stack([x[0, :, :32, 32:], x[1, :, 32:, :32]]))


def test_a_decoder_sees_the_map_of_its_quarter_alone() -> None:
    judging, x = discriminator(64), torch.rand(2, 3, 64, 64)
    part = torch.tensor([1, 2])
    seen: list[torch.Tensor] = []
    judging.decoders["part"].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    judging.reconstructed(x, part)
    whole = judging._maps(x)[16]
    assert torch.equal(seen[0], torch.stack([whole[0, :, :8, 8:], whole[1, :, 8:, :8]]))


def test_large_maps_gate_those_of_an_eighth() -> None:
    with torch.device("meta"):
        assert list(discriminator(256, width=4).gates) == ["32", "16", "8"]
    assert list(discriminator(64).gates) == ["8"] and list(discriminator(32).gates) == []


def test_a_class_adds_its_product_with_the_last_map() -> None:
    judging = discriminator(classes=3).double().eval()
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    last = judging._maps(x)[8].mean((2, 3))
    rows = torch.eye(3, dtype=torch.float64)
    first, second = (judging(x, torch.full((2,), number)) for number in (0, 2))
    wanted = ((judging.embed(rows[2]) - judging.embed(rows[0])) * last).sum(1)  # type: ignore[misc]
    assert torch.allclose(second - first, wanted[:, None].expand(-1, 50))


def judged(objective: Reconstruction, x: torch.Tensor, augment: Any = None) -> tuple[Any, fastgan.Discriminator]:
    """The objective's terms in D's phase, and D."""
    judging = discriminator(64).double()
    wired: Any = LocalRuntime(CPU, lambda event: None, never).wire(judging, False, nullcontext)
    batch = Batch(len(x), x, None, None, lambda purpose: single_lane_rng((purpose,), len(x), CPU), lambda batch: x)
    net = wired if augment is None else AugmentedDiscriminator(wired, augment, batch)
    return objective.terms("D", Nets({"discriminator": net}), batch), judging


def test_the_loss_is_the_sum_of_three_distances() -> None:
    x = torch.rand(4, 3, 64, 64, dtype=torch.float64) * 2 - 1
    terms, judging = judged(Reconstruction(), x)
    part = single_lane_rng(("part",), 4, CPU).integers(4)
    assert len(part.unique()) > 1
    again = discriminator(64).double().reconstructed(x, part)
    expected = sum((made - shown).abs().mean() for made, shown in again)
    term = terms["reconstruction"]
    assert (term.total / term.weight).item() == pytest.approx(expected.item(), rel=1e-12)  # type: ignore[union-attr]
    term.total.backward()
    reached = {name.split(".")[0] for name, p in judging.named_parameters() if p.grad is not None}
    assert reached == {"stem", "downs", "gates", "branch", "decoders"}
    assert Reconstruction().terms("G", Nets({}), Batch(4, x, None, None, None, lambda batch: x)) == {}  # type: ignore[arg-type]


def test_what_is_rebuilt_is_the_augmented_picture() -> None:
    x = torch.rand(4, 3, 64, 64, dtype=torch.float64)
    plain, _ = judged(Reconstruction(), 1 - x)
    changed, _ = judged(Reconstruction(), x, lambda x, rng: 1 - x)
    assert torch.equal(plain["reconstruction"].total, changed["reconstruction"].total)


@pytest.mark.slow
def test_the_perceptual_distance_is_between_the_same_pictures() -> None:
    x = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    terms, _ = judged(Reconstruction("perceptual", weights="random"), x)
    apart = Distance("vgg16", "random")
    pairs = discriminator(64).double().reconstructed(x, single_lane_rng(("part",), 2, CPU).integers(4))
    expected = sum(apart(made, shown).sum() for made, shown in pairs)
    assert terms["reconstruction"].total.item() == pytest.approx(expected.item(), rel=1e-9)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("judge", "told"),
    [
        ({"use": "fastgan", "width": 2}, "reconstruction: the discriminator has no decoders; give it `decoders: true`"),
        ({"use": "sngan", "width": 2}, "reconstruction needs a discriminator with reconstructed, as fastgan has it"),
    ],
)
def test_a_discriminator_that_rebuilds_nothing_is_refused(judge: dict[str, Any], told: str) -> None:
    spec = small(
        data={"source": "digits", "size": 32},
        discriminator=judge,
        objective=[{"use": "hinge"}, {"use": "reconstruction"}],
    )
    assert network_problems(spec, rows_of(spec).facts) == [f"objective: {told}"]


def test_a_distance_must_be_one_of_two() -> None:
    with pytest.raises(ValueError, match="distance must be one of l1, perceptual, not 'l2'"):
        Reconstruction("l2")  # type: ignore[arg-type]


def test_a_perceptual_distance_wants_a_copy_that_its_network_takes() -> None:
    def told(size: int) -> list[str]:
        judging = fastgan.Discriminator(size=size, channels=3, width=8, decoders=True)
        return list(Reconstruction("perceptual", weights="random").problems({"discriminator": judging}))

    assert told(32) == ["perceptual distances want images of 32 pixels, and D rebuilds 16; use `distance: l1`"]
    assert told(64) == []


@pytest.mark.slow
@pytest.mark.parametrize("distance", ["l1", "perceptual"])
def test_a_distance_has_the_digits_of_float32(distance: Any) -> None:
    """What D makes in bfloat16 is compared with the image in float32."""
    x = torch.rand(2, 3, 64, 64)
    judging = discriminator(64)
    wired: Any = LocalRuntime(CPU, lambda event: None, never).wire(
        judging, False, lambda: torch.autocast("cpu", torch.bfloat16)
    )
    (term,) = Reconstruction(distance, weights="random").terms("D", nets_of(judging), batch_of(x, x)).values()
    batch = batch_of(x, x)
    (half,) = Reconstruction(distance, weights="random").terms("D", Nets({"discriminator": wired}), batch).values()
    assert half.total.dtype == torch.float32  # type: ignore[union-attr]
    assert half.total.item() == pytest.approx(term.total.item(), rel=0.05)  # type: ignore[union-attr]
