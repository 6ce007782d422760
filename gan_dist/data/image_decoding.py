"""Decoding: bytes of an image file to uint8 pixels [C, H, W]. Pure functions, run by Ray Data or in-process."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps, PngImagePlugin, UnidentifiedImageError

from gan_dist.data.picture_formats import HEAD_BYTES, PictureFormat, format_of, heif_is_installed
from gan_dist.data.value_range import Ranges, to_uint8
from gan_dist.errors import UnreadableSample
from gan_dist.spec.image_size import Size, sides, size_from_json

LARGEST_PIXELS = 80_000_000  # three copies with transparency stay below 1 GiB
PngImagePlugin.MAX_TEXT_CHUNK = 64 << 20  # the workflows that some programs note in a picture are no damage
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
        ranges: which values are black and white, of each type of values that is not bytes.
        pair: where a sample is two pictures, what is to be made and below it what it is made of: "left" or "right", the
            half of one file that is the input, "apart", two files, or "same", one file that is both. Empty for one
            picture.
    """

    size: Size
    channels: int
    fit: str = "crop"
    background: str = "black"
    pair: str = ""
    ranges: Ranges = ()

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> ImageForm:
        """From `dataclasses.asdict` by way of JSON, which knows no tuples."""
        ranges = tuple((kind, low, high) for kind, low, high in record["ranges"])
        return cls(**{**record, "size": size_from_json(record["size"]), "ranges": ranges})

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
    """The picture in `content`, fully decoded, upright by its EXIF orientation; its format is known by how it begins.

    Raises:
        UnreadableSample: empty, truncated, of no format that is read, or too large.
    """
    image, known = begin_image(content)
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything on damaged files
        raise UnreadableSample(_damage(known, error)) from error
    return upright(image)


def begin_image(content: bytes) -> tuple[Image.Image, PictureFormat]:
    """The picture in `content` before its pixels are decoded, and its format.

    Raises:
        UnreadableSample: as `open_image`.
    """
    if not content:
        raise UnreadableSample("empty file")
    known = format_of(content[:HEAD_BYTES])
    if known is None:
        raise UnreadableSample("not an image")
    if known.name == "heic":
        _register_heif()
    try:
        image = Image.open(io.BytesIO(content), formats=known.pillow)
    except MemoryError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableSample(f"more than {LARGEST_PIXELS:,} pixels") from None
    except Exception as error:
        raise UnreadableSample(_damage(known, error)) from error
    if image.width * image.height > (most := LARGEST_PIXELS // known.held):
        raise UnreadableSample(f"{image.width} x {image.height} pixels; at most {most:,} are read")
    return image, known


def _register_heif() -> None:
    """Raises UnreadableSample where the plug-in is missing."""
    if not heif_is_installed():
        raise UnreadableSample("heic needs a plug-in: pip install pillow-heif")
    import pillow_heif

    pillow_heif.register_heif_opener()


def _damage(known: PictureFormat, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # whose text is an address in memory
        return f"damaged {known.name}: it begins as one, and the rest of its header is none"
    return f"damaged {known.name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"


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
    image = _in_eight_bits(image, look)
    image = _flat(image, look) if look.channels != 4 else image.convert("RGBA")
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


def array_to_image(values: NDArray[Any], ranges: Ranges = ()) -> Image.Image:
    """An array [H, W] or [H, W, C], C = 1, 3 or 4, as a picture of bytes.

    Raises:
        UnreadableSample: its values are none of a picture.
    """
    flat = values[:, :, 0] if values.ndim == 3 and values.shape[2] == 1 else values
    return Image.fromarray(np.ascontiguousarray(to_uint8(flat, ranges)))


def stretch_bytes(image: Image.Image, ranges: Ranges) -> Image.Image:
    """A picture of bytes as a file holds it, where the job says that others than 0 and 255 are black and white;
    transparency stays as it is."""
    if deep_values(image) is not None or not any(kind == "uint8" for kind, _, _ in ranges):
        return image
    grey, clear = channels_of(image) == 1, "A" in image.mode or "transparency" in image.info
    plain = image.convert(("LA" if grey else "RGBA") if clear else "L" if grey else "RGB")
    *colours, last = plain.split() if clear else (*plain.split(), None)
    stretched = [array_to_image(np.asarray(band), ranges) for band in colours]
    return Image.merge(plain.mode, stretched if last is None else [*stretched, last])


def deep_values(image: Image.Image) -> NDArray[Any] | None:
    """The values of a decoded picture that holds more than bytes (16 or 32 bits, or floats); None for others."""
    return np.asarray(image) if image.mode == "F" or image.mode.startswith("I") else None


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
    return image if image.mode == mode else image.convert(mode)


def _in_eight_bits(image: Image.Image, look: ImageForm) -> Image.Image:
    """A picture of bytes, its values brought to 0 to 255 where its file holds others."""
    values = deep_values(image)
    return image if values is None else array_to_image(values, look.ranges)


def _fill(look: ImageForm) -> Any:
    """The background as a colour of the picture's mode; transparent where it has transparency."""
    if look.channels == 4:
        return (0, 0, 0, 0)
    return ImageColor.getcolor(look.background, "L" if look.channels == 1 else "RGB")
