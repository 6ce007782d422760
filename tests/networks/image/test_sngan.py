"""SNGAN against the published counts and slow references; spectral normalisation against singular values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.networks.image import sngan
from gan_dist.networks.image.sngan import ClassBatchNorm, DownBlock, UpBlock
from gan_dist.networks.layers.spectral_norm import SpectralConv, SpectralLinear
from gan_dist.training.loop import iterate as iteration
from tests.helpers import CPU, finite_difference, small
from tests.networks.image.test_shapes import count
from tests.training.test_loop import ready


def pair(size: int = 16, channels: int = 1, classes: int = 0, width: int = 4) -> tuple[Any, Any]:
    given = {"size": size, "channels": channels, "classes": classes, "width": width}
    return sngan.Generator(**given, z=5), sngan.Discriminator(**given)


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [0, 3])
def test_it_fits_together_at_every_size(size: int, channels: int, classes: int) -> None:
    generator, discriminator = pair(size, channels, classes)
    cond = torch.tensor([0, 2]) if classes else None
    made = generator(generator.draw(2, single_lane_rng((), 2, CPU)), cond)
    assert made.shape == (2, channels, size, size) and made.abs().max() <= 1
    assert discriminator(made, cond).shape == (2,)


def test_it_has_the_published_parameters() -> None:
    """4.30 and 1.06 million, with classes, on CIFAR-10 (PyTorch-StudioGAN's table of models)."""
    made = [count(kind(size=32, channels=3, classes=10)) / 1e6 for kind in (sngan.Generator, sngan.Discriminator)]
    assert [round(one, 2) for one in made] == [4.30, 1.06]


def test_d_has_no_other_normalisation_and_g_no_spectral_one() -> None:
    generator, discriminator = pair(32, 3, 3)
    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in discriminator.modules())
    plain = [part for part in discriminator.modules() if type(part) in (nn.Conv2d, nn.Linear)]
    assert plain == [] and not any(isinstance(part, SpectralConv | SpectralLinear) for part in generator.modules())


def test_class_norm_is_its_formula() -> None:
    norm = ClassBatchNorm(3, 2).double()
    nn.init.normal_(norm.scale)
    nn.init.normal_(norm.shift)
    x, cond = torch.randn(4, 3, 2, 5, dtype=torch.float64), [0, 1, 1, 0]
    made = norm(x, F.one_hot(torch.tensor(cond)).double())
    for channel in range(3):
        values = x[:, channel]
        flat = (values - values.mean()) / (values.var(unbiased=False) + 1e-5).sqrt()
        for sample, label in enumerate(cond):
            expected = norm.scale[label, channel] * flat[sample] + norm.shift[label, channel]
            torch.testing.assert_close(made[sample, channel], expected, rtol=1e-12, atol=1e-12)


