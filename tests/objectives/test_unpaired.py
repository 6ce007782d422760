"""CycleGAN and CUT against their equations, and the pool of earlier pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.contracts import Batch, Nets, Term
from gan_dist.distributed.randomness import Rng, single_lane_rng
from gan_dist.objectives.unpaired import Cut, CycleGan, ImagePool, patch_nce
from tests.helpers import CPU, finite_difference

WIDE = torch.float64


class Scaled(nn.Module):
    """A generator that multiplies its input; its one map is its input."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=WIDE))

    def draw(self, n: int, rng: Rng) -> Tensor:
        return torch.empty(n, 0)

    def forward(self, noise: Tensor, cond: Tensor) -> Tensor:
        return cond * self.factor

    def encode(self, x: Tensor) -> list[Tensor]:
        return [x, 2 * x + 1]


class Summed(nn.Module):
    """A discriminator whose logit is the mean of the picture."""

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return x.mean((1, 2, 3))


class Plain(nn.Module):
    """Unit vectors of the maps at their places."""

    def forward(self, maps: list[Tensor], places: list[Tensor]) -> list[Tensor]:
        rows = [one.flatten(2).transpose(1, 2) for one in maps]
        chosen = [
            row.gather(1, place[:, :, None].expand(-1, -1, row.shape[2]))
            for row, place in zip(rows, places, strict=True)
        ]
        return [nn.functional.normalize(one, dim=2) for one in chosen]


