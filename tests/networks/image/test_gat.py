"""GAT against the published counts, and its parts and its loss against their definitions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.data.facts import ImageFacts
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.execution.preflight import network_problems
from gan_dist.networks.image import gat
from gan_dist.objectives.multi_level import MultiLevel, level_times, noised_levels
from tests.helpers import CPU, batch_of, nets_of, small
from tests.networks.image.test_shapes import count

WIDE = torch.float64
SMALL: dict[str, Any] = {"hidden": 16, "depth": 4, "heads": 2}


def pair(size: Any = 8, classes: int = 0, **args: Any) -> tuple[Any, Any]:
    given = {"size": size, "channels": 2, "classes": classes, **SMALL, **args}
    torch.manual_seed(0)
    return gat.Generator(**given, z=5), gat.Discriminator(**given)


PUBLISHED = {
    "S": ((384, 12, 6), 29.3, 32.6, 39.1),
    "B": ((768, 12, 12), 116.6, 97.1, 104.5),
    "L": ((1024, 24, 16), 408.5, 314.9, 322.8),
    "XL": ((1152, 28, 16), 602.0, 459.3, 467.4),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_has_the_paper_s_parameters(name: str) -> None:
    (hidden, depth, heads), g, d, taught = PUBLISHED[name]
    given = {"size": 32, "channels": 4, "classes": 1000, "hidden": hidden, "depth": depth, "heads": heads}
    with torch.device("meta"):
        made = [count(kind(**given)) for kind in (gat.Generator, gat.Discriminator)]
        predicting = count(gat.Discriminator(**given, taught=768))
    unused = (4 * 2 * 2 + 1) * hidden  # theirs embeds patches of G's input, which it then multiplies by 0
    assert [round(one / 1e6, 1) for one in (made[0] + unused, made[1], predicting)] == [g, d, taught]


@pytest.mark.parametrize("size", [8, 16, (8, 12)])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("patch", [2, 4])
def test_it_fits_together(size: Any, classes: int, patch: int) -> None:
    generator, discriminator = pair(size, classes, patch=patch)
    cond = torch.tensor([0, 2]) if classes else None
    noise = generator.draw(2, single_lane_rng((), 2, CPU))
    levels = generator.levels(noise, cond)
    made = generator(noise, cond)
    height, width = size if isinstance(size, tuple) else (size, size)
    assert levels.shape == (2, 4, 2, height, width) and torch.equal(levels[:, -1], made)
    assert torch.equal(made, generator.synthesis(generator.styles(noise, cond), noise))
    assert len(generator.latent_weights()) == 4
    logits = discriminator(levels.flatten(1, 2), cond)
    assert logits.shape == (2,)
    torch.testing.assert_close(discriminator(made, cond), discriminator(made.repeat(1, 4, 1, 1), cond))


def test_layers_that_predict_leave_the_others_as_they_are() -> None:
    def judging(taught: int) -> gat.Discriminator:
        torch.manual_seed(0)
        return gat.Discriminator(size=8, channels=2, classes=3, **SMALL, taught=taught)

    plain, taught = judging(0), judging(5)
    weights = plain.state_dict()
    assert {name for name in taught.state_dict() if name not in weights} == {
        f"predict.{layer}.{part}" for layer in (0, 2, 4) for part in ("weight", "bias")
    }
    assert all(torch.equal(one, taught.state_dict()[name]) for name, one in weights.items())
    x, cond = torch.randn(3, 2, 8, 8), torch.tensor([0, 2, 1])
    logits, tokens = taught.forward_tokens(x, cond)
    assert torch.equal(logits, plain(x, cond)) and torch.equal(plain.features(x), taught.norm(tokens[:, 0]))
    whole, places = taught.predictions(tokens)
    assert whole.shape == (3, 5) and places.shape == (3, 16, 5)
    with pytest.raises(ValueError, match="taught must be at least 0, not -1"):
        judging(-1)


def test_without_its_gates_a_picture_is_of_the_place_alone() -> None:
    generator, _ = pair()
    for block in generator.blocks:
        nn.init.zeros_(block.told.weight)
    for picture in generator.pictures:
        nn.init.zeros_(picture.told.weight)
    made = generator(torch.randn(2, 5))
    torch.testing.assert_close(made[0], made[1])


def test_patches_are_where_they_belong() -> None:
    """What D cuts, G's joining puts back."""
    generator, discriminator = pair(8, patch=4)
    x = torch.arange(2 * 64.0).view(1, 2, 8, 8)
    patches = nn.functional.pixel_unshuffle(x, 4).flatten(2).transpose(1, 2)
    assert torch.equal(generator._joined(patches), x)
    assert discriminator.first.in_features == 4 * 2 * 16


def test_turning_keeps_lengths_and_tells_differences() -> None:
    """A query and a key are compared by how far apart they stand, in each direction."""
    angles = gat.rotary_angles((4, 5), 8).double()
    query, key = torch.randn(2, 1, 1, 1, 8, dtype=WIDE).expand(2, 1, 1, 20, 8)
    turned_query, turned_key = gat.turned(query, angles), gat.turned(key, angles)
    torch.testing.assert_close(turned_query.norm(dim=-1), query.norm(dim=-1))
    alike = (turned_query @ turned_key.transpose(-1, -2))[0, 0]
    torch.testing.assert_close(alike[0, 6], alike[7, 13])  # one row and one column on
    torch.testing.assert_close(alike[0, 5], alike[12, 17])  # one row on
    assert not torch.allclose(alike[0, 5], alike[0, 1], atol=1e-3)


