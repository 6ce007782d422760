"""Batches of 64 at 3x32x32: `memory` against a DataLoader over tensors, `stream` against one over PNG files.

    python benchmarks/ingest.py FOLDER [REPEATS]

FOLDER holds images, which both read at 32 pixels. Wanted: at least 1.0, and at least 2.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from side_by_side import compare
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.ingest import Memory, Stream, load_into_memory
from gan_dist.data.prepare import Prepared, prepare_into
from gan_dist.spec.check import validate_data

BATCH, SIZE, BATCHES = 64, 32, 600


class Files(Dataset[Tensor]):
    """One PNG file a sample, as people write it."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Tensor:
        return torch.from_numpy(np.array(Image.open(self.files[number]).convert("RGB")).transpose(2, 0, 1))


def rate(batches: Iterable[Any]) -> float:
    began, count = time.perf_counter(), 0
    for batch in batches:
        count += len(batch)
    return count / (time.perf_counter() - began)


def of_ingest(rows: Memory | Stream, batches: int) -> float:
    return rate(rows.rows(rows.positions(number * BATCH))[0] for number in range(batches))


def of_tensors(pixels: Tensor, batches: int) -> float:
    loader = DataLoader(TensorDataset(pixels), batch_size=BATCH, shuffle=True, drop_last=True)
    epochs = -(-batches // len(loader))
    return rate(one for _ in range(epochs) for (one,) in loader)


def of_files(folder: Path) -> float:
    loader = DataLoader(Files(folder), batch_size=BATCH, shuffle=True, drop_last=True, num_workers=os.cpu_count() or 1)
    return rate(loader)


def prepare(folder: Path) -> Prepared:
    data = validate_data({"source": sys.argv[1], "size": SIZE, "channels": 3})
    return prepare_into(data, str(folder / "shards"), write_shards_on_processes, lambda done, total: None)


def main() -> None:
    torch.set_num_threads(1)
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as place:
        found = prepare(Path(place))
        memory = load_into_memory(found, 0, BATCH)
        pixels = torch.from_numpy(np.concatenate(memory.blocks))
        (png := Path(place) / "png").mkdir()
        for number, image in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
            Image.fromarray(image).save(png / f"{number:06d}.png")
        compare("memory", lambda: of_ingest(memory, BATCHES), lambda: of_tensors(pixels, BATCHES), repeats, "samples/s")
        epoch = len(pixels) // BATCH
        compare(
            "stream", lambda: of_ingest(Stream(found, 8, 0, BATCH), epoch), lambda: of_files(png), repeats, "samples/s"
        )


if __name__ == "__main__":
    main()
