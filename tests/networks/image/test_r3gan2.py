"""R3GAN2 against the published counts and its own invariants, and its parts against their definitions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.networks.image import r3gan2
from gan_dist.networks.image.r3gan2 import Block, Stage
from gan_dist.networks.layers import magnitude
from gan_dist.networks.layers.magnitude import (
    ACTIVATION_GAIN,
    BiasedWeight,
    ClassVectors,
    GroupedWeight,
    LogitScale,
    NormalizedWeight,
    activate,
    normalize_rows,
)
from gan_dist.networks.layers.resample import smooth
from gan_dist.penalties.r1 import squared_gradient
from gan_dist.registry.build import build_networks
from tests.helpers import CPU, assert_same_state, rows_of, small, stop_at, train
from tests.networks.image.test_shapes import count

WIDE = torch.float64
SMALL: dict[str, Any] = {"width": 16, "group": 4, "blocks": 1}


def pair(size: int = 16, channels: int = 1, classes: int = 0, **args: int) -> tuple[Any, Any]:
    given = {"size": size, "channels": channels, "classes": classes, **SMALL, **args}
    return r3gan2.Generator(**given, z=5), r3gan2.Discriminator(**given)


def awake(net: nn.Module) -> nn.Module:
    """With blocks that count."""
    torch.manual_seed(1)
    for part in net.modules():
        if isinstance(part, Block):
            nn.init.normal_(part.strength, 0.0, 0.5)
    return net


def weights_of(net: nn.Module) -> list[NormalizedWeight]:
    return [part for part in net.modules() if isinstance(part, NormalizedWeight)]


@pytest.mark.parametrize("size", [8, 16, 64, (16, 24)])
@pytest.mark.parametrize("classes", [0, 3])
def test_it_fits_together(size: Any, classes: int) -> None:
    generator, discriminator = pair(size, 3, classes, wide=16)
    cond = torch.tensor([0, 2]) if classes else None
    made = generator(generator.draw(2, single_lane_rng((), 2, CPU)), cond)
    height, width = size if isinstance(size, tuple) else (size, size)
    assert made.shape == (2, 3, height, width)
    assert discriminator(made, cond).shape == (2,)


IMAGENET = {"classes": 1000, "width": 1024}
PUBLISHED: list[tuple[dict[str, int], float, float]] = [
    ({"size": 32, "classes": 10}, 17.34, 17.72),
    ({"size": 64}, 22.65, 22.57),
    ({"size": 256}, 24.86, 24.77),
    ({"size": 32, **IMAGENET}, 60.95, 63.72),
    ({"size": 64, **IMAGENET}, 80.10, 82.87),
]


@pytest.mark.parametrize(("args", "generator", "discriminator"), PUBLISHED)
def test_it_has_the_authors_parameters(args: dict[str, int], generator: float, discriminator: float) -> None:
    with torch.device("meta"):
        made = [count(kind(channels=3, **args)) / 1e6 for kind in (r3gan2.Generator, r3gan2.Discriminator)]
    assert [round(one, 2) for one in made] == [generator, discriminator]


@pytest.mark.parametrize(("width", "millions"), [(512, 17.41), (1024, 60.98), (1536, 130.76)])
def test_the_generators_of_latents_have_the_authors_parameters(width: int, millions: float) -> None:
    with torch.device("meta"):
        made = r3gan2.Generator(size=32, channels=32, classes=1000, width=width)
    assert round(count(made) / 1e6, 2) == millions


# --- layers ----------------------------------------------------------------------------------------------------------


def test_rows_have_their_magnitude_and_mean() -> None:
    for net in pair(16, 3, 3):
        for part in weights_of(net):
            rows = normalize_rows(part.weight, part.centered)
            dims = tuple(range(1, rows.ndim))
            assert (rows.square().mean(dims).sqrt() - 1).abs().max() < 2e-4
            if part.centered:
                assert rows.mean(dims).abs().max() < 1e-6


def test_a_larger_weight_is_the_same_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row to 1e-4, which is what keeps a division from 0; without that, all that networks make is the same."""
    cond = torch.tensor([0, 2])
    generator, discriminator = (awake(net).double() for net in pair(16, 3, 3))
    noise = generator.draw(2, single_lane_rng((), 2, CPU, WIDE))
    weights = [*weights_of(generator), *weights_of(discriminator)]

    def outputs() -> Tensor:
        made = generator(noise, cond)
        return torch.cat([made.flatten(), discriminator(made, cond)])

    settled, rows = outputs(), [part() for part in weights]
    monkeypatch.setattr(magnitude, "EPSILON", 0.0)
    before = outputs()
    for part in weights:
        part.weight.data *= 10
    torch.testing.assert_close(outputs(), before, rtol=1e-9, atol=1e-9)
    monkeypatch.undo()
    for part, row in zip(weights, rows, strict=True):
        torch.testing.assert_close(part(), row, rtol=1e-4, atol=0)
        part.after_step()
        assert part.weight.square().mean().item() == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(outputs(), settled, rtol=1e-4, atol=1e-6)


