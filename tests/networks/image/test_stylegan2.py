"""StyleGAN2 against the published counts, the formula for each sample, and the definition of its resampling."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gan_dist.distributed.randomness import Rng, single_lane_rng
from gan_dist.networks.image import stylegan2
from gan_dist.networks.image.stylegan2 import Mapping, minibatch_stddev
from gan_dist.networks.layers.equalized import (
    EqualConv,
    EqualLinear,
    StyledConv,
    ToRGB,
    modulated_conv2d,
    normalize_2nd_moment,
)
from gan_dist.penalties.r1 import squared_gradient
from tests.helpers import CPU
from tests.networks.image.test_shapes import count

WIDE = torch.float64
NARROW = {"capacity": 64, "most": 8, "mapping": 2}


def pair(size: int = 16, channels: int = 1, classes: int = 0, **args: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    given = {"size": size, "channels": channels, "classes": classes, **NARROW, **args}
    return stylegan2.Generator(**given, z=6, w=6), stylegan2.Discriminator(**given)


def rng_of(n: int) -> Rng:
    return single_lane_rng(("test",), n, CPU, WIDE)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=WIDE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [8, 16, 64])
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("classes", [0, 3])
def test_it_fits_together(size: int, channels: int, classes: int) -> None:
    generator, discriminator = pair(size, channels, classes)
    cond = torch.tensor([0, 2]) if classes else None
    made = generator(generator.draw(2, single_lane_rng((), 2, CPU)), cond)
    assert made.shape == (2, channels, size, size) and discriminator(made, cond).shape == (2,)


PUBLISHED = [
    # Printed by the authors' code for FFHQ at 1024 pixels (configuration F) and at 256 (half the channels).
    ({"size": 1024}, 30_370_060, 29_012_513),
    ({"size": 256, "capacity": 16384}, 24_767_458, 24_001_089),
]


@pytest.mark.parametrize(("args", "generator", "discriminator"), PUBLISHED)
def test_it_has_the_published_parameters(args: dict[str, int], generator: int, discriminator: int) -> None:
    with torch.device("meta"):
        made = [count(kind(channels=3, **args)) for kind in (stylegan2.Generator, stylegan2.Discriminator)]
    assert made == [generator, discriminator]


def test_it_has_the_parameters_of_the_cifar_model() -> None:
    """20.2 million, with classes (PyTorch-StudioGAN's table of models)."""
    with torch.device("meta"):
        assert round(count(stylegan2.Generator(size=32, channels=3, classes=10, mapping=2)) / 1e6, 1) == 20.2


# --- modulated convolution -------------------------------------------------------------------------------------------


def naive_weights(weight: Tensor, style: Tensor) -> Tensor:
    """Equations 1 and 3 for one sample, with loops over the channels."""
    scaled = weight.clone()
    for channel in range(weight.shape[1]):
        scaled[:, channel] *= style[channel]
    for output in range(weight.shape[0]):
        scaled[output] /= math.sqrt(scaled[output].square().sum() + 1e-8)
    return scaled


def test_a_modulated_convolution_has_weights_of_its_own_for_each_sample() -> None:
    x, weight, style = random(3, 4, 6, 6), random(5, 4, 3, 3, seed=1), random(3, 4, seed=2)
    made = modulated_conv2d(x, weight, style)
    for sample in range(3):
        wanted = F.conv2d(x[sample, None], naive_weights(weight, style[sample]), padding=1)
        assert torch.allclose(made[sample, None], wanted, atol=1e-12)


def zeros_between(x: Tensor) -> Tensor:
    wide = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3], dtype=x.dtype)
    wide[:, :, ::2, ::2] = x
    return wide


def filtered(x: Tensor, before: int, after: int) -> Tensor:
    """Each channel under the filter [1, 3, 3, 1] x [1, 3, 3, 1] / 64, written as a sum of shifted pictures."""
    padded = F.pad(x, (before, after, before, after))
    size = padded.shape[-1] - 3
    taps = [1 / 8, 3 / 8, 3 / 8, 1 / 8]
    pieces = [
        down * right * padded[:, :, i : i + size, j : j + size]
        for i, down in enumerate(taps)
        for j, right in enumerate(taps)
    ]
    return torch.stack(pieces).sum(0)


