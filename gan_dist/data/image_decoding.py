"""Decoding: bytes of an image file to uint8 pixels [C, H, W]. Pure functions, run by Ray Data or in-process."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from gan_dist.errors import UnreadableSample
from gan_dist.spec.image_size import Size, sides, size_from_json

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
ORIENTATION, UPRIGHT = 0x0112, 1
NOTES = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")  # where else than in TIFF's tags it may stand
_GREY = {"1", "L", "LA", "I", "F"}
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageForm:
    """What every sample is brought to.

    Attributes:
        size: N pixels high and wide, or (height, width).
        channels: 1 grey, 3 RGB, 4 RGBA.
        fit: how a picture gets that shape: crop (its centre), pad (with the background), or stretch.
        background: a colour's name or #rrggbb, under transparency and around padded pictures.
        pair: where a sample is two pictures, what is to be made and below it what it is made of: "left" or "right", the
            half of one file that is the input, or "apart", two files. Empty for one picture.
    """

    size: Size
    channels: int
    fit: str = "crop"
    background: str = "black"
    pair: str = ""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> ImageForm:
        """From `dataclasses.asdict` by way of JSON, which knows no tuples."""
        return cls(**{**record, "size": size_from_json(record["size"])})

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels * (2 if self.pair else 1), *sides(self.size))

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8)


def channels_of(image: Image.Image) -> int:
    """1 for a grey picture, 3 for a coloured one, by its stored mode; transparency does not count."""
    return 1 if image.mode in _GREY or image.mode.startswith("I;16") else 3


def open_image(content: bytes) -> Image.Image:
    """The picture in `content`, fully decoded, upright by its EXIF orientation.

    Raises:
        UnreadableSample: empty, truncated, not an image, or too large to be one.
    """
    if not content:
        raise UnreadableSample("empty file")
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except UnidentifiedImageError as error:
        raise UnreadableSample("not an image") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything on damaged files
        raise UnreadableSample(str(error) or type(error).__name__) from error
    return upright(image)


def upright(image: Image.Image) -> Image.Image:
    """A decoded picture, turned as its EXIF orientation says."""
    try:
        # Pillow takes half as long to look for notes as to decode a small picture; most have none.
        noted = hasattr(image, "tag_v2") or any(note in image.info for note in NOTES)
        if noted and image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT:
            return ImageOps.exif_transpose(image)
    except Exception:  # damaged notes about a sound picture: it is shown as it is stored
        return image
    return image


def to_pixels(image: Image.Image, look: ImageForm) -> Pixels:
    """uint8 [C, H, W], perhaps a view: brought to `look.size` as `look.fit` says, with Lanczos' antialiasing filter."""
    image = _flat(image, look) if look.channels != 4 else _in_eight_bits(image).convert("RGBA")
    height, width = sides(look.size)
    if image.size != (width, height):
        if look.fit == "stretch":
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        elif look.fit == "pad":
            image = _padded(image, look)
        else:
            image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, np.uint8).reshape(height, width, look.channels)
    return pixels.transpose(2, 0, 1)


def array_to_image(values: NDArray[Any]) -> Image.Image:
    """A uint8 array [H, W] or [H, W, C], C = 1, 3 or 4, as a picture."""
    flat = values[:, :, 0] if values.ndim == 3 and values.shape[2] == 1 else values
    return Image.fromarray(np.ascontiguousarray(flat, np.uint8))


def _padded(image: Image.Image, look: ImageForm) -> Image.Image:
    """In the middle of the background, as large as fits: at least a pixel wide and high, where `ImageOps.pad` of Pillow
    before 13 fails and later ones show nothing."""
    high, wide = sides(look.size)
    # By the side that is shrunk most: that one fills the form, whole.
    longer, whole = (image.height, high) if image.height * wide > image.width * high else (image.width, wide)
    width, height = (max(1, round(length / longer * whole)) for length in image.size)
    padded = Image.new(image.mode, (wide, high), _fill(look))
    place = (round((wide - width) * 0.5), round((high - height) * 0.5))
    padded.paste(image.resize((width, height), Image.Resampling.LANCZOS), place)
    return padded


def _flat(image: Image.Image, look: ImageForm) -> Image.Image:
    """Grey or RGB, with transparency laid on the background."""
    if "A" in image.mode or "transparency" in image.info:
        coloured = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", coloured.size, look.background), coloured)
    mode = "L" if look.channels == 1 else "RGB"
    return image if image.mode == mode else _in_eight_bits(image).convert(mode)


def _in_eight_bits(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image, np.float64) / 257).clip(0, 255).astype(np.uint8))


def _fill(look: ImageForm) -> Any:
    """The background as a colour of the picture's mode; transparent where it has transparency."""
    if look.channels == 4:
        return (0, 0, 0, 0)
    return ImageColor.getcolor(look.background, "L" if look.channels == 1 else "RGB")