def test_settled_weights_stay() -> None:
    part = NormalizedWeight(4, 7).double()
    part.after_step()
    before = part.weight.clone()
    part.after_step()
    torch.testing.assert_close(part.weight, before, rtol=0, atol=1e-7)


def test_the_activation_keeps_the_variance() -> None:
    assert pytest.approx(1.54646, abs=1e-5) == ACTIVATION_GAIN
    grid = torch.linspace(-8, 8, 100_001, dtype=WIDE)
    density = torch.exp(-grid.square() / 2) / math.sqrt(2 * math.pi) * (grid[1] - grid[0])
    mean = (activate(grid) * density).sum()
    assert ((activate(grid) - mean).square() * density).sum().item() == pytest.approx(1, abs=1e-6)


def test_white_noise_keeps_its_variance_through_the_trunk() -> None:
    torch.manual_seed(0)
    stage, x = awake(Stage(64, 32, 2, noisy=False)).double(), torch.randn(8, 64, 12, 12, dtype=WIDE)
    for block in stage.blocks:
        block.strength.data.fill_(0.7)
    inner = block.widen.convolve(x)
    mixed = block.mix.convolve(activate(inner), padding=1)
    narrow = F.conv2d(activate(mixed), block.narrow()[:, :, None, None])
    inside = (..., slice(2, -2), slice(2, -2))
    for made in (inner, mixed, narrow, stage(x)):
        assert made[inside].var().item() == pytest.approx(1, rel=0.05)


def test_a_block_is_its_formula() -> None:
    block = awake(Block(width=6, group=4, noisy=True)).double()
    x, noise = torch.randn(2, 6, 3, 4, dtype=WIDE), torch.randn(2, 1, 3, 4, dtype=WIDE)
    variance = torch.rand(6, dtype=WIDE) + 1
    rows = [normalize_rows(part.weight, True) for part in (block.widen, block.mix, block.narrow)]
    whole = torch.cat([torch.ones_like(noise), noise, x / variance.sqrt()[:, None, None]], 1)
    inner = activate(torch.einsum("oi,bihw->bohw", rows[0], whole) / math.sqrt(8))
    groups = [F.conv2d(part, of, padding=1) for part, of in zip(inner.split(4, 1), rows[1].split(4), strict=True)]
    mixed = activate(torch.cat(groups, 1) / 6)
    alpha = torch.tanh(block.strength)
    wanted = x + alpha[:, None, None] * torch.einsum("oi,bihw->bohw", rows[2], mixed) / math.sqrt(12)
    made, after = block(x, variance, noise)
    torch.testing.assert_close(made, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(after, variance + alpha.square())


def test_numbers_are_spread_within_their_group() -> None:
    part = GroupedWeight(6, 3, (2, 2)).double()
    x, rows = torch.randn(2, 6, dtype=WIDE), normalize_rows(part.weight, True)
    made = part.spread(x)
    for out in range(6):
        first = out // 3 * 3
        wanted = sum(rows[out, at] * x[:, first + at, None, None] for at in range(3)) / math.sqrt(3)
        torch.testing.assert_close(made[:, out], wanted)


def test_bias_and_noise_are_columns() -> None:
    part = BiasedWeight(3, 4, noisy=True).double()
    x, noise, rows = torch.randn(2, 3, 2, 2, dtype=WIDE), torch.randn(2, 1, 2, 2, dtype=WIDE), part()
    difference = part.convolve(x, noise=noise) - part.convolve(x, noise=torch.zeros_like(noise))
    torch.testing.assert_close(difference, rows[:, 1, None, None] * noise)
    torch.testing.assert_close(part.convolve(0 * x, noise=0 * noise), rows[:, 0, None, None].expand(2, 4, 2, 2))


def test_smoothing_is_its_filter() -> None:
    x = torch.zeros(1, 2, 5, 5, dtype=WIDE)
    x[0, 1, 2, 2] = 16
    wanted = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=WIDE)
    assert torch.equal(smooth(x)[0, 1, 1:4, 1:4], wanted) and not smooth(x)[0, 0].any()


