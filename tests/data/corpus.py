"""Folders of images for tests, sound and broken."""

from __future__ import annotations

import gzip
import io
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan_dist.data import source as parts_of_sources
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.ingest import Memory, load_into_memory
from gan_dist.data.prepare import prepare_or_load
from gan_dist.data.source import rows_of_a_part
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import DataSpec, ImageData


def spec(source: Path | str, **keys: Any) -> ImageData:
    return ImageData.model_validate({"source": str(source), "size": 8, **keys})


def ingest(data: DataSpec, rows: int | None = None) -> Memory:
    """The data of a job by way of shards, of at most `rows` samples each."""
    most = rows_of_a_part if rows is None else lambda look: rows
    with tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts_of_sources, "rows_of_a_part", most)
        return load_into_memory(
            prepare_or_load(data, Folder(cache), executor=write_shards_on_processes, progress=lambda done, total: None),
            seed=0,
            batch=1,
        )


def pixels_in(read: Memory) -> np.ndarray[Any, Any]:
    """All images in canonical order."""
    return np.concatenate(read.blocks)


def noise(side: int = 12, mode: str = "RGB", seed: int = 0) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(seed).integers(0, 256, (side, side, channels), np.uint8)
    return Image.frombytes(mode, (side, side), values.tobytes())


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def put(root: Path, name: str, content: bytes | Image.Image) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content.save(path)
    return path


def many(root: Path, count: int, mode: str = "RGB") -> None:
    for number in range(count):
        put(root, f"{number:03d}.png", noise(mode=mode, seed=number))


def idx(values: np.ndarray[Any, Any], zipped: bool = False) -> bytes:
    """An IDX file of unsigned bytes, as MNIST's page describes it."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    content = header + values.astype(np.uint8).tobytes()
    return gzip.compress(content, mtime=0) if zipped else content
