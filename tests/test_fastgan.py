"""FastGAN's generator: shapes, parameters against arithmetic, gates against their formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from gan_dist.networks import fastgan
from gan_dist.networks.fastgan import Excitation, UpBlock
from gan_dist.randomness import one_lane
from tests.helpers import CPU
from tests.test_networks import count


def generator(size: int = 16, **args: Any) -> fastgan.Generator:
    torch.manual_seed(0)
    return fastgan.Generator(**{"size": size, "channels": 3, "z": 6, "width": 2, **args})


@pytest.mark.parametrize("size", [8, 16, 32, 64, 256])
@pytest.mark.parametrize("classes", [0, 3])
def test_it_makes_images_of_every_size(size: int, classes: int) -> None:
    net = generator(size, classes=classes, channels=1)
    cond = torch.tensor([0, 2]) if classes else None
    made = net(net.draw(2, one_lane((), 2, CPU)), cond)
    assert made.shape == (2, 1, size, size) and made.abs().max() <= 1


def test_small_maps_gate_those_sixteen_times_as_large() -> None:
    with torch.device("meta"):
        assert list(generator(512, width=64).gates) == ["64", "128", "256", "512"]
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
    gate = Excitation(3, 5).double()
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
    noise = net.draw(8, one_lane((), 8, CPU))
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
        generator(20)
    with pytest.raises(ValueError, match="fastgan at 1024 pixels needs width >= 8, not 2"):
        generator(1024)
