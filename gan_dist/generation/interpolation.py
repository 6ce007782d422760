"""Pictures on the way from one sample to another, and pictures with the styles of two samples mixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gan_dist.data.encoding import image
from gan_dist.data.facts import TextFacts
from gan_dist.errors import UsageError
from gan_dist.generation.latents import has_styles
from gan_dist.generation.model import Model
from gan_dist.generation.samples import CHUNK, first_noise, map_tensors
from gan_dist.registry.slots import those_with
from gan_dist.spec.problems import suggestion

WAYS = ("line", "sphere", "spline")
PARALLEL = 1e-4  # radians between vectors, below which an arc is a line
EMPTY = 245


class Keyframe(NamedTuple):
    """A place on the way: the first sample of a seed, and its class by name or number."""

    seed: int
    cls: str | None = None


def parse_keyframes(seeds: Sequence[int], classes: Sequence[str]) -> list[Keyframe]:
    """Seeds and classes side by side; one of either stays the same all the way.

    Raises:
        ValueError: there are fewer than two places, or several of both in different numbers.
    """
    count = max(len(seeds), len(classes))
    if count < 2:
        raise UsageError("an interpolation needs two places or more: --seed 1-4, or --class 3,7, or both")
    if len(seeds) not in (1, count) or len(classes) not in (0, 1, count):
        raise UsageError(
            f"an interpolation needs as many classes as seeds, or one; not {len(classes)} and {len(seeds)}"
        )
    seeds = list(seeds) * (count if len(seeds) == 1 else 1)
    named: list[str | None] = list(classes) or [None]
    return [Keyframe(*place) for place in zip(seeds, named * (count if len(named) == 1 else 1), strict=True)]


def interpolate(model: Model, places: Sequence[Keyframe], steps: int, way: str) -> Tensor:
    """Pictures along the way, uint8 [(len(places) - 1) * steps, C, H, W]; each leg has its two ends.

    Vectors of noise travel: on a line, or on the arc that keeps their length, which suits normal noise. In a network
    with styles, a line is one between styles, and a spline is a smooth curve through all of them. Maps of noise, one
    number for each pixel, stay those of the first place. Classes blend as mixtures of their codes.

    Raises:
        ValueError: the model writes text, has no such class or way, or `steps` is below 2.
    """
    check_way(model, way)
    if steps < 2:
        raise UsageError(f"--steps {steps}: an interpolation needs at least its two ends")
    shares = torch.linspace(0, 1, steps, device=_device(model), dtype=_dtype(model))
    return _travel(model, places, shares, way, closed=False)


def film_frames(
    model: Model, places: Sequence[Keyframe], steps: int, way: str, *, loop: bool = False, ease: bool = False
) -> Tensor:
    """Pictures of a film along the way, uint8 [F, C, H, W]: each place once, `steps` pictures from one to the next.

    Args:
        loop: whether the way leads back to the first place, where the film can begin anew without a jump.
        ease: whether it is slow at each place.

    Raises:
        ValueError: as of `interpolate`.
    """
    check_way(model, way)
    shares = torch.arange(steps, device=_device(model), dtype=_dtype(model)) / steps
    shares = shares * shares * (3 - 2 * shares) if ease else shares
    stops = [*places, places[0]] if loop else list(places)
    made = _travel(model, stops, shares, way, closed=loop)
    if loop:
        return made
    end = torch.ones(1, device=shares.device, dtype=shares.dtype)
    return torch.cat([made, _travel(model, stops, end, way, closed=False)[-1:]])


def check_way(model: Model, way: str) -> None:
    """Whether a model's pictures can travel this way. Raises UsageError where they cannot."""
    if isinstance(model.facts, TextFacts):
        raise UsageError(f"{model.name} writes text, and there is nothing between two sentences; interpolate images")
    if way not in WAYS:
        raise UsageError(f"--interpolate {way!r}{suggestion(way, WAYS)}")
    if way == "spline" and not has_styles(model.generator):
        use = model.spec.generator.use
        raise UsageError(
            f"--interpolate spline goes through styles, and the generator {use!r} of {model.name} has none; take sphere"
        )


def _travel(model: Model, places: Sequence[Keyframe], shares: Tensor, way: str, closed: bool) -> Tensor:
    """Pictures at shares of each leg, leg by leg; `closed` where the last place is the first."""
    generator: Any = model.generator
    noise = first_noise(generator, [place.seed for place in places], _device(model))
    codes = _codes(model, [place.cls for place in places])
    with torch.no_grad():
        styles = generator.styles(noise, codes) if way != "sphere" and has_styles(generator) else None
        curve = spline(styles, closed) if way == "spline" and styles is not None else None
        made = []
        for start, end in pairwise(range(len(places))):
            for share in torch.split(shares, CHUNK):
                between = map_tensors(_mover(start, end, share, slerp if way == "sphere" else lerp), noise)
                if styles is not None:
                    there = lerp(styles[start], styles[end], share) if curve is None else curve(start, share)
                    pictures = generator.synthesis(there, between)
                else:
                    pictures = generator(between, _between(codes, start, end, share))
                made.append(image.decode(pictures))
    return torch.cat(made)