def test_a_doubling_convolution_is_zeros_between_pixels_then_kernel_then_filter() -> None:
    x, weight, style = random(2, 3, 5, 5), random(4, 3, 3, 3, seed=1), random(2, 3, seed=2)
    made = modulated_conv2d(x, weight, style, doubled=True)
    for sample in range(2):
        # A transposed convolution has its kernel turned about.
        kernel = naive_weights(weight, style[sample]).flip(2, 3)
        wide = F.conv2d(F.pad(zeros_between(x[sample, None]), (2, 1, 2, 1)), kernel)
        wanted = 4 * filtered(F.pad(wide, (0, 0, 0, 0)), 1, 1)
        assert made.shape[-1] == 10
        assert torch.allclose(made[sample, None], wanted[..., :10, :10], atol=1e-12)


def test_a_halving_convolution_is_filter_then_kernel_then_every_second_pixel() -> None:
    conv = EqualConv(3, 4, 3, halve=True).to(WIDE)
    x = random(2, 3, 8, 8)
    wanted = F.conv2d(filtered(x, 2, 2), conv.weight / math.sqrt(27))[:, :, ::2, ::2]
    assert torch.allclose(conv(x), wanted, atol=1e-12)


def test_layers_have_equalised_rates() -> None:
    linear = EqualLinear(50, 4000, bias=1.0, rate=0.01)
    assert linear.weight.std().item() == pytest.approx(100, rel=0.02)
    made = linear(torch.randn(1, 50))
    assert made.mean().item() == pytest.approx(1.0, abs=0.1) and made.std().item() == pytest.approx(1.0, rel=0.4)
    assert normalize_2nd_moment(random(2, 7)).square().mean(1).tolist() == pytest.approx([1, 1])


def test_a_layer_is_its_formula() -> None:
    layer = StyledConv(3, 2, w=5).to(WIDE)
    with torch.no_grad():
        layer.strength.fill_(0.3)
        layer.bias.copy_(random(2))
    x, w, noise = random(2, 3, 4, 4), random(2, 5, seed=1), random(2, 1, 4, 4, seed=2)
    style = w @ layer.style.weight.T / math.sqrt(5) + 1
    inner = modulated_conv2d(x, layer.weight, style) + 0.3 * noise + layer.bias[:, None, None]
    assert torch.allclose(layer(x, w, noise), torch.where(inner > 0, inner, 0.2 * inner) * math.sqrt(2))
    picture = ToRGB(3, 1, w=5).to(WIDE)
    scale = w @ picture.style.weight.T / math.sqrt(5) + 1
    wanted = torch.einsum("oi,bi,bihw->bohw", picture.weight[:, :, 0, 0], scale, x) / math.sqrt(3)
    assert torch.allclose(picture(x, w), wanted)


# --- styles ----------------------------------------------------------------------------------------------------------


def test_styles_are_mixed_in_training_only() -> None:
    generator, _ = pair()
    generator.mixing = 1.0
    noise = generator.draw(64, single_lane_rng((), 64, CPU))
    own, other = generator.map(noise["z"]), generator.map(noise["other"])
    styles = generator.styles(noise)
    layers = styles.shape[1]
    assert layers == 6, "five convolutions and the last picture"
    for sample, change in enumerate(noise["change"].tolist()):
        assert 1 <= change < layers - 1 + 1
        assert torch.equal(styles[sample, :change], own[sample].expand(change, -1))
        assert torch.equal(styles[sample, change:], other[sample].expand(layers - change, -1))
    assert set(noise["change"].tolist()) == {1, 2, 3, 4}
    assert torch.equal(generator.eval().styles(noise), own[:, None].expand(-1, layers, -1))


def test_as_many_are_mixed_as_asked() -> None:
    generator, _ = pair()
    generator.mixing = 0.3
    change = generator.draw(2000, single_lane_rng((), 2000, CPU))["change"]
    assert (change <= 5).double().mean().item() == pytest.approx(0.3, abs=0.04)


