"""The networks of CycleGAN and CUT: sizes as published, patches as wide as the papers', shapes, taps, filters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.networks.image.cyclegan import Discriminator, Generator, PatchProjection, _doubled, _halved
from tests.helpers import CPU

SMALL: dict[str, Any] = {"channels": 1, "input_channels": 2, "width": 4}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("antialias", [False, True])
def test_parameters_are_those_of_the_authors_code(antialias: bool) -> None:
    """11.378 M and 2.765 M at 256 pixels, and 0.560 M of CUT's layers (their networks as printed at start)."""
    with torch.device("meta"):
        generator = Generator(size=256, channels=3, input_channels=3, antialias=antialias)
        assert count(generator) == 11_378_179 and len(generator.blocks) == 9
        assert count(Discriminator(size=256, channels=3, antialias=antialias)) == 2_764_737
        assert count(PatchProjection(channels=3)) == 560_384
        assert len(Generator(size=128, channels=3, input_channels=3).blocks) == 6


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [16, 20, (32, 48)])
def test_shapes(size: Any, antialias: bool) -> None:
    high, wide = (size, size) if isinstance(size, int) else size
    generator = Generator(size=size, **SMALL, blocks=3, antialias=antialias)
    given = torch.rand(3, 2, high, wide) * 2 - 1
    noise = generator.draw(3, single_lane_rng(("t",), 3, CPU))
    made = generator(noise, given)
    assert noise.shape == (3, 0) and made.shape == (3, 1, high, wide) and made.abs().max() < 1
    logits = Discriminator(size=size, channels=1, width=4, layers=2, antialias=antialias)(made, given)
    assert logits.shape == (3, high // 4 - 2, wide // 4 - 2)
    maps = generator.encode(given)
    assert [one.shape[1] for one in maps] == generator.feature_widths == [2, 8, 16, 16, 16]
    assert maps[0].shape[2:] == (high + 6, wide + 6) and maps[-1].shape[2:] == (high // 4, wide // 4)


@pytest.mark.parametrize(("layers", "wide"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_judges_a_patch(layers: int, wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the gradient of one logit, without the normalisation over the whole map."""
    monkeypatch.setattr(F, "instance_norm", lambda x: x)
    judge = Discriminator(size=128, channels=1, width=4, layers=layers).double()
    x = torch.rand(1, 1, 128, 128, dtype=torch.float64, requires_grad=True)
    logits = judge(x)
    (gradient,) = torch.autograd.grad(logits[0, logits.shape[1] // 2, logits.shape[2] // 2], x)
    seen = gradient[0, 0].abs().sum(0).nonzero().flatten()
    assert int(seen.max() - seen.min()) + 1 == wide


def test_the_filters_keep_a_flat_picture_and_the_mean() -> None:
    flat = torch.full((1, 2, 8, 8), 3.0, dtype=torch.float64)
    torch.testing.assert_close(_halved(flat), flat[:, :, ::2, ::2])
    torch.testing.assert_close(_doubled(flat), flat.repeat(1, 1, 2, 2))
    row = torch.tensor([0.0, 0, 0, 4, 0, 0, 0, 0], dtype=torch.float64)
    picture = row.expand(1, 1, 8, 8)
    # By hand: [1, 2, 1] / 4 at columns 0, 2, 4, 6; [1, 3, 3, 1] / 4 between columns.
    torch.testing.assert_close(_halved(picture)[0, 0, 0], torch.tensor([0.0, 1, 1, 0], dtype=torch.float64))
    spread = _doubled(picture)[0, 0, 0]
    torch.testing.assert_close(spread[5:9], torch.tensor([1.0, 3, 3, 1], dtype=torch.float64))


def test_vectors_are_of_length_one_at_the_places_that_are_asked_for() -> None:
    torch.manual_seed(0)
    generator = Generator(size=16, channels=1, input_channels=1, width=4, blocks=1)
    project = PatchProjection(channels=1, width=4, features=6)
    maps = generator.encode(torch.rand(2, 1, 16, 16))
    places = [torch.stack([torch.arange(3), torch.arange(5, 8)]) for _ in maps]
    found = project(maps, places)
    assert [one.shape for one in found] == [(2, 3, 6)] * 5
    torch.testing.assert_close(found[0].norm(dim=2), torch.ones(2, 3))
    row, column = divmod(6, maps[1].shape[3])
    alone = F.normalize(project.layers[1](maps[1][1, :, row, column]), dim=0)
    torch.testing.assert_close(found[1][1, 1], alone)


def test_no_sample_depends_on_another() -> None:
    torch.manual_seed(0)
    for antialias in (False, True):
        generator = Generator(size=16, **SMALL, blocks=1, antialias=antialias).double()
        given = torch.rand(4, 2, 16, 16, dtype=torch.float64)
        noise = torch.empty(4, 0)
        alone = generator(noise[:1], given[:1])
        torch.testing.assert_close(generator(noise, given)[:1], alone, rtol=0, atol=1e-12)


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"cyclegan makes images of .* multiples of 4, not 18; data.size: 16 is nearest"
    ):
        Generator(size=18, **SMALL)
    with pytest.raises(ValueError, match="blocks: 0; at least 1"):
        Generator(size=16, **SMALL, blocks=0)
    with pytest.raises(ValueError, match="layers: 3 leave 2 of 16 pixels; 1 up to 4 pixels"):
        Discriminator(size=16, channels=1)
