"""R3GAN against the paper's counts, and its parts against slow references written from their definitions."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.networks.image import r3gan
from gan_dist.networks.image.r3gan import Block
from gan_dist.networks.layers.resample import Downsample, Upsample
from tests.helpers import CPU
from tests.networks.image.test_shapes import count

FILTER = (1 / 8, 3 / 8, 3 / 8, 1 / 8)


def pair(size: int = 16, channels: int = 1, classes: int = 0, **args: int) -> tuple[Any, Any]:
    given = {"size": size, "channels": channels, "classes": classes, "width": 8, "group": 4, **args}
    return r3gan.Generator(**given, z=5), r3gan.Discriminator(**given)


def awake(net: nn.Module) -> nn.Module:
    """With random numbers in place of the zeros that blocks end in."""
    torch.manual_seed(1)
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, 0.0, 0.3)
    return net


@pytest.mark.parametrize("size", [8, 16, 32, 64, 128, 256])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [0, 3])
def test_it_fits_together_at_every_size(size: int, channels: int, classes: int) -> None:
    generator, discriminator = pair(size, channels, classes, width=16)
    cond = torch.tensor([0, 2]) if classes else None
    made = generator(generator.draw(2, single_lane_rng((), 2, CPU)), cond)
    assert made.shape == (2, channels, size, size)
    assert discriminator(made, cond).shape == (2,)


IMAGENET = {"classes": 1000, "width": 1536, "group": 32}
PUBLISHED: list[tuple[dict[str, int], float, float]] = [
    ({"size": 32, "classes": 10}, 20.78, 21.28),
    ({"size": 64}, 22.43, 22.38),
    ({"size": 256}, 23.06, 23.01),
    ({"size": 32, **IMAGENET}, 82.91, 86.55),
    ({"size": 64, "wide": 64, **IMAGENET}, 103.57, 107.21),
]


@pytest.mark.parametrize(("args", "generator", "discriminator"), PUBLISHED)
def test_it_has_the_paper_s_parameters(args: dict[str, int], generator: float, discriminator: float) -> None:
    with torch.device("meta"):
        made = [count(kind(channels=3, **args)) / 1e6 for kind in (r3gan.Generator, r3gan.Discriminator)]
    assert [round(one, 2) for one in made] == [generator, discriminator]


@pytest.mark.parametrize(("width", "share"), [(384, 0.27), (192, 0.08)])
def test_narrow_presets_have_the_share_that_their_description_says(width: int, share: float) -> None:
    for kind in (r3gan.Generator, r3gan.Discriminator):
        with torch.device("meta"):
            narrow, full = kind(size=32, channels=3, classes=10, width=width), kind(size=32, channels=3, classes=10)
        assert count(narrow) / count(full) == pytest.approx(share, abs=0.005)


def naive_block(block: Block, x: Tensor, group: int) -> Tensor:
    """x + W3 a(W2 a(W1 x)), sample by sample, pixel by pixel, group by group."""
    first, _, second, _, third = block.branch
    inner = leaky(torch.einsum("oi,bihw->bohw", first.weight[:, :, 0, 0], x) + first.bias[:, None, None])
    padded, mixed = F.pad(inner, (1, 1, 1, 1)), torch.zeros_like(inner)
    for out, dy, dx in product(range(inner.shape[1]), range(3), range(3)):
        start = out // group * group
        for offset in range(group):
            shifted = padded[:, start + offset, dy : dy + x.shape[2], dx : dx + x.shape[3]]
            mixed[:, out] += second.weight[out, offset, dy, dx] * shifted
    mixed = leaky(mixed + second.bias[:, None, None])
    return x + torch.einsum("oi,bihw->bohw", third.weight[:, :, 0, 0], mixed)


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def test_a_block_is_its_formula() -> None:
    block = awake(Block(width=6, group=4, depth=3)).double()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    assert isinstance(block, Block) and block.branch[2].groups == 3
    torch.testing.assert_close(block(x), naive_block(block, x, 4), rtol=1e-12, atol=1e-12)


def naive_up(row: list[float]) -> list[float]:
    """The filter, twice as strong, over the values with zeros between and around them."""
    spread = [0.0] * (2 * len(row) + 3)
    spread[2 : 2 * len(row) + 1 : 2] = row
    return [sum(2 * f * spread[at + tap] for tap, f in enumerate(FILTER)) for at in range(2 * len(row))]


def naive_down(row: list[float]) -> list[float]:
    padded = [0.0, *row, 0.0]
    return [sum(f * padded[2 * at + tap] for tap, f in enumerate(FILTER)) for at in range(len(row) // 2)]


def in_two_directions(resample: Any, x: Tensor) -> Tensor:
    """A filter of rows applied to rows and then to columns."""
    for _ in range(2):
        made = [[[resample(row) for row in plane] for plane in sample] for sample in x.tolist()]
        x = torch.tensor(made, dtype=torch.float64).transpose(2, 3)
    return x


@pytest.mark.parametrize(("kind", "naive"), [(Upsample, naive_up), (Downsample, naive_down)])
def test_resampling_is_its_definition(kind: Any, naive: Any) -> None:
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    expected = in_two_directions(naive, x)
    torch.testing.assert_close(kind().double()(x), expected, rtol=0, atol=1e-12)


def test_resampling_is_bilinear_inside() -> None:
    x = torch.randn(1, 2, 8, 8, dtype=torch.float64)
    up = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    down = F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False, antialias=True)
    inner = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(Upsample().double()(x)[inner], up[inner], rtol=0, atol=1e-12)
    torch.testing.assert_close(Downsample().double()(x)[inner], down[inner], rtol=0, atol=1e-12)


def test_the_filter_is_no_part_of_the_weights() -> None:
    assert not Upsample().state_dict() and not Downsample().state_dict()


@pytest.mark.parametrize("size", [16, 64])
def test_it_begins_as_the_paper_says(size: int) -> None:
    torch.manual_seed(0)
    for net in pair(size, width=64, blocks=2):
        blocks = [module for module in net.modules() if isinstance(module, Block)]
        gain = math.sqrt(2 / (1 + 0.2**2)) * len(blocks) ** -0.25
        assert len(blocks) == 2 * (int(math.log2(size)) - 1)
        for block in blocks:
            first, _, second, _, third = block.branch
            for conv, fan in ((first, first.in_channels), (second, 4 * 9)):
                error = 5 / conv.weight.numel() ** 0.5
                assert conv.weight.std().item() == pytest.approx(gain / math.sqrt(fan), rel=error)
                assert not conv.bias.any()
            assert not third.weight.any() and third.bias is None


def test_the_generator_begins_linear_and_the_basis_normal() -> None:
    torch.manual_seed(0)
    generator = r3gan.Generator(size=16, channels=3, width=64).double()
    noise = torch.randn(3, 64, dtype=torch.float64)
    torch.testing.assert_close(generator(2 * noise), 2 * generator(noise), rtol=1e-12, atol=1e-12)
    assert generator.basis.shape == (64, 4, 4) and generator.basis.std().item() == pytest.approx(1, rel=0.15)
    assert generator(noise).std().item() == pytest.approx(1, abs=0.5)


def test_a_conditional_logit_is_a_product_with_the_class() -> None:
    _, discriminator = pair(8, 1, 3)
    x, cond = torch.randn(3, 1, 8, 8), torch.tensor([0, 1, 2])
    nn.init.zeros_(discriminator.embed.weight)
    assert not discriminator(x, cond).any()


@pytest.mark.parametrize("classes", [0, 3])
def test_d_can_be_differentiated_twice(classes: int) -> None:
    _, discriminator = pair(8, 1, classes, width=4, blocks=1)
    net, cond = awake(discriminator).double(), torch.tensor([0, 2]) if classes else None
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: net(x, cond), x)
    weights = list(net.parameters())
    slopes = torch.autograd.grad(penalty(net, x, cond), weights)
    for weight, slope in zip(weights, slopes, strict=True):
        index = int(slope.abs().argmax())
        assert slope.flatten()[index].item() == pytest.approx(difference(net, x, cond, weight, index), rel=1e-5)


def penalty(net: nn.Module, x: Tensor, cond: Tensor | None) -> Tensor:
    (gradient,) = torch.autograd.grad(net(x, cond).sum(), x, create_graph=True)
    return gradient.square().sum()


def difference(net: nn.Module, x: Tensor, cond: Tensor | None, weight: Tensor, index: int) -> float:
    values, flat = [], weight.detach().view(-1)
    for step in (1e-5, -2e-5):
        flat[index] += step
        values.append(penalty(net, x, cond).item())
    flat[index] += 1e-5
    return (values[0] - values[1]) / 2e-5


def test_the_smallest_stage_stays_in_float32_under_autocast() -> None:
    generator, discriminator = (awake(net) for net in pair(16, 1, 3, width=16))
    seen: dict[str, torch.dtype] = {}
    for name, module in (("G 4x4", generator.first), ("D 4x4", discriminator.last), ("D 16x16", discriminator.first)):
        module.register_forward_hook(lambda _, given, made, name=name: seen.update({name: made.dtype}))
    noise, cond = generator.draw(2, single_lane_rng((), 2, CPU)), torch.tensor([0, 2])
    with torch.autocast("cpu", torch.bfloat16):
        made = generator(noise, cond)
        logits = discriminator(made, cond)
    assert seen == {"G 4x4": torch.float32, "D 4x4": torch.float32, "D 16x16": torch.bfloat16}
    exact = discriminator(generator(noise, cond), cond).detach()
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, exact, rtol=0.1, atol=0.05 * float(exact.abs().max()))


REFUSED = [
    (
        {"size": 4},
        "r3gan makes images of 8 to 256 pixels, both sides multiples of a power of two, the shorter one 4 to 7 "
        "times it, not 4; data.size: 8 is nearest",
    ),
    (
        {"size": 32, "width": 100},
        "r3gan at 32 pixels with group=16 and wide=32 needs a width that 8 divides, not 100; 96 is nearest",
    ),
    (
        {"size": 256, "width": 200},
        "r3gan at 256 pixels with group=16 and wide=32 needs a width that 64 divides, not 200; 192 is nearest",
    ),
    (
        {"size": 32, "width": 2},
        "r3gan at 32 pixels with group=16 and wide=32 needs a width that 8 divides, not 2; 8 is nearest",
    ),
    ({"size": 32, "blocks": 0}, "r3gan needs positive numbers, not width=768, wide=32, group=16, blocks=0"),
]


@pytest.mark.parametrize("kind", [r3gan.Generator, r3gan.Discriminator])
@pytest.mark.parametrize(("args", "text"), REFUSED)
def test_what_cannot_be_made_is_refused(kind: Any, args: dict[str, int], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        kind(channels=3, **args)
    assert str(caught.value).replace(" judges ", " makes ") == text
