"""Flow matching: its loss by hand, sampling against known fields, and a network that begins at rest."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.data.facts import ImageFacts
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.execution.preflight import network_problems
from gan_dist.networks.image import flow
from gan_dist.objectives.flow_matching import FlowMatching
from tests.helpers import CPU, batch_of, nets_of, small

WIDE = torch.float64


def field(size: Any = 8, **args: Any) -> Any:
    return flow.Generator(size=size, channels=2, width=8, **args)


class Known(flow.Generator):
    """Moves as it is told."""

    def __init__(self, told: Any, steps: int) -> None:
        super().__init__(size=8, channels=1, width=1, steps=steps)
        self.told = told

    def velocity(self, x: Tensor, time: Tensor, cond: Tensor | None = None) -> Tensor:
        found: Tensor = self.told(x, time.view(-1, 1, 1, 1))
        return found


def carried(told: Any, steps: int) -> float:
    """Where 1 is carried to."""
    return float(Known(told, steps)(torch.ones(2, 64, dtype=WIDE)).mean())


def test_steps_follow_the_field() -> None:
    assert carried(lambda x, t: torch.full_like(x, 3.0), 1) == pytest.approx(4)
    assert carried(lambda x, t: 2 * t.expand_as(x), 1) == pytest.approx(2), (
        "a midpoint is exact for what is linear in t"
    )
    errors = [abs(carried(lambda x, t: x, steps) - math.e) for steps in (4, 8, 16)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2) and errors[1] / errors[2] == pytest.approx(4, rel=0.1)


class Field(nn.Module):
    """v(x, t) = a x + b t."""

    def velocity(self, x: Tensor, time: Tensor, cond: Tensor | None = None) -> Tensor:
        return 0.5 * x + 2 * time.view(-1, 1, 1, 1)


@pytest.mark.parametrize("spread", [0.0, 1.5])
def test_the_loss_is_its_formula(spread: float) -> None:
    real = torch.randn(6, 1, 2, 3, dtype=WIDE)
    batch = batch_of(real, real)
    batch.noise = torch.randn(6, 6, dtype=WIDE)
    rng = batch.rng("time")
    times = torch.sigmoid(spread * rng.normal()) if spread else rng.uniform()
    wanted = 0.0
    for at in range(6):
        noise, t = batch.noise[at].view(1, 2, 3), float(times[at])
        moved = 0.5 * ((1 - t) * noise + t * real[at]) + 2 * t
        wanted += float((moved - (real[at] - noise)).square().sum())
    term = FlowMatching(spread=spread).terms("flow", nets_of(nn.Identity(), Field()), batch)["velocity"]
    assert term.total.item() == pytest.approx(wanted) and term.weight == 36


@pytest.mark.parametrize("size", [8, 16, (16, 24), 28])
@pytest.mark.parametrize("classes", [0, 3])
def test_it_begins_at_rest_and_fits_together(size: Any, classes: int) -> None:
    generator = field(size, classes=classes, steps=1)
    cond = torch.tensor([0, 2]) if classes else None
    noise = generator.draw(2, single_lane_rng((), 2, CPU))
    made = generator(noise, cond)
    assert torch.equal(made.flatten(1), noise)
    nn.init.normal_(generator.last.weight)
    for block in generator.modules():
        if isinstance(block, flow.Block):
            nn.init.normal_(block.convs[1].weight, 0.0, 0.1)
    moved = generator.velocity(made, torch.tensor([0.2, 0.7]), cond)
    assert moved.shape == made.shape and moved.isfinite().all()
    other = generator.velocity(made, torch.tensor([0.2, 0.8]), cond)
    assert torch.allclose(moved[0], other[0], atol=1e-5) and not torch.allclose(moved[1], other[1], atol=1e-3)


def test_places_of_small_maps_attend_to_each_other() -> None:
    layer = flow.Attention(8).double()
    nn.init.normal_(layer.last.weight)
    x = torch.randn(1, 8, 2, 3, dtype=WIDE)
    asked = layer.asked(layer.norm(x)).flatten(2)[0].T
    query, key, value = asked[:, :8], asked[:, 8:16], asked[:, 16:]
    shares = torch.softmax(query @ key.T / math.sqrt(8), 1)
    wanted = x + layer.last((shares @ value).T.view(1, 8, 2, 3))
    torch.testing.assert_close(layer(x), wanted)


def test_what_cannot_be_trained_is_refused() -> None:
    facts = ImageFacts(count=100, size=16, channels=1, checksum="random")
    job = small(discriminator=None, generator={"use": "dcgan", "width": 2}, objective={"use": "flow_matching"})
    assert any("velocity" in problem for problem in network_problems(job, facts))
    with pytest.raises(ValueError, match="spread must be at least 0, not -1"):
        FlowMatching(spread=-1.0)
    with pytest.raises(ValueError, match="flow needs positive numbers, not width=64, blocks=1, steps=0"):
        flow.Generator(size=8, channels=1, steps=0)