def test_blocks_do_1x1_where_it_costs_least() -> None:
    """Doubling and means of 2x2 commute with a 1x1 convolution; the papers write it at the larger size."""
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    up, down = UpBlock(4, 0).double(), DownBlock(4, halved=True).double()
    for block in (up, down):
        nn.init.normal_(block.aside.bias)  # type: ignore[union-attr, arg-type]
    big = F.relu(up.norms[0](x, None)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    inner = up.convs[1](F.relu(up.norms[1](up.convs[0](big), None)))
    expected = inner + up.aside(x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(up(x, None), expected, rtol=1e-10, atol=1e-10)
    assert down.aside is not None
    wide = down.body(x) + down.aside(x)
    torch.testing.assert_close(down(x), wide.view(2, 4, 3, 2, 3, 2).mean((3, 5)), rtol=1e-10, atol=1e-10)


def layers() -> list[Any]:
    torch.manual_seed(0)
    made = [
        SpectralConv(3, 5, 3),
        SpectralConv(6, 2, 1, gain=1.0),
        SpectralLinear(4, 7),
        SpectralLinear(9, 1, bias=False),
    ]
    return [layer.double() for layer in made]


@pytest.mark.parametrize("layer", layers())
def test_the_weight_is_divided_by_its_largest_singular_value(layer: Any) -> None:
    for _ in range(300):
        layer.before_step()
    x = torch.randn(2, layer.weight.shape[1], *[4] * (layer.weight.ndim - 2), dtype=torch.float64)
    largest = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
    weight = layer.weight / largest
    expected = (
        F.linear(x, weight, layer.bias)
        if layer.weight.ndim == 2
        else F.conv2d(x, weight, layer.bias, padding=layer.weight.shape[2] // 2)
    )
    torch.testing.assert_close(layer(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layer", layers())
def test_a_step_is_one_of_power_iteration(layer: Any) -> None:
    matrix, u = layer.weight.detach().flatten(1), layer.u.clone()
    v = matrix.T @ u
    v = v / v.norm()
    u = matrix @ v
    layer.before_step()
    torch.testing.assert_close(layer.v, v, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.u, u / u.norm(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layer", layers())
def test_it_begins_near_the_truth(layer: Any) -> None:
    largest = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
    estimate = layer.u @ layer.weight.detach().flatten(1) @ layer.v
    assert 0.9 * largest <= estimate <= largest * (1 + 1e-6)


def test_the_gradient_flows_through_the_estimate() -> None:
    layer = layers()[0]
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)

    def loss() -> Tensor:
        return layer(x).sin().sum()  # type: ignore[no-any-return]

    (slope,) = torch.autograd.grad(loss(), layer.weight)
    torch.testing.assert_close(slope, finite_difference(loss, layer.weight), rtol=0, atol=1e-7)
    # Scaling the weight changes nothing, so that the gradient stands upright on it.
    assert (slope * layer.weight).sum().item() == pytest.approx(0, abs=1e-10)


def test_autocast_does_not_round_the_estimate() -> None:
    layer = SpectralConv(3, 5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        made = layer(torch.ones(1, 3, 4, 4))
    torch.testing.assert_close(made.float(), layer(torch.ones(1, 3, 4, 4)), rtol=0.02, atol=0.02)
    assert made.dtype == torch.bfloat16


def test_d_can_be_differentiated_twice() -> None:
    _, discriminator = pair(16, 1, 3, width=2)
    net = discriminator.double()
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: net(x, torch.tensor([0, 2])), x, fast_mode=True)


def vectors(net: nn.Module) -> list[Tensor]:
    return [buffer.clone() for name, buffer in net.named_buffers() if name.rpartition(".")[2] in ("u", "v")]


def test_passes_do_not_move_the_vectors() -> None:
    _, discriminator = pair()
    before = vectors(discriminator.train())
    assert len(before) == 2 * (3 + 2 * 2 + 1)
    for _ in range(3):
        discriminator(torch.randn(2, 1, 16, 16))
    assert all(map(torch.equal, before, vectors(discriminator)))


def test_they_move_once_in_each_step_of_d(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two steps of D, a penalty, three micro-batches, and D's pass in G's phase: twice."""
    moved: list[int] = []
    move = SpectralLinear.before_step

    def counted(layer: SpectralLinear) -> None:
        moved.append(id(layer))
        move(layer)

    monkeypatch.setattr(SpectralLinear, "before_step", counted)
    spec = small(
        data={"source": "digits", "size": 16},
        generator={"use": "mlp", "hidden": 4},
        discriminator={"use": "sngan", "width": 2},
        objective={"use": "hinge", "d_steps": 2},
        penalties=[{"use": "r1"}],
        batch=12,
    )
    it = ready(spec, micro=4)
    assert it.feed.micros == 3
    iteration(it, it.state.stages[0])
    assert len(moved) == 2 and len(set(moved)) == 1


def test_what_cannot_be_made_is_refused() -> None:
    for kind in (sngan.Generator, sngan.Discriminator):
        with pytest.raises(ValueError) as caught:
            kind(size=128, channels=3)
        assert str(caught.value).endswith(" times it, not 128; data.size: 64 is nearest")
        with pytest.raises(ValueError, match=r"^sngan needs width >= 1, not 0$"):
            kind(size=32, channels=3, width=0)
