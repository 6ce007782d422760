"""The picture formats that are read: one table. Nothing else is handed to Pillow, some of whose readers start other
programs (PostScript) or read a format that no data set is in."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

HEAD_BYTES = 64  # enough to know a format by


class PictureFormat(NamedTuple):
    """One format: how its files begin, how their names end, what Pillow calls it, and how many whole pictures its
    reader holds at once."""

    name: str
    pillow: tuple[str, ...]
    endings: tuple[str, ...]
    begins: Callable[[bytes], bool]
    held: int = 1


def _magic(*beginnings: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(beginnings)


def _brand(*brands: bytes) -> Callable[[bytes], bool]:
    """ISO base media files: `ftyp` and the brands that the file says it is of."""
    return lambda head: head[4:8] == b"ftyp" and any(brand in head[8:HEAD_BYTES] for brand in brands)


def _is_tga(head: bytes) -> bool:
    """TGA has no magic bytes: its header of 18 bytes has to make sense as a whole."""
    if len(head) < 18:
        return False
    map_type, kind, map_depth, depth, flags = head[1], head[2], head[7], head[16], head[17]
    width, height = int.from_bytes(head[12:14], "little"), int.from_bytes(head[14:16], "little")
    mapped = kind in (1, 9)
    return (
        kind in (1, 2, 3, 9, 10, 11)
        and map_type == int(mapped)
        and (map_depth in (15, 16, 24, 32) if mapped else not any(head[3:8]))
        and depth in ((8, 16) if kind in (1, 3, 9, 11) else (15, 16, 24, 32))
        and flags & 0xC0 == 0
        and width > 0
        and height > 0
    )


FORMATS = (
    PictureFormat("png", ("PNG",), (".png", ".apng"), _magic(b"\x89PNG\r\n\x1a\n")),
    PictureFormat("jpeg", ("JPEG", "MPO"), (".jpg", ".jpeg", ".jpe", ".jfif"), _magic(b"\xff\xd8\xff")),
    PictureFormat("webp", ("WEBP",), (".webp",), lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", held=2),
    PictureFormat("gif", ("GIF",), (".gif",), _magic(b"GIF87a", b"GIF89a")),
    PictureFormat("bmp", ("BMP", "DIB"), (".bmp", ".dib"), _magic(b"BM", b"\x28\0\0\0", b"\x6c\0\0\0", b"\x7c\0\0\0")),
    PictureFormat(
        "tiff", ("TIFF",), (".tif", ".tiff"), _magic(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MM*\0", b"II\0*")
    ),
    PictureFormat("avif", ("AVIF",), (".avif", ".avifs"), _brand(b"avif", b"avis")),
    PictureFormat(
        "jp2",
        ("JPEG2000",),
        (".jp2", ".j2k", ".jpx", ".j2c", ".jpc"),
        _magic(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    ),
    PictureFormat(
        "ppm", ("PPM",), (".ppm", ".pgm", ".pbm", ".pnm"), lambda head: re.match(rb"P[1-6]\s", head) is not None
    ),
    PictureFormat("heic", ("HEIF",), (".heic", ".heif"), _brand(b"heic", b"heix", b"hevc", b"mif1", b"msf1")),
    PictureFormat("tga", ("TGA",), (".tga", ".icb", ".vda", ".vst"), _is_tga),
)
ENDINGS = tuple(ending for one in FORMATS for ending in one.endings)
NAMES = ", ".join(one.name for one in FORMATS)


def format_of(head: bytes) -> PictureFormat | None:
    """The format of a file that begins with `head`, whatever its name."""
    return next((one for one in FORMATS if one.begins(head)), None)


def is_picture_name(name: str) -> bool:
    """Whether a file's name ends as a picture's does; hidden files are none."""
    last = name.rpartition("/")[2].lower()
    return last.endswith(ENDINGS) and not last.startswith(".")


def ending_of(name: str) -> str:
    """How a name ends, from its last dot on, in small letters; "no ending" where it has none."""
    last = name.rpartition("/")[2]
    stem, dot, ending = last.rpartition(".")
    return f".{ending.lower()}" if dot and stem else "no ending"


def heif_is_installed() -> bool:
    """Whether the plug-in that HEIC needs is installed."""
    return find_spec("pillow_heif") is not None
