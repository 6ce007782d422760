"""One table of formats: what is in it is read whatever its name, and nothing else reaches Pillow."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from gan_dist.data.picture_formats import FORMATS, ending_of, format_of, is_picture_name
from gan_dist.errors import DataError
from tests.data.corpus import encoded, ingest, noise, put, spec
from tests.data.sources.kinds import FILE_SOURCES, Files

SAVED = {
    "png": "PNG",
    "jpeg": "JPEG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "tiff": "TIFF",
    "avif": "AVIF",
    "jp2": "JPEG2000",
    "ppm": "PPM",
    "tga": "TGA",
}
WHOLE = {name: encoded(noise(16), form) for name, form in SAVED.items()}
SOUND = {f"sound{number}.png": encoded(noise(seed=number), "PNG") for number in range(3)}
NO_PICTURES = {
    "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n" + b" " * 99,
    "pdf.png": b"%PDF-1.4\n" + b" " * 99,
    "svg.png": b'<svg xmlns="http://www.w3.org/2000/svg"></svg>' + b" " * 99,
    "html.png": b"<!DOCTYPE html><title>404</title>" + b" " * 99,
    "zeros.png": bytes(99),
}
Write = Callable[[Path, Files], Path]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in parts)


def test_the_table_is_of_formats_that_pillow_has() -> None:
    Image.init()
    assert {name for one in FORMATS if one.name != "heic" for name in one.pillow} - set(Image.OPEN) == {"MPO"}
    assert len({ending for one in FORMATS for ending in one.endings}) == sum(len(one.endings) for one in FORMATS)


@pytest.mark.parametrize("name", SAVED)
def test_a_format_is_known_by_how_it_begins(name: str) -> None:
    known = format_of(WHOLE[name])
    assert known is not None and known.name == name and f".{name}" in (*known.endings, ".jpeg", ".tiff")


@pytest.mark.parametrize("source", FILE_SOURCES)
@pytest.mark.parametrize("name", SAVED)
def test_content_counts_and_not_the_ending(tmp_path: Path, name: str, source: str) -> None:
    found = ingest(spec(FILE_SOURCES[source](tmp_path, {f"{other}.{other}": WHOLE[name] for other in SAVED})))
    assert found.facts.count == len(SAVED) and not found.facts.rejected


@pytest.mark.parametrize("name", [name for name in SAVED if name != "tga"])
def test_a_picture_without_an_ending_is_found_in_a_folder(tmp_path: Path, name: str) -> None:
    put(tmp_path, "no_ending", WHOLE[name])
    put(tmp_path, "odd.data", WHOLE[name])
    assert ingest(spec(tmp_path)).facts.count == 2


@pytest.mark.parametrize("source", FILE_SOURCES)
@pytest.mark.parametrize("name", SAVED)
def test_a_picture_cut_anywhere_is_read_or_rejected_by_name(tmp_path: Path, name: str, source: str) -> None:
    cut = {f"{length:04d}.{name}": WHOLE[name][:length] for length in (0, 1, 7, 20, 64, len(WHOLE[name]) // 2)}
    found = ingest(spec(FILE_SOURCES[source](tmp_path, cut | SOUND), max_rejected=0.9))
    assert found.facts.count >= len(SOUND)
    assert any(shown.endswith(f"0000.{name}") and why == "empty file" for shown, why in found.facts.rejected)
    assert all(why in ("empty file", "not an image") or "damaged" in why for _, why in found.facts.rejected)
    assert not any("0x" in why or "object at" in why for _, why in found.facts.rejected)


@pytest.mark.parametrize("source", FILE_SOURCES)
def test_other_files_that_are_called_pictures_are_rejected_by_name(tmp_path: Path, source: str) -> None:
    found = ingest(spec(FILE_SOURCES[source](tmp_path, NO_PICTURES | SOUND), max_rejected=0.9))
    assert found.facts.count == len(SOUND)
    assert {name.rpartition("!")[2]: why for name, why in found.facts.rejected} == dict.fromkeys(
        NO_PICTURES, "not an image"
    )
    with pytest.raises(DataError, match=r"^data\.source: 5 of 5 samples .* more than data\.max_rejected: 0\.5 allows"):
        ingest(spec(FILE_SOURCES[source](tmp_path / "alone", NO_PICTURES), max_rejected=0.5))


@pytest.mark.parametrize("side", [10**6, 2**31 - 1, 9000])
def test_a_bomb_is_rejected_by_its_size(tmp_path: Path, side: int) -> None:
    files = SOUND | {"bomb.png": png(side, side, 8, 2, b"\0" * 1000)}
    ((name, why),) = ingest(spec(FILE_SOURCES["folder"](tmp_path, files), max_rejected=0.5)).facts.rejected
    assert name == "bomb.png" and ("80,000,000" in why or "damaged png" in why)


@pytest.mark.parametrize("channels", ["auto", 1, 3, 4])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "RGB;16"])
def test_every_mode_is_read(tmp_path: Path, mode: str, channels: object) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (16, 16), np.uint16)
    if mode == "RGB;16":
        rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in values)
        put(tmp_path, "x.png", png(16, 16, 16, 2, rows))
    elif mode == "I;16":
        put(tmp_path, "x.png", Image.fromarray(values))
    elif mode == "CMYK":
        put(tmp_path, "x.jpg", noise().convert(mode))
    else:
        put(tmp_path, "x.png", noise().quantize(16) if mode == "P" else noise().convert(mode))
    facts = ingest(spec(tmp_path, channels=channels)).facts
    assert facts.count == 1 and facts.channels == (
        channels if channels != "auto" else 1 if mode in ("1", "L", "LA", "I;16") else 3
    )


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_of_several_frames_the_first_is_read(tmp_path: Path, form: str) -> None:
    grey = Image.new("RGB", (8, 8), (200, 200, 200))
    put(tmp_path, "x.png", encoded(grey, form, save_all=True, append_images=[Image.new("RGB", (8, 8), "black")]))
    read = ingest(spec(tmp_path, channels=1))
    assert read.facts.count == 1 and abs(int(read.blocks[0].mean()) - 200) <= 3


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("profile", ["sRGB", "damaged"])
def test_colour_profiles_cost_no_picture(tmp_path: Path, form: str, profile: str) -> None:
    sound = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    put(tmp_path, "x.png", encoded(noise(), form, icc_profile=sound if profile == "sRGB" else b"\0bogus" * 50))
    assert ingest(spec(tmp_path)).facts.count == 1


@pytest.mark.parametrize(
    ("name", "known", "ending"),
    [
        ("a.PNG", True, ".png"),
        ("a/b.JpEg", True, ".jpeg"),
        (".png", False, "no ending"),
        ("a/.hidden.png", False, ".png"),
        ("a.png.txt", False, ".txt"),
        ("readme", False, "no ending"),
        ("a.b/readme", False, "no ending"),
        ("caf\udce9.png", True, ".png"),
        ("new\nline.gif", True, ".gif"),
    ],
)
def test_names_of_pictures(name: str, known: bool, ending: str) -> None:
    assert is_picture_name(name) == known and ending_of(name) == ending


def test_a_header_that_is_cut_has_no_format() -> None:
    for whole in WHOLE.values():
        assert all(format_of(whole[:length]) in (None, format_of(whole)) for length in range(64))
