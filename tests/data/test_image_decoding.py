"""Decoding real-world files: what is shown of odd ones, what is rejected of broken ones, and by which name."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan_dist.data.image_decoding import ImageForm, channels_of, open_image, to_pixels
from gan_dist.errors import DataError, UnreadableSample
from tests.data.corpus import encoded, ingest, many, noise, put, spec

GREY = {"L": "PNG", "LA": "PNG", "1": "PNG"}


def pixels(image: Image.Image, size: int, channels: int, form: str = "PNG", **options: Any) -> Any:
    return to_pixels(open_image(encoded(image, form, **options)), ImageForm(size, channels))


def rejected(root: Path, **keys: Any) -> str:
    with pytest.raises(DataError) as caught:
        ingest(spec(root, **keys))
    return str(caught.value)


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = noise(8)
    assert np.array_equal(pixels(image, 8, 3), np.asarray(image).transpose(2, 0, 1))


@pytest.mark.parametrize(("shown", "form"), [((48, 32), (32, 48)), ((20, 60), (12, 8)), ((60, 20), (12, 8))])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_images_come_to_height_and_width(shown: tuple[int, int], form: tuple[int, int], fit: str) -> None:
    found = to_pixels(Image.new("RGB", shown, "white"), ImageForm(form, 3, fit))
    assert found.shape == (3, *form) == ImageForm(form, 3).shape
    # What is padded is one band on two sides; the picture is as large as fits, and has its own shape.
    rows, columns = (int((found[0] == 255).any(axis).sum()) for axis in (1, 0))
    share = min(form[0] / shown[1], form[1] / shown[0])
    wanted = (round(shown[1] * share), round(shown[0] * share)) if fit == "pad" else form
    assert (rows, columns) == wanted


def test_a_crop_is_the_middle_in_the_form_s_shape() -> None:
    image = Image.fromarray(np.arange(60, dtype=np.uint8)[None].repeat(20, 0))
    assert np.array_equal(to_pixels(image, ImageForm((20, 30), 1))[0], np.asarray(image)[:, 15:45])


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_list_of_equal_sides_is_the_square(fit: str) -> None:
    image = noise(9).crop((0, 0, 9, 6))
    forms = (ImageForm(spec("nowhere", size=size, fit=fit).size, 3, fit) for size in (8, [8, 8]))  # type: ignore[union-attr]
    assert np.array_equal(*(to_pixels(image, form) for form in forms))


def test_palette() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert pixels(image, 8, 3)[:, 0, 0].tolist() == [200, 100, 50]


@pytest.mark.parametrize("alpha", [0, 64, 255])
def test_transparency_lies_on_black(alpha: int) -> None:
    found = pixels(Image.new("RGBA", (8, 8), (200, 100, 50, alpha)), 8, 3)[:, 0, 0]
    assert np.allclose(found, np.array([200, 100, 50]) * alpha / 255, atol=1)
    assert pixels(Image.new("LA", (8, 8), (200, alpha)), 8, 1)[0, 0, 0] == pytest.approx(200 * alpha / 255, abs=1)


def test_transparent_palette_lies_on_black() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert not pixels(image, 8, 3, transparency=1).any()


def test_cmyk() -> None:
    found = pixels(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), 8, 3, "TIFF")[:, 0, 0]
    assert found.tolist() == [255, 0, 0]


@pytest.mark.parametrize("byte_order", ["<u2", ">u2"])
def test_grey_of_16_bits_keeps_its_upper_8(byte_order: str) -> None:
    values = (np.arange(64).reshape(8, 8) * 257).astype("<u2")
    mode = "I;16" if byte_order == "<u2" else "I;16B"
    image = Image.frombytes(mode, (8, 8), values.astype(byte_order).tobytes())
    opened = open_image(encoded(image, "TIFF"))
    assert channels_of(opened) == 1
    assert np.array_equal(to_pixels(opened, ImageForm(8, 1))[0], np.arange(64).reshape(8, 8))


def test_png_of_16_bits() -> None:
    image = Image.fromarray((np.arange(64).reshape(8, 8) * 257).astype(np.uint16))
    assert np.array_equal(pixels(image, 8, 1)[0], np.arange(64).reshape(8, 8))


def test_exif_orientation_is_obeyed() -> None:
    image = Image.new("RGB", (16, 16))
    image.paste((255, 255, 255), (0, 0, 16, 8))  # light above
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture has to be turned by 90 degrees clockwise
    found = pixels(image, 16, 1, "JPEG", exif=exif, quality=95)[0]
    assert found[:, 12].mean() > 240 and found[:, 3].mean() < 15


def test_one_pixel_fills_the_picture() -> None:
    assert (pixels(Image.new("RGB", (1, 1), (9, 8, 7)), 8, 3) == np.array([9, 8, 7])[:, None, None]).all()


def test_the_middle_of_a_long_picture_is_kept() -> None:
    image = Image.new("L", (24, 8), 0)
    image.paste(255, (8, 0, 16, 8))
    assert (pixels(image, 8, 1) == 255).all()


def test_lanczos_does_not_alias() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    assert pixels(Image.fromarray(stripes), 8, 1).std() < 10


def test_lab_is_coloured() -> None:
    found = pixels(Image.new("LAB", (8, 8), (128, 128, 128)), 8, 3, "TIFF")
    assert found.shape == (3, 8, 8)


BROKEN = {
    "cut.png": encoded(noise(32), "PNG")[:900],
    "cut.jpg": encoded(noise(32), "JPEG")[:500],
    "empty.png": b"",
    "page.jpg": b"<!DOCTYPE html><title>404</title>",
    "head.gif": b"GIF89a",
}
REASONS = {"empty.png": "empty file", "page.jpg": "not an image"}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named_with_their_reason(tmp_path: Path, name: str) -> None:
    many(tmp_path, 3)
    put(tmp_path, name, BROKEN[name])
    facts = ingest(spec(tmp_path, max_rejected=0.5)).facts
    ((found, reason),) = facts.rejected
    assert (facts.count, found) == (3, name)
    assert reason == REASONS.get(name, reason) and reason


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.filterwarnings("ignore")
def test_a_file_cut_anywhere_is_decoded_or_rejected(form: str) -> None:
    whole = encoded(noise(6), form)
    for length in range(0, len(whole), 3):
        try:
            to_pixels(open_image(whole[:length]), ImageForm(8, 3))
        except UnreadableSample as error:
            assert str(error)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.filterwarnings("ignore")
def test_a_file_with_altered_bytes_is_decoded_or_rejected(form: str) -> None:
    exif = {} if form in ("GIF", "BMP", "TIFF") else {"exif": _exif()}
    whole, random = encoded(noise(6), form, **exif), np.random.default_rng(0)
    for _ in range(400):
        content = bytearray(whole)
        for place in random.integers(0, len(content), random.integers(1, 4)):
            content[place] = random.integers(256)
        _decode_or_reject(bytes(content))


def _decode_or_reject(content: bytes) -> None:
    try:
        image = open_image(content)
        if image.width * image.height < 10**6:
            to_pixels(image, ImageForm(8, 3))
    except (UnreadableSample, OSError):
        pass  # what the reader of folders takes for a rejection


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_broken_exif_does_not_break_the_run(tmp_path: Path, form: str) -> None:
    many(tmp_path, 2)
    put(tmp_path, f"odd.{form}", encoded(noise(), form, exif=b"Exif\x00\x00garbage, no TIFF header"))
    facts = ingest(spec(tmp_path, max_rejected=0.5)).facts
    assert facts.count + len(facts.rejected) == 3


@pytest.mark.parametrize(("broken", "allowed"), [(1, True), (2, False)])
def test_max_rejected_from_both_sides(tmp_path: Path, broken: int, allowed: bool) -> None:
    many(tmp_path, 10 - broken)
    for number in range(broken):
        put(tmp_path, f"x{number}.png", b"")
    if allowed:
        assert ingest(spec(tmp_path, max_rejected=0.1)).facts.count == 9
        return
    assert rejected(tmp_path, max_rejected=0.1) == (
        f"data.source: 2 of 10 samples in {str(tmp_path)!r} cannot be used, more than data.max_rejected: 0.1 allows:"
        "\n  x0.png: empty file\n  x1.png: empty file"
    )


def test_nothing_usable_is_refused_whatever_is_allowed(tmp_path: Path) -> None:
    put(tmp_path, "a.png", b"")
    assert "1 of 1 samples" in rejected(tmp_path, max_rejected=1)


def test_grey_and_colour_mixed_become_rgb_and_it_is_said(tmp_path: Path) -> None:
    many(tmp_path, 3)
    put(tmp_path, "grey.png", noise(mode="L"))
    facts = ingest(spec(tmp_path)).facts
    assert (facts.count, facts.channels) == (4, 3)
    assert facts.remarks == ("channels: RGB, as 3 pictures are coloured and 1 are grey",)
    assert ingest(spec(tmp_path, channels=1)).facts.channels == 1


def test_one_coloured_picture_that_nobody_looked_at_first_makes_all_rgb(tmp_path: Path) -> None:
    for number in range(130):
        put(tmp_path, f"{number:03d}.png", noise(mode="RGB" if number == 77 else "L"))
    facts = ingest(spec(tmp_path)).facts
    assert (facts.channels, facts.remarks) == (3, ("channels: RGB, as 1 pictures are coloured and 129 are grey",))
    assert facts.checksum == ingest(spec(tmp_path, channels=3)).facts.checksum


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_auto_takes_grey_for_grey(tmp_path: Path, mode: str) -> None:
    for number in range(3):
        put(tmp_path, f"{number}.png", Image.new(mode, (9, 9)))
    assert ingest(spec(tmp_path)).facts.channels == 1


def test_checksum_follows_pixels_and_labels_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png"):
        put(tmp_path, name, noise(8))
    before = ingest(spec(tmp_path, labels="folders")).facts.checksum
    os.utime(tmp_path / "a/1.png", (0, 0))
    put(tmp_path, "a/notes.txt", b"new")
    assert ingest(spec(tmp_path, labels="folders")).facts.checksum == before
    (tmp_path / "a/1.png").rename(tmp_path / "b/1.png")
    assert ingest(spec(tmp_path, labels="folders")).facts.checksum != before
    (tmp_path / "b/1.png").rename(tmp_path / "a/1.png")
    image = noise(8)
    image.putpixel((3, 3), (1, 2, 3))
    put(tmp_path, "a/1.png", image)
    assert ingest(spec(tmp_path, labels="folders")).facts.checksum != before


def test_a_png_is_found_by_its_content(tmp_path: Path) -> None:
    buffer = io.BytesIO(encoded(noise(), "PNG"))
    put(tmp_path, "a.jpeg", buffer.getvalue())
    assert ingest(spec(tmp_path)).facts.count == 1
