"""Decoding: bytes of an image file to uint8 pixels [C, S, S]. Pure functions, run by Ray Data or in-process."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_GREY = {"1", "L", "LA", "I", "F"}
Pixels = NDArray[np.uint8]


class Unreadable(ValueError):
    """One image that cannot be decoded; the text is the reason shown to the user."""


def channels_of(image: Image.Image) -> int:
    """1 for a grey picture, 3 for a coloured one, by its stored mode."""
    return 1 if image.mode in _GREY or image.mode.startswith("I;16") else 3


def open_image(content: bytes) -> Image.Image:
    """The picture in `content`, fully decoded, upright by its EXIF orientation.

    Raises:
        Unreadable: empty, truncated, not an image, or too large to be one.
    """
    if not content:
        raise Unreadable("empty file")
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
        return ImageOps.exif_transpose(image)
    except UnidentifiedImageError as error:
        raise Unreadable("not an image") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Unreadable(str(error) or type(error).__name__) from error


def to_pixels(image: Image.Image, size: int, channels: int) -> Pixels:
    """Centre-crop to a square and resize with Lanczos' antialiasing filter; transparency lies on black."""
    if "A" in image.mode or "transparency" in image.info:
        coloured = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", coloured.size, (0, 0, 0, 255)), coloured)
    elif image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image, np.float64) / 257).clip(0, 255).astype(np.uint8))
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, np.uint8).reshape(size, size, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def grey_to_pixels(grey: NDArray[Any], size: int, channels: int) -> Pixels:
    """A grey uint8 array [H, W] to pixels [C, S, S]."""
    return to_pixels(Image.fromarray(np.ascontiguousarray(grey, np.uint8)), size, channels)
