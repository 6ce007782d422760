"""Images of any shape: what each network makes and judges, gradients, and that N is [N, N] to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gan_dist.distributed.first_weights import first_weights
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.networks.image import (
    biggan,
    dcgan,
    fastgan,
    mlp,
    pix2pix,
    projected,
    r3gan,
    sagan,
    sngan,
    stylegan2,
    vae,
)
from gan_dist.penalties.path_length import path_lengths
from gan_dist.penalties.r1 import squared_gradient
from gan_dist.spec.image_size import Size, SizeRule, sides
from tests.helpers import CPU

GENERATORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "mlp": (mlp.Generator, {"hidden": 4}),
    "dcgan": (dcgan.Generator, {"width": 2, "z": 3}),
    "sngan": (sngan.Generator, {"width": 2, "z": 3}),
    "sagan": (sagan.Generator, {"width": 2, "z": 3}),
    "biggan": (biggan.Generator, {"width": 2, "z": 20}),
    "fastgan": (fastgan.Generator, {"width": 2, "z": 3}),
    "stylegan2": (stylegan2.Generator, {"capacity": 64, "most": 4, "z": 4, "w": 4, "mapping": 1}),
    "r3gan": (r3gan.Generator, {"width": 8, "group": 4, "wide": 64, "z": 3}),
    "pix2pix": (pix2pix.Generator, {"width": 2, "input_channels": 1}),
}
DISCRIMINATORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "mlp": (mlp.Discriminator, {"hidden": 4}),
    "dcgan": (dcgan.Discriminator, {"width": 2, "norm": "none"}),
    "sngan": (sngan.Discriminator, {"width": 2}),
    "sagan": (sagan.Discriminator, {"width": 2}),
    "biggan": (biggan.Discriminator, {"width": 2}),
    "fastgan": (fastgan.Discriminator, {"width": 4, "decoders": True}),
    "stylegan2": (stylegan2.Discriminator, {"capacity": 64, "most": 4, "mapping": 1}),
    "r3gan": (r3gan.Discriminator, {"width": 8, "group": 4, "wide": 64}),
    "pix2pix": (pix2pix.Discriminator, {"width": 2, "input_channels": 1}),
    "projected": (projected.Discriminator, {"width": 4, "weights": "random", "resolution": 64}),
}
SIZES: list[Size] = [48, (32, 48), (32, 128)]
MORE_SIZES: list[Size] = [(48, 32), 96]
N = 2


def cases(known: dict[str, tuple[Any, dict[str, Any]]]) -> list[Any]:
    """Each network with the sizes that it takes; the larger ones in the slow tier."""
    return [
        pytest.param(
            name, size, marks=() if size in SIZES and name != "projected" else pytest.mark.slow, id=f"{name}-{size}"
        )
        for name in known
        for size in [*SIZES, *MORE_SIZES]
        if SizeRule.of(known[name][0].sizes).takes(size)
    ]


def build(known: tuple[Any, dict[str, Any]], size: Size) -> Any:
    kind, args = known
    with first_weights(1):
        return kind(size=size, channels=1, **args)


def given(name: str, size: Size) -> torch.Tensor | None:
    torch.manual_seed(2)
    return torch.rand(N, 1, *sides(size)) if name == "pix2pix" else None


def made(name: str, net: Any, size: Size) -> torch.Tensor:
    images: torch.Tensor = net(net.draw(N, single_lane_rng(("sizes",), N, CPU)), given(name, size))
    return images


@pytest.mark.parametrize(("name", "size"), cases(GENERATORS))
def test_a_generator_makes_images_of_the_size_and_all_of_it_learns(name: str, size: Size) -> None:
    net = build(GENERATORS[name], size)
    images = made(name, net, size)
    assert images.shape == (N, 1, *sides(size))
    images.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(("name", "size"), cases(DISCRIMINATORS))
def test_a_discriminator_looks_at_all_of_the_image_and_differentiates_twice(name: str, size: Size) -> None:
    net = build(DISCRIMINATORS[name], size)
    x = torch.rand(N, 1, *sides(size), requires_grad=True)
    logits = net(x, given(name, size))
    assert logits.shape[0] == N
    (slope,) = torch.autograd.grad(logits.sum(), x, retain_graph=True)
    assert (slope != 0).float().mean() > 0.9, "pixels that D does not see"
    squared_gradient(logits, x).sum().backward()


@pytest.mark.parametrize(("known", "name"), [(known, name) for known in ("G", "D") for name in GENERATORS])
def test_a_number_and_a_list_of_it_twice_are_one_network(known: str, name: str) -> None:
    nets = [build((GENERATORS if known == "G" else DISCRIMINATORS)[name], size) for size in (32, (32, 32))]
    one, other = (net.state_dict() for net in nets)
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    if known == "G":
        assert torch.equal(*(made(name, net, 32) for net in nets))


@pytest.mark.parametrize("size", [16, 48, (24, 32)], ids=str)
def test_an_encoder_describes_images_of_any_shape(size: Size) -> None:
    assert vae.Encoder(size=size, channels=3, z=5, width=2)(torch.rand(N, 3, *sides(size))).shape == (N, 10)


@pytest.mark.parametrize("size", [(32, 48), 48, (512, 768)], ids=str)
def test_fastgan_rebuilds_images_in_their_shape(size: Size) -> None:
    net = build(DISCRIMINATORS["fastgan"], size)
    pairs = net.reconstructed(torch.rand(N, 1, *sides(size)), torch.tensor([1, 2]))
    high, wide = sides(size)
    shrunk = 2 if high < 256 else 4
    assert {shape for pair in pairs for one in pair if (shape := one.shape)} == {(N, 1, high // shrunk, wide // shrunk)}


def test_path_lengths_of_wide_images() -> None:
    net = build(GENERATORS["stylegan2"], (32, 48))
    noise = net.draw(N, single_lane_rng(("sizes",), N, CPU))
    styles = net.styles(noise)
    assert path_lengths(net.synthesis(styles, noise), styles, torch.ones(N, 1, 32, 48)).shape == (N,)


def test_the_u_net_halves_as_often_as_both_sides_can_be() -> None:
    # 64 = 2^6 and 96 = 3 * 2^5: five times, down to 2 by 3.
    net = build(GENERATORS["pix2pix"], (64, 96))
    assert len(net.down) == 5 and [tuple(one.shape[2:]) for one in net.draw(N, single_lane_rng((), N, CPU))] == [
        (4, 6),
        (8, 12),
        (16, 24),
    ]


def test_projected_enlarges_the_shorter_side_and_keeps_the_shape() -> None:
    assert build(DISCRIMINATORS["projected"], (32, 48)).shape == (64, 96)
    assert build(DISCRIMINATORS["projected"], (30, 50)).shape == (64, 128), "multiples of 32"
    assert build(DISCRIMINATORS["projected"], (96, 128)).shape == (96, 128)
