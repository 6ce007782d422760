"""SAGAN: self-attention against a slow reference, shapes, parameters, spectral normalisation everywhere."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.networks.image import sagan
from gan_dist.networks.image.sagan import DownBlock, SelfAttention
from gan_dist.networks.layers.spectral_norm import SpectralConv, SpectralLinear
from tests.helpers import CPU
from tests.networks.image.test_shapes import count

WIDE = torch.float64


def pair(size: int = 16, channels: int = 1, classes: int = 0, width: int = 2) -> tuple[Any, Any]:
    torch.manual_seed(0)
    given = {"size": size, "channels": channels, "classes": classes, "width": width}
    return sagan.Generator(**given, z=5), sagan.Discriminator(**given)


def weight_of(layer: Any) -> Tensor:
    """The matrix of a 1x1 convolution, divided by its estimated largest singular value."""
    matrix = layer.weight[:, :, 0, 0]
    return matrix / (layer.u @ matrix @ layer.v)


def test_attention_is_its_formula_place_by_place() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(16).to(WIDE)
    with torch.no_grad():
        attention.gamma.fill_(0.7)
    x = torch.randn(2, 16, 3, 3, dtype=WIDE)
    f, g, h, v = (weight_of(layer).detach() for layer in (attention.f, attention.g, attention.h, attention.v))
    made = attention(x).detach().flatten(2)
    for sample in range(2):
        places = x[sample].flatten(1).T
        for j in range(9):
            scores = [math.exp(float((f @ places[i]) @ (g @ places[j]))) for i in range(9)]
            mixed = sum(score / sum(scores) * (h @ places[i]) for i, score in enumerate(scores))
            assert torch.allclose(made[sample, :, j], places[j] + 0.7 * (v @ mixed), atol=1e-12)


def test_attention_begins_as_nothing_and_differentiates_twice() -> None:
    attention = SelfAttention(8).to(WIDE)
    x = torch.randn(1, 8, 2, 2, dtype=WIDE, requires_grad=True)
    assert torch.equal(attention(x), x)
    with torch.no_grad():
        attention.gamma.fill_(1.0)
    assert torch.autograd.gradcheck(attention, (x,)) and torch.autograd.gradgradcheck(attention, (x,))


@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize("classes", [0, 3])
def test_it_fits_together_at_every_size(size: int, classes: int) -> None:
    generator, discriminator = pair(size, 1 + 2 * (size == 32), classes)
    seen: list[int] = []
    for net in (generator, discriminator):
        net.attention.register_forward_hook(lambda module, args, made: seen.append(made.shape[-1]))
    cond = torch.tensor([0, 2]) if classes else None
    made = generator(generator.draw(2, single_lane_rng((), 2, CPU)), cond)
    assert made.shape == (2, 1 + 2 * (size == 32), size, size) and made.abs().max() <= 1
    assert discriminator(made, cond).shape == (2,)
    assert seen == [min(32, size // 2)] * 2


def test_parameters_are_those_of_its_layers() -> None:
    # At 16 pixels with width 2: 8, 4, 2 channels at 4, 8, 16 pixels in G; 2, 4 at 8, 4 in D. Attention at 8 pixels.
    def up(a: int, b: int) -> int:
        return 9 * a * b + b + 9 * b * b + b + a * b + b + 2 * a + 2 * b

    generator, discriminator = pair()
    attention = 2 * 4 + 2 * 8 + 1  # queries, keys; values and what is made of them, of two channels; gamma
    assert count(generator) == 5 * 128 + 128 + up(8, 4) + attention + up(4, 2) + 2 * 2 + 9 * 2 + 1

    def down(a: int, b: int) -> int:
        return 9 * a * b + b + 9 * b * b + b

    blocks = down(1, 2) + (2 + 2) + down(2, 4) + (8 + 4) + down(4, 4)
    assert count(discriminator) == blocks + 4 * 2 + 1 + 4 + 1


def test_every_convolution_and_layer_is_spectral() -> None:
    for net in pair(32, 3, 3):
        plain = [part for part in net.modules() if type(part) in (nn.Conv2d, nn.Linear)]
        assert plain == [] and any(isinstance(part, SpectralConv | SpectralLinear) for part in net.modules())


def test_a_block_of_d_is_its_formula() -> None:
    block = DownBlock(3, 5).to(WIDE)
    x = torch.randn(2, 3, 4, 4, dtype=WIDE)
    first, _, second = block.body
    made = second(torch.relu(first(torch.relu(x)))) + block.aside(x)  # type: ignore[misc]
    mean = made.unflatten(2, (2, 2)).unflatten(4, (2, 2)).mean((3, 5))
    assert torch.allclose(block(x), mean)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({"size": 256}, "sagan .* images of 16 to 128 pixels, .*, not 256; data.size: 128 is nearest"),
        ({"width": 0}, "width >= 1, not 0"),
    ],
)
def test_what_cannot_be_made_is_refused(args: dict[str, int], text: str) -> None:
    for kind in (sagan.Generator, sagan.Discriminator):
        with pytest.raises(ValueError, match=text):
            kind(**{"size": 16, "channels": 1, "width": 2, **args})