def test_attention_is_its_formula() -> None:
    layer = gat.Attention(8, 2).double()
    x, angles = torch.randn(1, 6, 8, dtype=WIDE), gat.rotary_angles((2, 3), 4).double()
    asked = layer.asked(x)[0].view(6, 3, 2, 4)
    outputs = []
    for head in range(2):
        query, key, value = asked[:, :, head].unbind(1)
        query, key = (
            gat.turned(one / (one.square().mean(1, keepdim=True) + 2.2e-16).sqrt(), angles) for one in (query, key)
        )
        outputs.append(torch.softmax(query @ key.T / math.sqrt(4), 1) @ value)
    torch.testing.assert_close(layer(x, angles)[0], layer.last(torch.cat(outputs, 1)))


# --- the loss --------------------------------------------------------------------------------------------------------


def test_levels_are_noised_as_the_paper_says() -> None:
    times = level_times()
    assert times == pytest.approx([0.885, 0.76, 0.51, 0.01])
    levels = torch.ones(4000, 4, 1, 2, 2, dtype=WIDE) * torch.tensor([5.0, 6, 7, 8]).view(4, 1, 1, 1)
    made = noised_levels(levels, single_lane_rng(("noised",), 4000, CPU, WIDE)).flatten(2).transpose(0, 1).flatten(1)
    for number, time in enumerate(times):
        assert made[number].mean().item() == pytest.approx((1 - time) * (5 + number), abs=0.03)
        assert made[number].std().item() == pytest.approx(time, rel=0.02)
    # The noise of a level holds that of the cleaner one, in the proportion of their pictures.
    shared = torch.cov(made[1:3])[0, 1].item()
    assert shared == pytest.approx((1 - times[1]) / (1 - times[2]) * times[2] ** 2, rel=0.05)


class Levels(nn.Module):
    def levels(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        return noise


class Linear(nn.Module):
    """D(x) = w.x of all four pictures."""

    blocks, channels = (), 1

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.arange(24, dtype=WIDE).sin())

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return x.flatten(1) @ self.w


def test_the_loss_is_its_formula() -> None:
    real, made = torch.randn(5, 1, 2, 3, dtype=WIDE), torch.randn(5, 4, 1, 2, 3, dtype=WIDE)
    batch, net = batch_of(real, made[:, -1]), Linear()
    batch.noise = made
    nets = nets_of(net, Levels())
    terms = MultiLevel(gamma=3.0).terms("D", nets, batch)
    r = net(noised_levels(real[:, None].expand(-1, 4, -1, -1, -1), batch.rng("levels real")))
    f = net(noised_levels(made, batch.rng("levels fake")))
    torch.testing.assert_close(terms["adversarial"].total, nn.functional.softplus(f - r).sum())
    torch.testing.assert_close(
        MultiLevel().terms("G", nets, batch)["adversarial"].total, nn.functional.softplus(r - f).sum()
    )
    # Of a linear D the slope is w.e, each level in its share.
    shares = torch.tensor([1 - time for time in level_times()], dtype=WIDE).view(4, 1, 1, 1)
    moved = (shares * batch.rng("moved real").normal(1, 2, 3)[:, None]).flatten(1) @ net.w
    torch.testing.assert_close(terms["r1"].total, 1.5 * moved.square().sum(), rtol=1e-6, atol=0)
    moved = (shares * batch.rng("moved fake").normal(4, 1, 2, 3)).flatten(1) @ net.w
    torch.testing.assert_close(terms["r2"].total, 1.5 * moved.square().sum(), rtol=1e-6, atol=0)


REFUSED = [
    ({"size": 10}, "gat makes images of 8 to 256 pixels, both sides multiples of 4, not 10; data.size: 8 is nearest"),
    (
        {"size": 8, "hidden": 20},
        "gat needs a hidden that 4 * heads = 8 divides and a depth that 4 divides, not 20 and 4",
    ),
    ({"size": 8, "depth": 6}, "gat needs a hidden that 4 * heads = 8 divides and a depth that 4 divides, not 16 and 6"),
    ({"size": 8, "patch": 3}, "gat cannot cut 8 pixels into patches of 3"),
    ({"size": 8, "heads": 0}, "gat needs positive numbers, not hidden=16, depth=4, heads=0, patch=2"),
]


@pytest.mark.parametrize(("args", "text"), REFUSED)
def test_what_cannot_be_made_is_refused(args: dict[str, int], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        gat.Generator(channels=1, **SMALL | args)
    assert str(caught.value) == text


def test_other_networks_are_refused() -> None:
    facts = ImageFacts(count=100, size=16, channels=1, checksum="random")
    job = small(
        generator={"use": "gat", **SMALL}, discriminator={"use": "dcgan", "width": 2}, objective={"use": "multi_level"}
    )
    assert any("does not judge four pictures" in problem for problem in network_problems(job, facts))
    assert any("levels" in problem for problem in network_problems(small(objective={"use": "multi_level"}), facts))
    with pytest.raises(ValueError, match=r"gamma must be at least 0 and step above it, not 0.1 and 0"):
        MultiLevel(step=0.0)
