"""Arrays of any order, type and file; what is no array of pictures is refused by what it is."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan_dist.errors import DataError
from gan_dist.runs.storage import Folder
from tests.data.corpus import idx, ingest, noise, pixels_in, put, spec

PICTURES = np.stack([np.asarray(noise(8, seed=seed)) for seed in range(6)])
CHANNELS_FIRST = PICTURES.transpose(0, 3, 1, 2)


def saved(values: Any, **more: Any) -> bytes:
    buffer = io.BytesIO()
    if more:
        np.savez(buffer, images=values, **more)
    else:
        np.save(buffer, values)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "values",
    [PICTURES, CHANNELS_FIRST, np.asfortranarray(PICTURES), PICTURES.astype(">i4"), (PICTURES / 255).astype(">f8")],
    ids=["last", "first", "Fortran", "big-endian integers", "big-endian floats"],
)
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_the_order_of_an_array_changes_nothing(tmp_path: Path, name: str, values: Any, bucket: str) -> None:
    content = saved(values) if name == "x.npy" else saved(values, other=np.arange(3))
    Folder(bucket).write(f"größe #/{name}", content)
    for place in (put(tmp_path, name, content), f"{bucket}/größe #/{name}"):
        assert np.array_equal(pixels_in(ingest(spec(place))), CHANNELS_FIRST)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (saved(PICTURES[0, 0]), r"shape \(8, 3\), not images \[N, H, W\]"),
        (saved(PICTURES[..., :2]), r"\(6, 8, 8, 2\) has 1, 3 or 4 channels neither last nor second"),
        (saved(np.zeros((0, 8, 8), np.uint8)), r"shape \(0, 8, 8\)"),
        (saved(np.array([None, {}])), "holds Python objects .* save numbers or text"),
        (saved(PICTURES)[:300], "cannot be read"),
        (saved(PICTURES).replace(b"'shape'", b"'sh((e'"), "cannot be read"),
        (saved(PICTURES).replace(b"(6, 8, 8, 3)", b"(6, 8, 8, 3 "), "cannot be read"),
        (saved(PICTURES).replace(b"(6, 8,", b"(9, 8,"), "cannot be read"),
        (b"nothing of an array", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_what_is_no_array_of_pictures_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"^data\.source: .*{message}"):
        ingest(spec(put(tmp_path, "x.npy", content)))


def test_an_npz_without_known_names_says_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", first=PICTURES, second=PICTURES)
    with pytest.raises(DataError, match=r"^data\.source: .*no array in it is named images, .*; it has first, second"):
        ingest(spec(tmp_path / "x.npz"))
    with pytest.raises(DataError, match=r"^data\.source: .*is no zip of arrays, .* is it a \.npy\?"):
        ingest(spec(put(tmp_path, "y.npz", saved(PICTURES))))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-5], "is cut short: 379 values where its header says 384"),
        (lambda content: content + b"more", "is damaged: it goes on behind the 384 values of its header"),
        (
            lambda content: content[:4] + b"\xff" * 12 + content[16:],
            "is cut short: 384 values .* says 79",
        ),
        (lambda content: b"\1" + content[1:], "is not an IDX file of unsigned bytes"),
        (lambda content: content[:7], "is not an IDX file"),
    ],
)
def test_damaged_idx_files_say_how(tmp_path: Path, change: Any, message: str, packed: bool) -> None:
    content = change(idx(PICTURES[..., 0]))
    name = "train-images-idx3-ubyte" + ".gz" * packed
    with pytest.raises(DataError, match=rf"^data\.source: .*{message}"):
        ingest(spec(put(tmp_path, name, gzip.compress(content, mtime=0) if packed else content)))