class Wrapped:
    """A network as an objective sees it."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, *args: Any) -> Any:
        return self.module(*args)

    def call(self, method: str, *args: Any) -> Any:
        return getattr(self.module, method)(*args)

    @property
    def raw(self) -> Wrapped:
        return self


def nets_of(modules: Mapping[str, nn.Module]) -> Nets:
    return Nets({name: Wrapped(module) for name, module in modules.items()})


def pictures(seed: int, n: int = 3) -> Tensor:
    return torch.rand(n, 2, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=WIDE) * 2 - 1


def batch_of(nets: Nets, first: int = 0, whole: int = 3, key: int = 0, source: Tensor | None = None) -> Batch:
    given = pictures(1) if source is None else source
    return Batch(
        len(given),
        pictures(2, len(given)),
        given,
        torch.empty(len(given), 0),
        lambda purpose: single_lane_rng((key, first, purpose), len(given), CPU, WIDE),
        lambda batch: nets.G(batch.noise, batch.cond),
        whole=whole,
        first=first,
    )


def value(term: Term) -> float:
    assert term.weight is not None
    return float(term.total.detach() / term.weight)


BOTH = {
    "generator": Scaled(0.5),
    "inverse": Scaled(3.0),
    "discriminator": Summed(),
    "source_discriminator": Summed(),
}


def test_cyclegan_is_its_equations() -> None:
    nets, a, b = nets_of(BOTH), pictures(1), pictures(2)
    terms = CycleGan(pool=0).terms("G", nets, batch_of(nets))
    assert value(terms["adversarial"]) == pytest.approx(((0.5 * a).mean((1, 2, 3)) - 1).square().mean().item())
    assert value(terms["source_adversarial"]) == pytest.approx(((3 * b).mean((1, 2, 3)) - 1).square().mean().item())
    # F G a = 1.5 a and G F b = 1.5 b.
    assert value(terms["cycle"]) == pytest.approx(10 * 0.5 * (a.abs().mean() + b.abs().mean()).item())
    assert value(terms["identity"]) == pytest.approx((5 * (0.5 * b.abs().mean() + 2 * a.abs().mean())).item())
    judged = CycleGan(pool=0).terms("D", nets, batch_of(nets))
    real, fake = b.mean((1, 2, 3)), (0.5 * a).mean((1, 2, 3))
    assert value(judged["adversarial"]) == pytest.approx((((real - 1) ** 2 + fake**2) / 2).mean().item())
    real, fake = a.mean((1, 2, 3)), (3 * b).mean((1, 2, 3))
    assert value(judged["source_adversarial"]) == pytest.approx((((real - 1) ** 2 + fake**2) / 2).mean().item())


def test_generators_that_undo_each_other_have_no_cycle_and_no_identity_where_none_is_asked() -> None:
    nets = nets_of({**BOTH, "inverse": Scaled(2.0)})
    terms = CycleGan(identity=0, pool=0).terms("G", nets, batch_of(nets))
    assert value(terms["cycle"]) == 0 and "identity" not in terms


def test_patch_nce_is_a_cross_entropy_by_hand() -> None:
    query, key = (
        nn.functional.normalize(pictures(seed, 2).flatten(2)[:, :, :5].transpose(1, 2), dim=2) for seed in (5, 6)
    )
    found = patch_nce(query, key, 0.07)
    for sample in range(2):
        total = 0.0
        for place in range(5):
            logits = [float(query[sample, place] @ key[sample, other]) / 0.07 for other in range(5)]
            total += math.log(sum(math.exp(one - max(logits)) for one in logits)) + max(logits) - logits[place]
        assert float(found[sample]) == pytest.approx(total / 5)
    same = query[:, :1].expand(-1, 5, -1)
    torch.testing.assert_close(patch_nce(same, same, 0.07), torch.full((2,), math.log(5), dtype=WIDE))


CUT = {"generator": Scaled(0.5), "discriminator": Summed(), "projection": Plain()}


def test_cut_is_the_mean_of_both_contrasts() -> None:
    """With all 16 places and vectors that do not depend on their length, the order of places says nothing."""
    nets, a, b = nets_of(CUT), pictures(1), pictures(2)

    def contrast(given: Tensor, made: Tensor) -> float:
        found = []
        for query, key in zip(CUT["generator"].encode(made), CUT["generator"].encode(given), strict=True):  # type: ignore[operator]
            rows = [nn.functional.normalize(one.flatten(2).transpose(1, 2), dim=2) for one in (query, key)]
            found.append(patch_nce(*rows, 0.07).mean())
        return float(torch.stack(found).mean())

    terms = Cut().terms("G", nets, batch_of(nets))
    assert value(terms["adversarial"]) == pytest.approx(((0.5 * a).mean((1, 2, 3)) - 1).square().mean().item())
    assert value(terms["nce"]) == pytest.approx(contrast(a, 0.5 * a) / 2)
    assert value(terms["identity_nce"]) == pytest.approx(contrast(b, 0.5 * b) / 2)
    plain = Cut(nce=10, identity=False).terms("G", nets, batch_of(nets))
    assert "identity_nce" not in plain and value(plain["nce"]) == pytest.approx(10 * contrast(a, 0.5 * a))
    # A generator of pixels alone is the same mirrored, and so are its maps when they are mirrored back.
    mirrored = Cut(nce=10, identity=False, mirror=True).terms("G", nets, batch_of(nets))
    assert value(mirrored["nce"]) == pytest.approx(10 * contrast(a, 0.5 * a))


def test_places_are_different_ones_of_each_picture() -> None:
    nets = nets_of(CUT)
    places = Cut(places=7)._drawn(batch_of(nets), "places 0", pictures(1))
    assert places.shape == (3, 7) and all(len(set(row.tolist())) == 7 for row in places)
    assert len({tuple(row.tolist()) for row in places}) == 3
    assert int(places.min()) >= 0 and int(places.max()) < 16


def test_the_gradient_of_the_contrast_is_that_of_differences() -> None:
    key = nn.functional.normalize(pictures(6, 1).flatten(2)[:, :, :4].transpose(1, 2), dim=2)
    query = pictures(5, 1).flatten(2)[:, :, :4].transpose(1, 2).contiguous().requires_grad_()

    def loss() -> Tensor:
        return patch_nce(nn.functional.normalize(query, dim=2), key, 0.5).sum()

    (found,) = torch.autograd.grad(loss(), query)
    torch.testing.assert_close(found, finite_difference(lambda: loss().detach(), query), rtol=0, atol=1e-7)


def test_keys_get_no_gradient() -> None:
    nets = nets_of({**CUT, "generator": Scaled(1.0)})
    given = pictures(1).requires_grad_()
    batch = batch_of(nets, source=given)
    contrast = Cut()._contrast(nets, batch, given, pictures(3).requires_grad_())
    assert torch.autograd.grad(contrast.sum(), given, allow_unused=True)[0] is None


def exchanged(pool: ImagePool, steps: int, batch: int = 2) -> list[Tensor]:
    """What D sees of pictures that are all of the value of their step."""
    seen, nets = [], nets_of(CUT)
    for step in range(steps):
        images = torch.full((batch, 1, 1, 1), float(step), dtype=WIDE)
        at = batch_of(nets, whole=batch, key=step, source=images)
        seen.append(pool.exchange(images, at, "pool").flatten())
        pool.settle()
    return seen


def test_a_pool_shows_what_is_new_until_it_is_full_then_half_of_what_is_old() -> None:
    seen = torch.stack(exchanged(ImagePool(10), 2000))
    steps = torch.arange(2000, dtype=WIDE)[:, None]
    assert torch.equal(seen[:5], steps[:5].expand(5, 2))
    old = (seen < steps)[5:].double().mean()
    assert 0.47 < float(old) < 0.53
    # Of 5 places one is exchanged in half of the steps: what comes back is 10 steps old on average.
    assert float((steps - seen)[seen < steps].mean()) == pytest.approx(10, abs=0.8)
    assert torch.equal(
        ImagePool(0).exchange(seen[:2, :1, None, None], batch_of(nets_of(CUT)), "x"), seen[:2, :1, None, None]
    )


def test_nothing_enters_a_pool_before_its_step_is_over() -> None:
    """A forward pass that is tried for its memory leaves no trace."""
    pool, other = ImagePool(4), ImagePool(4)
    nets, images = nets_of(CUT), torch.full((2, 1, 1, 1), 9.0, dtype=WIDE)
    other.exchange(images, batch_of(nets, whole=2, key=77, source=images), "pool")
    assert all(torch.equal(one, two) for one, two in zip(exchanged(pool, 30), exchanged(other, 30), strict=True))


def test_a_pool_goes_on_from_what_is_stored() -> None:
    whole = exchanged(ImagePool(6), 40)
    first, second = ImagePool(6), ImagePool(6)
    exchanged(first, 25)
    second.load_state_dict(first.state_dict())
    nets = nets_of(CUT)
    for step in range(25, 40):
        images = torch.full((2, 1, 1, 1), float(step), dtype=WIDE)
        assert torch.equal(
            second.exchange(images, batch_of(nets, whole=2, key=step, source=images), "pool").flatten(), whole[step]
        )
        second.settle()


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="cycle, identity and pool must be at least 0"):
        CycleGan(cycle=-1)
    with pytest.raises(ValueError, match="nce must be at least 0, places at least 2 and temperature above 0"):
        Cut(temperature=0)


def test_networks_that_do_not_fit_are_told() -> None:
    narrow, wide = nn.Module(), nn.Module()
    narrow.feature_widths, wide.feature_widths = [1, 2], [1, 4]  # type: ignore[assignment]
    (told,) = Cut().problems({"generator": narrow, "projection": wide})
    assert told == "projection takes maps of [1, 4] channels, and G's have [1, 2]; give both the same width"
    assert list(Cut().problems({"generator": wide, "projection": wide})) == []
    (told,) = CycleGan().problems({"inverse": Summed()})
    assert told == "inverse is no generator; use cyclegan_generator"