def spline(points: Tensor, closed: bool) -> Callable[[int, Tensor], Tensor]:
    """The cubic spline through points [P, ...], one apart: from a leg's number and shares [S] of it to [S, ...].

    Args:
        closed: whether the last point is the first, which the curve then passes without a bend.
    """
    from scipy.interpolate import CubicSpline

    ends = "periodic" if closed else "natural"
    known = points.detach().cpu().double().numpy()
    if closed:
        known[-1] = known[0]
    curve = CubicSpline(range(len(known)), known, bc_type=ends)

    def at(leg: int, shares: Tensor) -> Tensor:
        found = curve(leg + shares.cpu().double().numpy())
        return torch.from_numpy(found).to(points.device, points.dtype)

    return at


def _mover(start: int, end: int, shares: Tensor, between: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    """What becomes of a tensor of noise with a row for each place."""

    def moved(leaf: Tensor) -> Tensor:
        if leaf.ndim == 2 and leaf.is_floating_point():
            return between(leaf[start], leaf[end], shares)
        return leaf[:1].expand(len(shares), *leaf.shape[1:])

    return moved


def lerp(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Tensors [...] to those on the line between them, [S, ...]."""
    return torch.lerp(start[None], end[None], shares.view(-1, *[1] * start.ndim))


def slerp(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Vectors [d] to those on the arc between them, [S, d], at equal angles (Shoemake 1985); a line where they point
    the same way."""
    cosine = torch.dot(start, end) / (start.norm() * end.norm())
    angle = torch.arccos(cosine.clamp(-1, 1))
    if angle < PARALLEL:
        return lerp(start, end, shares)
    before, after = torch.sin((1 - shares) * angle), torch.sin(shares * angle)
    return (before[:, None] * start + after[:, None] * end) / torch.sin(angle)


def style_mix(
    model: Model, rows: Sequence[int], columns: Sequence[int], layers: range | None, cls: str | None
) -> Tensor:
    """A table of pictures, uint8 [(1 + rows) * (1 + columns), C, H, W]: the samples of the columns' seeds, then in each
    row that of the row's seed, followed by it with the styles of each column in some layers.

    Args:
        layers: which styles come from the columns; by default the first half, which is what is large in a picture.

    Raises:
        ValueError: the generator has no styles, or not so many.
    """
    generator: Any = model.generator
    if not has_styles(generator):
        raise UsageError(
            f"--mix: the generator {model.spec.generator.use!r} of {model.name} has no styles; "
            f"{those_with('generator', 'styles')}"
        )
    seeds = [*columns, *rows]
    noise, codes = first_noise(generator, seeds, _device(model)), _codes(model, [cls] * len(seeds))
    with torch.no_grad():
        styles = generator.styles(noise, codes)
        count = styles.shape[1]
        taken = range(count // 2) if layers is None else layers
        if not taken or taken.stop > count:
            raise UsageError(f"--layers: the generator has layers 0 to {count - 1}, not {taken.start}-{taken.stop - 1}")
        alone = image.decode(generator.synthesis(styles, noise))
        blank = torch.full_like(alone[:1], EMPTY)
        made = [blank, alone[: len(columns)]]
        for row in range(len(columns), len(seeds)):
            both = styles[row].repeat(len(columns), 1, 1)
            both[:, taken.start : taken.stop] = styles[: len(columns), taken.start : taken.stop]
            of_row = map_tensors(lambda leaf, row=row: leaf[row].expand(len(columns), *leaf.shape[1:]), noise)
            made += [alone[row : row + 1], image.decode(generator.synthesis(both, of_row))]
    return torch.cat(made)


def _between(codes: Tensor | None, start: int, end: int, shares: Tensor) -> Tensor | None:
    """The classes or mixtures of them on the way from one place to another, one for each share."""
    if codes is None or codes.ndim == 1:
        return None if codes is None else codes[start].expand(len(shares))
    return lerp(codes[start], codes[end], shares)


def _codes(model: Model, classes: Sequence[str | None]) -> Tensor | None:
    """A code [classes] or a vector [K] for each place, or the number of each class where all are the same, which any
    network takes; None for a model without conditions."""
    given = [one for cls in classes if (one := model.conditions_of(1, cls)) is not None]
    if not given:
        return None
    chosen = torch.cat(given)
    if model.facts.vectors:
        return chosen.to(_device(model), _dtype(model))
    if (chosen == chosen[0]).all():
        return chosen.to(_device(model))
    return torch.nn.functional.one_hot(chosen, len(model.classes)).to(_device(model), _dtype(model))


def _device(model: Model) -> torch.device:
    return next(model.generator.parameters()).device


def _dtype(model: Model) -> torch.dtype:
    return next(model.generator.parameters()).dtype
