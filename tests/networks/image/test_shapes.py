"""Shapes at every size, parameter counts against arithmetic, initial statistics, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.networks.image import dcgan, mlp
from gan_dist.spec.image_size import Size, show_size
from tests.helpers import CPU


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def pair(kind: Any, size: int, channels: int, classes: int, **args: int) -> tuple[Any, Any]:
    given = {"size": size, "channels": channels, "classes": classes, **args}
    return kind.Generator(**given, z=5), kind.Discriminator(**given)


@pytest.mark.parametrize("size", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [0, 3])
def test_dcgan_fits_together_at_every_size(size: int, channels: int, classes: int) -> None:
    generator, discriminator = pair(dcgan, size, channels, classes, width=2)
    cond = torch.tensor([0, 2]) if classes else None
    made = generator(generator.draw(2, single_lane_rng((), 2, CPU)), cond)
    assert made.shape == (2, channels, size, size) and made.abs().max() <= 1
    assert discriminator(made, cond).shape == (2,)


@pytest.mark.parametrize("size", [4, 7, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [0, 3])
def test_mlp_fits_together_at_any_size(size: int, channels: int, classes: int) -> None:
    generator, discriminator = pair(mlp, size, channels, classes, hidden=4)
    cond = torch.tensor([0, 2]) if classes else None
    made = generator(generator.draw(2, single_lane_rng((), 2, CPU)), cond)
    assert made.shape == (2, channels, size, size) and made.abs().max() <= 1
    assert discriminator(made, cond).shape == (2,)


def test_dcgan_64_has_the_paper_s_parameters() -> None:
    # Kernels 4x4 between 100-512-256-128-64-3 channels, a scale and shift for each normalised channel, and a
    # bias for the last layer.
    kernels = 16 * (100 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    assert count(dcgan.Generator(size=64, channels=3)) == kernels + 2 * (512 + 256 + 128 + 64) + 3
    # 3-64-128-256-512 channels to one logit of 4x4 places; a bias for the first layer and the logit.
    kernels = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512) + 16 * 512
    assert count(dcgan.Discriminator(size=64, channels=3)) == kernels + 64 + 2 * (128 + 256 + 512) + 1


def test_classes_add_a_row_each_to_dcgan() -> None:
    plain, classy = pair(dcgan, 16, 1, 0, width=4), pair(dcgan, 16, 1, 7, width=4)
    assert count(classy[0]) - count(plain[0]) == 7 * 8 * 16  # noise channels into the widest layer's 4x4 kernel
    assert count(classy[1]) - count(plain[1]) == 7 * 8 * 16  # an embedding as long as the features


def test_dcgan_without_norm_has_biases_in_its_place() -> None:
    with_norm = dcgan.Discriminator(size=16, channels=1, width=4)
    without = dcgan.Discriminator(size=16, channels=1, width=4, norm="none")
    assert count(with_norm) - count(without) == 8  # scale and shift of 8 channels against their bias
    assert not any(isinstance(module, nn.BatchNorm2d) for module in without.modules())


def test_mlp_has_the_parameters_of_its_layers() -> None:
    generator = mlp.Generator(size=8, channels=3, classes=2, z=5, hidden=7, layers=2)
    assert count(generator) == (5 + 2 + 1) * 7 + (7 + 1) * 7 + (7 + 1) * 192
    discriminator = mlp.Discriminator(size=8, channels=3, classes=2, hidden=7, layers=2)
    assert count(discriminator) == (192 + 2 + 1) * 7 + (7 + 1) * 7 + (7 + 1)


def test_dcgan_begins_as_the_paper_says() -> None:
    torch.manual_seed(0)
    for net in (dcgan.Generator(size=32, channels=3), dcgan.Discriminator(size=32, channels=3)):
        for module in net.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                error = 5 / module.weight.numel() ** 0.5
                assert module.weight.mean().abs() < 0.02 * error
                assert module.weight.std().item() == pytest.approx(0.02, rel=error)
                assert module.bias is None or not module.bias.any()
            if isinstance(module, nn.BatchNorm2d):
                error = 5 / module.weight.numel() ** 0.5
                assert (module.weight.mean() - 1).abs() < 0.02 * error and not module.bias.any()
                assert module.weight.std().item() == pytest.approx(0.02, rel=error)


@pytest.mark.parametrize(("size", "near"), [(8, 16), (33, 32), (100, 96), (512, 256), ((30, 48), [32, 48])])
@pytest.mark.parametrize("kind", [dcgan.Generator, dcgan.Discriminator])
def test_dcgan_names_the_nearest_size_it_makes(kind: Any, size: Size, near: Any) -> None:
    with pytest.raises(ValueError) as caught:
        kind(size=size, channels=3)
    does = "makes" if kind is dcgan.Generator else "judges"
    assert str(caught.value) == (
        f"dcgan {does} images of 16 to 256 pixels, both sides multiples of a power of two, the shorter one 4 to 7 "
        f"times it, not {show_size(size)}; data.size: {near} is nearest"
    )


@pytest.mark.parametrize("kind", [dcgan, mlp])
def test_conditional_networks_want_classes(kind: Any) -> None:
    for net, entry in zip(pair(kind, 16, 1, 3), (torch.zeros(2, 5), torch.zeros(2, 1, 16, 16)), strict=True):
        with pytest.raises(ValueError, match=r"^this network is class-conditional; it was called without classes$"):
            net(entry)


@pytest.mark.parametrize("kind", [dcgan, mlp])
def test_classes_matter(kind: Any) -> None:
    torch.manual_seed(0)
    generator, discriminator = pair(kind, 16, 1, 3)
    noise, image = torch.ones(2, 5), torch.ones(2, 1, 16, 16)
    made = generator.eval()(noise, torch.tensor([0, 1]))
    judged = discriminator.eval()(image, torch.tensor([0, 1]))
    assert not torch.equal(made[0], made[1]) and judged[0] != judged[1]


def test_layers_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one layer of one unit, not layers=0, hidden=256"):
        mlp.Generator(size=8, channels=1, layers=0)
    with pytest.raises(ValueError, match="dcgan needs width >= 1, not 0"):
        dcgan.Discriminator(size=16, channels=1, width=0)


def test_a_parameter_with_gaps_is_trained_whole() -> None:
    from gan_dist.training.trainer import _placed

    class Gaps(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(4, 4)[:, :2])

    placed = _placed(Gaps(), torch.device("cpu"), torch.float32)
    (parameter,) = placed.parameters()
    assert parameter.is_contiguous() and parameter.shape == (4, 2)