def test_truncation_draws_styles_to_their_mean() -> None:
    generator, _ = pair(classes=3)
    generator.eval()
    noise, cond = generator.draw(4, single_lane_rng((), 4, CPU)), torch.tensor([0, 1, 2, 0])
    whole = generator.styles(noise, cond)
    generator.truncation = 0.0
    centre = generator.styles(noise, cond)
    assert torch.allclose(centre, centre[:1].expand_as(centre))
    generator.truncation = 0.5
    assert torch.allclose(generator.styles(noise, cond), (whole + centre) / 2, atol=1e-6)
    many = generator.draw(5000, single_lane_rng(("many",), 5000, CPU))
    generator.truncation = 1.0
    mean = generator.styles(many, torch.arange(5000) % 3).mean(0)
    assert torch.allclose(mean, centre[0], atol=0.1)
    generator.train()
    generator.truncation = 0.0
    assert not torch.allclose(generator.styles(noise, cond), centre), "training is not truncated"


def test_some_layers_alone_are_truncated() -> None:
    generator, _ = pair()
    generator.eval()
    noise = generator.draw(4, single_lane_rng((), 4, CPU))
    whole = generator.styles(noise)
    generator.truncation = 0.3
    near = generator.styles(noise)
    generator.truncation_layers = [0, 2]
    some = generator.styles(noise)
    taken = torch.tensor([layer in (0, 2) for layer in range(whole.shape[1])])
    assert torch.equal(some[:, taken], near[:, taken]) and torch.equal(some[:, ~taken], whole[:, ~taken])


def test_classes_have_vectors_of_their_own() -> None:
    mapping = Mapping(4, 3, 5, 1)
    z = torch.randn(2, 4)
    embedded = mapping.embed.weight.T[[0, 2]] / math.sqrt(3)  # type: ignore[union-attr]
    inputs = torch.cat([normalize_2nd_moment(z), normalize_2nd_moment(embedded)], 1)
    assert torch.allclose(mapping(z, torch.tensor([0, 2])), mapping.layers(inputs), atol=1e-6)


# --- D ---------------------------------------------------------------------------------------------------------------


def test_deviations_are_those_of_consecutive_groups() -> None:
    x = random(10, 2, 3, 3)
    made = minibatch_stddev(x, 4)
    for members in (range(4), range(4, 8), range(8, 10)):
        stacked = [x[one].flatten().tolist() for one in members]
        deviations = []
        for values in zip(*stacked, strict=True):
            mean = sum(values) / len(values)
            deviations.append(math.sqrt(sum((v - mean) ** 2 for v in values) / len(values) + 1e-8))
        for one in members:
            assert made[one].item() == pytest.approx(sum(deviations) / len(deviations))


def test_a_group_s_logits_are_the_same_in_any_company() -> None:
    _, discriminator = pair()
    discriminator.to(WIDE)
    x = random(12, 1, 16, 16)
    assert torch.allclose(discriminator(x)[4:8], discriminator(x[4:8]), atol=1e-12)
    assert not torch.allclose(discriminator(x)[:3], discriminator(x[:3])), "within a group they depend on each other"


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.slow
def test_both_can_be_differentiated_twice(classes: int) -> None:
    generator, discriminator = pair(8, 1, classes)
    generator.to(WIDE)
    discriminator.to(WIDE)
    cond = torch.tensor([0, 2]) if classes else None
    x = random(2, 1, 8, 8).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: discriminator(x, cond), (x,))
    squared_gradient(discriminator(x, cond), x).sum().backward()
    assert all(p.grad is not None for name, p in discriminator.named_parameters() if "bias" not in name)
    noise = generator.draw(2, rng_of(2))
    styles = generator.styles(noise, cond).detach().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda w: generator.synthesis(w, noise), (styles,))


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({"size": 18}, "stylegan2 .* images of 8 to 1024 pixels, .*, not 18; data.size: 16 is nearest"),
        ({"size": 64, "capacity": 32}, "stylegan2 at 64 pixels needs capacity >= 64 and most >= 1, not 32 and 8"),
        ({"mapping": 0}, "at least one layer of one unit, not mapping=0"),
    ],
)
def test_what_cannot_be_made_is_refused(args: dict[str, int], text: str) -> None:
    given = {"size": 16, "channels": 1, "classes": 2, **NARROW, **args}
    for kind in (stylegan2.Generator, stylegan2.Discriminator):
        with pytest.raises(ValueError, match=text):
            kind(**given)


def test_numbers_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"mixing and truncation must be in .*, not 0.9 and 2"):
        stylegan2.Generator(size=16, channels=1, truncation=2)
    with pytest.raises(ValueError, match="group must be at least 1, not 0"):
        stylegan2.Discriminator(size=16, channels=1, group=0)
