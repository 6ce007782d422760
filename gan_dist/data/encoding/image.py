"""Images: uint8 pixels to what networks see, samples back to pixels, and many of them to one grid."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_dist.distributed.randomness import Rng

GAP = 2


def encode(pixels: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """uint8 [B, C, H, W] to [-1, 1] on the device, as x / 127.5 - 1."""
    return pixels.to(device, non_blocking=True).to(dtype).div_(127.5).sub_(1)


def make_encoder(
    device: torch.device, dtype: torch.dtype, xflip: bool
) -> Callable[[Tensor, Callable[[str], Rng]], Tensor]:
    """`encode` for a run, and with `xflip` a random half of the images mirrored."""

    def encoded(pixels: Tensor, rng: Callable[[str], Rng]) -> Tensor:
        images = encode(pixels, device, dtype)
        return random_mirror(images, rng("xflip").uniform() < 0.5) if xflip else images

    return encoded


def random_mirror(images: Tensor, chosen: Tensor) -> Tensor:
    """Images [B, C, H, W], those where `chosen` [B] turned left to right."""
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def decode(samples: Tensor) -> Tensor:
    """[B, C, H, W] in [-1, 1] to uint8 on the CPU; out-of-range values are clipped."""
    return samples.detach().float().mul(127.5).add(127.5).round().clamp(0, 255).to("cpu", torch.uint8)


def make_grid(pixels: Tensor, columns: int) -> Image.Image:
    """One picture of uint8 samples [B, C, H, W], row by row, with a thin light line between them."""
    count, channels, height, width = pixels.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 245, np.uint8)
    for number, sample in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = sample
    return Image.fromarray(sheet.squeeze(2) if channels == 1 else sheet)


def enlarge(picture: Image.Image, least: int = 480) -> Image.Image:
    """Small grids scaled up by a whole factor, pixels kept sharp, until they are about `least` wide."""
    factor = max(1, round(least / picture.width))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def encode_png(picture: Image.Image) -> bytes:
    """The picture as a PNG file's content."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def encode_gif(pixels: Tensor, least: int = 240, ms: int = 80) -> bytes:
    """Pictures uint8 [F, C, H, W] one after the other, over and over, as a GIF file's content."""
    frames = [enlarge(make_grid(one[None], 1), least) for one in pixels]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=ms, loop=0)
    return buffer.getvalue()


def split_pair(pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs [B, 2C, H, W] as what is to be made and what it is made of, both [B, C, H, W]."""
    made, given = pairs.chunk(2, 1)
    return made, given


def in_rows(*kinds: Tensor) -> Tensor:
    """One of each kind [B, C, H, W] after the other, [kB, C, H, W]: such as the input, what was made of it, and what it
    should be."""
    return torch.stack(kinds, 1).flatten(0, 1)
