"""Adaptive discriminator augmentation (Karras et al. 2020, arXiv 2006.06676): changes that come with probability p.

As long as p is below about 0.8 they do not leak into what G makes. p is a number, follows a schedule, or follows D: it
rises while D is sure of the real samples, which is how overfitting shows, and falls when it is not. The sign of D's
logits shows it where the loss gives them a zero. A relativistic or Wasserstein loss is the same when a number is
added to all logits, so there real samples are held against generated ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gan_dist.augment import transforms as colours
from gan_dist.augment.adaptive import AdaptiveProbability, check_ramp, signs_of_real
from gan_dist.augment.transforms import (
    BANDS,
    cutout,
    flip,
    resample_affine,
    rotate_quarters,
    scale_bands,
    shift_pixels,
)
from gan_dist.contracts import Batch, Nets, Term, watch
from gan_dist.distributed.randomness import Rng

UNIFORM, NORMAL = 24, 7
POWERS = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # of the bands of a natural picture, the lowest first
NOISE = 0.1


class Ada:
    """Pictures [B, C, H, W] in [-1, 1] to pictures of the same shape. Each change is made with probability p alone.

    In this order (appendix B, with its strengths): mirror, quarter turns (half turns of pictures that are no squares),
    shift by up to an eighth in whole pixels; scale, turn, stretch, turn again, shift by parts of pixels; brightness,
    contrast, mirrored brightness, hue, saturation; bands of frequency made stronger or weaker; noise; half of the
    height and width cut out. With p = 0 a picture stays as it is to the bit.

    Args:
        p: probability of each change, in [0, 1]; where it begins if `target` is given.
        target: the mean sign that p is steered to, in (0, 1), of D's logits on real samples, 0.6 in the paper; with
            relativistic and Wasserstein losses of their lead over those on generated ones. null for a p that does not
            adapt.
        ramp: images in which p can go from 0 to 1 while it adapts.
        blit: factor of p for mirror, quarter turns and whole pixels, in [0, 1].
        geometry: factor of p for scale, turns, stretch and parts of pixels, in [0, 1].
        colour: factor of p for the changes of colour, in [0, 1]; 0.5 in R3GAN.
        filters: factor of p for the strength of each of four bands of frequency, in [0, 1]; 1 in the paper's bgcf.
        noise: factor of p for noise on each pixel, in [0, 1]; 1 in the paper's bgcfn.
        cutout: factor of p for the hole, in [0, 1]; 1 in R3GAN.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        *,
        p: float = 0.0,
        target: float | None = None,
        ramp: int = 500_000,
        blit: float = 1.0,
        geometry: float = 1.0,
        colour: float = 1.0,
        filters: float = 0.0,
        noise: float = 0.0,
        cutout: float = 0.0,
    ) -> None:
        factors = {"p": p, "blit": blit, "geometry": geometry, "colour": colour, "cutout": cutout}
        factors |= {"filters": filters, "noise": noise}
        for name, value in factors.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], not {value}")
        check_ramp(ramp)
        self.p: float | Tensor = p
        self.blit, self.geometry, self.colour, self.cutout = blit, geometry, colour, cutout
        self.filters, self.noise = filters, noise
        self.adaptive = None if target is None else AdaptiveProbability(p, target, ramp)
        if self.adaptive is not None:
            self.p = self.adaptive.p
            # Set only here, because one with `after_step` costs a reduction in each phase.
            self.after_step = self._adapt

    def __call__(self, x: Tensor, rng: Rng) -> Tensor:
        dice = _Dice(rng)
        x = self._blitted(x, dice)
        x = self._transformed(x, dice)
        x = self._recoloured(x, dice)
        x = self._filtered(x, rng) if self.filters else x
        x = self._noised(x, rng) if self.noise else x
        chosen, centre = dice.chosen(self.p * self.cutout), torch.stack([dice.uniform(), dice.uniform()], 1)
        return torch.where(_each(chosen), cutout(x, centre, 1 / 2), x)

    def terms(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        sure = signs_of_real(nets, batch)
        device = batch.discriminate(nets, "real").logits.device
        return {"p": watch(torch.as_tensor(self.p, device=device)), **sure}

    def state(self) -> dict[str, Tensor]:
        return {} if self.adaptive is None else self.adaptive.state()

    def _adapt(self, means: dict[str, Tensor], images: int) -> None:
        assert self.adaptive is not None
        self.adaptive.adapt(means, images)
        self.p = self.adaptive.p

    def _blitted(self, x: Tensor, dice: _Dice) -> Tensor:
        p = self.p * self.blit
        x = flip(x, dice.chosen(p) & (dice.uniform() < 0.5))
        height, width = x.shape[2:]
        step = 1 if height == width else 2
        x = rotate_quarters(x, dice.chosen(p) * step * (4 // step * dice.uniform()).floor().long())
        chosen = dice.chosen(p)
        shift = torch.stack([(2 * dice.uniform() - 1) * (side / 8) for side in (width, height)], 1)
        return shift_pixels(x, chosen[:, None] * shift.round().long(), mirrored=True)

    def _transformed(self, x: Tensor, dice: _Dice) -> Tensor:
        p = self.p * self.geometry
        # Of two turns at least one is made with probability p.
        p_turn = 1 - torch.as_tensor(1 - p).clamp_min(0).sqrt()
        scale = dice.choose(p, 2 ** (0.2 * dice.normal()), 1)
        first = dice.choose(p_turn, dice.angle(), 0)
        stretch = dice.choose(p, 2 ** (0.2 * dice.normal()), 1)
        second = dice.choose(p_turn, dice.angle(), 0)
        shift = torch.stack([dice.normal(), dice.normal()], 1) / 4 * dice.chosen(p)[:, None]
        changed = (scale != 1) | (first != 0) | (stretch != 1) | (second != 0) | (shift != 0).any(1)
        stretched = torch.diag_embed(torch.stack([1 / stretch, stretch], 1))
        source = rotation(first) @ stretched @ rotation(second) / scale[:, None, None]
        whole = torch.cat([source, source @ -shift[:, :, None]], 2)
        return torch.where(_each(changed), resample_affine(x, whole), x)

    def _recoloured(self, x: Tensor, dice: _Dice) -> Tensor:
        p = self.p * self.colour
        bright = dice.choose(p, 0.2 * dice.normal(), 0)
        scale = dice.choose(p, 2 ** (0.5 * dice.normal()), 1)
        flip = dice.choose(p, (dice.uniform() < 0.5).to(bright.dtype), 0)
        turn = dice.choose(p, dice.angle(), 0)
        colourful = dice.choose(p, 2 ** dice.normal(), 1)
        changed = (bright != 0) | (scale != 1) | (flip != 0) | (turn != 0) | (colourful != 1)
        matrix = colours.contrast(scale) @ colours.brightness(bright)
        matrix = colours.saturation(colourful) @ colours.hue(turn) @ colours.luma_flip(flip) @ matrix
        return torch.where(_each(changed), colours.apply_color_matrix(x, matrix), x)

    def _filtered(self, x: Tensor, rng: Rng) -> Tensor:
        """Each band by 2^N(0, 1) with probability p, and all so that a natural picture keeps its power."""
        powers = x.new_tensor(POWERS)
        chosen, strengths = rng.uniform(BANDS) < self.p * self.filters, 2 ** rng.normal(BANDS)
        gains = torch.ones_like(strengths)
        for band in range(BANDS):
            own = torch.ones_like(gains)
            own[:, band] = torch.where(chosen[:, band], strengths[:, band], own[:, band])
            gains = gains * own / (own.square() @ powers).sqrt()[:, None]
        return torch.where(_each(chosen.any(1)), scale_bands(x, gains), x)

    def _noised(self, x: Tensor, rng: Rng) -> Tensor:
        """Normal noise on each number, of a deviation of abs(N(0, 0.1)) with probability p."""
        chosen = rng.uniform() < self.p * self.noise
        deviation = torch.where(chosen, NOISE * rng.normal().abs(), 0)
        return x + deviation[:, None, None, None] * rng.normal(*x.shape[1:])


class _Dice:
    """All random numbers of one pass, drawn at once and then handed out in order, [B] each."""

    def __init__(self, rng: Rng) -> None:
        self._uniform = iter(rng.uniform(UNIFORM).unbind(1))
        self._normal = iter(rng.normal(NORMAL).unbind(1))

    def uniform(self) -> Tensor:
        return next(self._uniform)

    def normal(self) -> Tensor:
        return next(self._normal)

    def angle(self) -> Tensor:
        return math.pi * (2 * self.uniform() - 1)

    def chosen(self, p: float | Tensor) -> Tensor:
        """Which samples are changed."""
        return self.uniform() < p

    def choose(self, p: float | Tensor, changed: Tensor, unchanged: float) -> Tensor:
        return torch.where(self.chosen(p), changed, unchanged)


def rotation(angle: Tensor) -> Tensor:
    """[B, 2, 2]: where the pixels of a picture come from that is turned anticlockwise by `angle` [B]."""
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)


def _each(chosen: Tensor) -> Tensor:
    return chosen[:, None, None, None]