@pytest.mark.parametrize("name", ["_doubled", "_halved"])
def test_a_change_of_width_moves_places_into_channels(name: str) -> None:
    """Without the filter: every pixel of a 2x2 square is one channel's, or the mean of those of a run."""
    generator, discriminator = pair(32, 1, width=16, wide=16)
    assert generator.widths == [16, 16, 8]
    if name == "_doubled":
        made = generator._doubled(torch.arange(16.0)[None, :, None, None].expand(1, 16, 4, 4), 2)
        # Output channel c has places 4c to 4c + 3 of channels that are each repeated twice.
        wanted = torch.tensor([(2 * c + 2 * c + 1) / 2 for c in range(8)])
        torch.testing.assert_close(made[0, :, 3:5, 3:5].mean((1, 2)), wanted)
    else:
        made = discriminator._halved(torch.arange(8.0)[None, :, None, None].expand(1, 8, 8, 8), 2)
        assert made.shape == (1, 16, 4, 4)
        torch.testing.assert_close(made[0, :, 1, 1], torch.arange(16.0) // 2)


# --- classes, logits -------------------------------------------------------------------------------------------------


def test_all_classes_are_one_at_first() -> None:
    torch.manual_seed(0)
    generator, discriminator = (awake(net) for net in pair(8, 3, 4))
    noise = generator.draw(1, single_lane_rng((), 1, CPU))
    made = [generator(noise, torch.tensor([one])) for one in range(4)]
    assert all(torch.equal(made[0], other) for other in made)
    logits = [discriminator(made[0], torch.tensor([one])) for one in range(4)]
    assert all(torch.equal(logits[0], other) for other in logits)
    vectors = ClassVectors(4, 16)
    assert vectors.of(torch.tensor([1, 3]), torch.zeros(1)).square().mean().item() == pytest.approx(1, abs=1e-3)


def test_a_conditional_logit_is_a_product_with_the_class() -> None:
    _, net = pair(8, 1, 3)
    x, cond = torch.randn(3, 1, 8, 8), torch.tensor([0, 1, 2])
    nn.init.normal_(net.embed.weight)
    net.embed.after_step()
    features = F.linear(net.features(x), net.head())
    wanted = (features * normalize_rows(net.embed.weight, True)).sum(1) / 4
    torch.testing.assert_close(net(x, cond), wanted)


def test_penalties_do_not_see_the_scale_of_logits() -> None:
    """But the loss moves it, and they grow with it."""
    scale, net = LogitScale().double(), nn.Linear(3, 1).double()
    x = torch.randn(4, 3, dtype=WIDE, requires_grad=True)
    nn.init.constant_(scale.factor, 2.0)
    logits = scale(net(x).squeeze(1))
    torch.testing.assert_close(logits, 2 * net(x).squeeze(1))
    (moved,) = torch.autograd.grad(logits.sum(), scale.factor, retain_graph=True)
    torch.testing.assert_close(moved, net(x).sum())
    norms = squared_gradient(logits, x)
    torch.testing.assert_close(norms, 4 * net.weight.square().sum().expand(4))
    assert torch.autograd.grad(norms.sum(), scale.factor, allow_unused=True) == (None,)


def test_d_can_be_differentiated_twice() -> None:
    net = awake(pair(8, 1, 3, width=4)[1]).double()
    x, cond = torch.randn(1, 1, 8, 8, dtype=WIDE, requires_grad=True), torch.tensor([2])
    weight = net.stages[0].blocks[0].widen.weight
    (slope,) = torch.autograd.grad(squared_gradient(net(x, cond), x).sum(), weight)
    index = int(slope.abs().argmax())
    found = []
    for step in (1e-6, -2e-6):
        weight.data.view(-1)[index] += step
        found.append(squared_gradient(net(x, cond), x).sum().item())
    assert slope.view(-1)[index].item() == pytest.approx((found[0] - found[1]) / 2e-6, rel=1e-4)


# --- training --------------------------------------------------------------------------------------------------------

JOB: dict[str, Any] = {
    "generator": {"use": "r3gan2", "z": 4, **SMALL},
    "discriminator": {"use": "r3gan2", **SMALL},
    "data": {"source": "digits", "size": 8},
    "objective": {"use": "relativistic"},
    "penalties": ["r1", "r2"],
    "optimizer": {"lr": 1e-2, "betas": [0.0, 0.99]},
}


def test_it_resumes_exactly_with_normalized_weights(tmp_path: Path) -> None:
    job = small(**JOB, until="4 steps", ema={"half_life": 20})
    whole = train(job, tmp_path / "whole")
    train(job, tmp_path / "parts", stopping=stop_at(2))
    assert_same_state(whole.newest, train(job, tmp_path / "parts", attempt=2).newest)
    for name in ("generator", "discriminator"):
        for key, weight in whole.newest.tensors(name).items():
            if key.endswith(".weight"):
                assert weight.flatten(1).square().mean(1).sqrt().sub(1).abs().max() < 2e-4, key


def test_what_is_frozen_is_not_normalized_anew(tmp_path: Path) -> None:
    job = small(**JOB, until="2 steps", freeze={"generator": "head"})
    trained = train(job, tmp_path).newest.tensors("generator")
    begun = build_networks(job, rows_of(job).facts, ["generator"])["generator"].state_dict()
    assert torch.equal(trained["head.weight"], begun["head.weight"])
    assert not torch.equal(trained["narrow.weight"], begun["narrow.weight"])


REFUSED = [
    (
        {"size": 32, "width": 100},
        "r3gan2 at 32 pixels with group=32 and wide=64 needs a width that 16 divides, not 100; 96 is nearest",
    ),
    (
        {"size": 256, "width": 200},
        "r3gan2 at 256 pixels with group=32 and wide=64 needs a width that 64 divides, not 200; 192 is nearest",
    ),
    ({"size": 32, "blocks": 0}, "r3gan2 needs positive numbers, not width=512, wide=64, group=32, blocks=0"),
]


@pytest.mark.parametrize("kind", [r3gan2.Generator, r3gan2.Discriminator])
@pytest.mark.parametrize(("args", "text"), REFUSED)
def test_what_cannot_be_made_is_refused(kind: Any, args: dict[str, int], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        kind(channels=3, **args)
    assert str(caught.value) == text
