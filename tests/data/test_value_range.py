"""Which values are black and white: by type and by the bulk of a set, never by extremes; told, unless the job says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gan_dist.data.value_range import check_spread, ranges_of, to_uint8
from gan_dist.errors import DataError, UnreadableSample
from tests.data.corpus import ingest, pixels_in, put, spec
from tests.data.sources.kinds import ARRAY_SOURCES, SHARE

SHADES = np.stack([np.full((8, 8), shade) for shade in np.linspace(0, 1, 9)]) * np.linspace(0.5, 1, 64).reshape(8, 8)
BYTES = np.rint(SHADES * 255)
Values = np.ndarray[Any, Any]

KINDS: dict[str, tuple[Values, str]] = {
    "float16": (SHADES.astype(np.float16), "float16 in [0, 1]"),
    "float32": (SHADES.astype(np.float32), "float32 in [0, 1]"),
    "float64": (SHADES, "float64 in [0, 1]"),
    "signed": (SHADES * 2 - 1, "float64 in [-1, 1]"),
    "overshoot": (SHADES * 1.12 - 0.06, "float64 in [0, 1]"),
    "one ulp": (np.nextafter(SHADES.astype(np.float32), np.float32(2)), "float32 in [0, 1]"),
    "255 as floats": (SHADES * 255, "float64 in [0, 255]"),
    "int8": ((SHADES * 127).astype(np.int8), "int8 in [0, 127]"),
    "signed int8": ((SHADES * 255 - 128).astype(np.int8), "int8 in [-128, 127]"),
    "int16": ((SHADES * 255).astype(np.int16), "int16 in [0, 255]"),
    "10 bit": ((SHADES * 1023).astype(np.uint16), "uint16 in [0, 1023]"),
    "12 bit": ((SHADES * 4095).astype(np.uint16), "uint16 in [0, 4095]"),
    "14 bit": ((SHADES * 16383).astype(np.uint16), "uint16 in [0, 16383]"),
    "16 bit": ((SHADES * 65535).astype(">u2"), "uint16 in [0, 65535]"),
    "32 bit": ((SHADES * (2**32 - 1)).astype(np.uint32), "uint32 in [0, 4.29497e+09]"),
    "int64 masks": ((SHADES > 0.4).astype(np.int64), "int64 in [0, 1]"),
}


def read(values: Values, tmp_path: Path, source: str, **keys: Any) -> tuple[Values, list[str]]:
    found = ingest(spec(ARRAY_SOURCES[source](tmp_path, values), **{"channels": 1, "max_rejected": 0.5, **keys}))
    return pixels_in(found)[:, 0], [line for line in found.facts.remarks if line.startswith("values")]


@pytest.mark.parametrize("source", ARRAY_SOURCES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_range_is_known_by_the_bulk_and_told(tmp_path: Path, kind: str, source: str) -> None:
    values, told = KINDS[kind]
    if source == "TIFF" and values.dtype.name not in ("uint16", "float32", "int32"):
        pytest.skip("TIFF files of Pillow's hold no such values")
    found, remarks = read(values, tmp_path, source)
    wanted = 255 * (values > 0) if kind == "int64 masks" else BYTES
    assert np.abs(found.astype(int) - wanted).max() <= (17 if kind == "overshoot" else 2)
    assert remarks == [f"values: {told} (by the bulk of some of them)"]


@pytest.mark.parametrize("source", ARRAY_SOURCES)
@pytest.mark.parametrize("odd", [1e9, -1e9, 40000.0])
def test_one_hot_pixel_changes_nothing(tmp_path: Path, source: str, odd: float) -> None:
    values = np.repeat(SHADES, 4, axis=0).astype(np.float32)
    values[5, 3, 3] = odd
    found, remarks = read(values, tmp_path, source)
    sound = np.arange(len(values)) != 5
    assert np.abs(found[sound].astype(int) - np.repeat(BYTES, 4, axis=0)[sound]).max() <= 1
    assert remarks == ["values: float32 in [0, 1] (by the bulk of some of them)"]


@pytest.mark.parametrize("source", ARRAY_SOURCES)
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_rejected_by_name(tmp_path: Path, source: str, odd: float) -> None:
    values = SHADES.astype(np.float32)
    values[[2, 4], 0, 0] = odd
    found = ingest(spec(ARRAY_SOURCES[source](tmp_path, values), channels=1, max_rejected=0.5))
    assert found.facts.count == 7
    assert [why for _, why in found.facts.rejected] == ["holds values that are not finite"] * 2
    assert all("2" in name or "4" in name for name, _ in found.facts.rejected)


@pytest.mark.parametrize("size", [8, 4])
@pytest.mark.parametrize("source", ARRAY_SOURCES)
@pytest.mark.parametrize("asked", [(0, 3000), (3000, 0), (-500, 2500)])
def test_the_job_has_the_last_word(tmp_path: Path, source: str, asked: tuple[int, int], size: int) -> None:
    black, white = asked
    values = (SHADES * 3000).astype(np.uint16)
    found, remarks = read(values, tmp_path, source, range=list(asked), size=size)
    wanted = np.clip((values.astype(float) - black) / (white - black) * 255, 0, 255)
    if size == 8:
        assert np.abs(found.astype(int) - wanted).max() <= 1
    assert abs(found.mean() - wanted.mean()) < 2  # once, at any size
    assert remarks == [f"values: in [{black}, {white}] (data.range)"]


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA", "P"])
def test_a_range_of_bytes_leaves_transparency(tmp_path: Path, mode: str) -> None:
    shades = Image.fromarray((SHADES[-1] * 100).astype(np.uint8)).convert("RGB")
    put(tmp_path, "a.png", shades.quantize(64) if mode == "P" else shades.convert(mode))
    put(tmp_path, "b.png", shades)
    found = pixels_in(ingest(spec(tmp_path, range=[0, 100], channels=4)))
    assert np.abs(found[0].astype(int) - found[1]).max() <= 2 and (found[:, 3] == 255).all()


def test_files_of_several_types_have_a_range_each(tmp_path: Path) -> None:
    for number, shade in enumerate(SHADES):
        deep = (shade * 4095).astype(np.uint16) if number % 2 else shade.astype(np.float32)
        put(tmp_path, f"{number}.tif", Image.fromarray(deep))
    found = ingest(spec(tmp_path, channels=1))
    assert np.abs(pixels_in(found)[:, 0].astype(int) - BYTES).max() <= 1
    assert [line for line in found.facts.remarks if "values" in line] == [
        "values: float32 in [0, 1] (by the bulk of some of them)",
        "values: uint16 in [0, 4095] (by the bulk of some of them)",
    ]


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_few_points_on_an_empty_ground_have_a_range(tmp_path: Path, dtype: Any) -> None:
    values = np.zeros((50, 8, 8), dtype)
    values[::25, 3, 3] = 200
    found, _ = read(values, tmp_path, "npy")
    assert sorted(set(found.reshape(-1).tolist())) == [0, 200]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (SHADES * 6 - 3, "nearly all values .* lie from -3 to 2.* which is no range that pictures have"),
        (np.rint(SHADES * 16), "lie from 0 to 16, which is no range"),
        ((SHADES * 3000 - 1000).astype(np.int16), "lie from -1000 to 19"),
        (
            np.full((9, 8, 8), 0.5),
            r"nearly constant: .* between 128 and 128 of 255 \(values: float64 in \[0, 1\]",
        ),
        ((SHADES > 0.4).astype(np.uint8), "come out nearly constant: all values lie between 0 and 1 of 255"),
    ],
)
def test_what_is_no_range_is_refused_with_what_was_seen(tmp_path: Path, values: Values, message: str) -> None:
    with pytest.raises(DataError, match=rf"^data\.source: .*{message}.*data\.range: \[BLACK, WHITE\]"):
        read(values, tmp_path, "npy")


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "<U3", "V4"])
def test_values_of_no_picture_are_rejected_by_type(dtype: str) -> None:
    with pytest.raises(UnreadableSample, match="which are no values of a picture"):
        to_uint8(np.zeros((4, 4), dtype), ())


def test_a_type_that_none_was_looked_at_of_is_rejected() -> None:
    with pytest.raises(UnreadableSample, match=r"float32, which none of the pictures did .* say data\.range"):
        to_uint8(SHADES.astype(np.float32), ())


def test_booleans_and_bytes_are_what_they_are() -> None:
    assert to_uint8(SHADES > 0.4, ()).tolist() == ((SHADES > 0.4) * 255).tolist()
    assert to_uint8(BYTES.astype(np.uint8), ()).tolist() == BYTES.tolist()
    assert ranges_of([BYTES.astype(np.uint8), SHADES > 0.4], None) == ()


@settings(max_examples=40)
@given(
    st.sampled_from([(0, 1), (-1, 1), (0, 255)]),
    st.floats(0, SHARE),
    st.lists(st.floats(-1e30, 1e30), max_size=1),
    st.integers(0, 2**32 - 1),
)
def test_any_float_range_survives_overshoot_and_outliers(
    wanted: tuple[int, int], beyond: float, odd: list[float], seed: int
) -> None:
    low, high = wanted
    values = np.random.default_rng(seed).uniform(low - beyond * (high - low), high + beyond * (high - low), 4000)
    values[: len(odd)] = odd
    ((_, black, white),) = ranges_of([values], None)
    assert (black, white) == wanted
    assert to_uint8(values, ((values.dtype.name, black, white),)).dtype == np.uint8


def test_pictures_of_one_colour_are_no_mistake() -> None:
    check_spread([np.full((3, 8, 8), 77, np.uint8)] * 3, "")
    with pytest.raises(DataError, match="nearly constant"):
        check_spread([np.full((3, 8, 8), 77, np.uint8)] * 3, "values: float32 in [0, 1]")
