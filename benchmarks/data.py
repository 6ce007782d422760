"""Reading prepared data, and preparing what is ready, against what a good engineer would write by hand.

    python benchmarks/data.py [prepare|stream|memory|million] [REPEATS]

Each line is a ratio of CPU time, ours to theirs, in one process and in turn. `prepare`: arrays of uint8 that already
have the job's size, against numpy and pyarrow writing the same files. `stream`: batches of 64 at 3x64x64, against a
DataLoader over `np.memmap`. `memory`: the same against `x[order]` of a tensor, which is what one writes first, and
against `x.index_select(0, order)`, which copies rows as wholes. `million`: CPU seconds for a million
rows of 32x32x3. Wanted: at least 1.0, 1.0, 0.6 of either, and less than 60 s.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from side_by_side import compare
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gan_dist.data.ingest import Memory, Stream, load_into_memory
from gan_dist.data.prepare import Prepared, prepare_into
from gan_dist.data.shards import write_shard
from gan_dist.spec.check import validate_data

BATCH, ROWS = 64, 40_000
READY = 200_000


class Mapped(Dataset[Tensor]):
    """Rows of a file that the system maps, as people write it."""

    def __init__(self, path: Path) -> None:
        self.rows = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Tensor:
        return torch.from_numpy(self.rows[number].copy())


def array(path: Path, rows: int, shape: tuple[int, ...]) -> Path:
    values = np.lib.format.open_memmap(path, "w+", np.uint8, (rows, *shape))
    for first in range(0, rows, 10_000):
        values[first : first + 10_000] = np.random.default_rng(first).integers(0, 256, (1, *shape), np.uint8)
        values[first : first + 10_000, 0, 0] += np.arange(len(values[first : first + 10_000]), dtype=np.uint8)[:, None]
    return path


def here(parts: Any, folder: Any) -> Any:
    """An executor of this process, whose CPU time is ours."""
    return (write_shard(part, folder) for part in parts)


def prepared(source: Path, size: int, folder: Path) -> Prepared:
    data = validate_data({"source": str(source), "size": size, "channels": 3})
    return prepare_into(data, str(folder), here, lambda done, total: None)


def by_hand(source: Path, folder: Path, rows: int) -> None:
    """The same files: shards of 16 MiB, and a table of names and labels beside each."""
    folder.mkdir(parents=True)
    values = np.load(source, mmap_mode="r")
    step = min(8192, (16 << 20) // values[0].nbytes)
    for first in range(0, rows, step):
        block = np.ascontiguousarray(values[first : first + step].transpose(0, 3, 1, 2))
        np.save(folder / f"{first:09d}.npy", block)
        names = pa.array([f"image {first + number}" for number in range(len(block))])
        table = pa.table({"name": names, "label": pa.array(np.zeros(len(block), np.int64))})
        pq.write_table(table, folder / f"{first:09d}.parquet", compression="zstd", write_page_checksum=True)


def rate(count: int, work: Callable[[], object]) -> float:
    """Rows per second of CPU."""
    began = time.process_time()
    work()
    return count / (time.process_time() - began)


def serve(rows: Memory | Stream, count: int) -> None:
    for drawn in range(0, count // BATCH * BATCH, BATCH):
        rows.rows(rows.positions(drawn))


def load(loader: DataLoader[Tensor]) -> None:
    for _ in loader:
        pass


def pick(take: Callable[[Tensor], Tensor], count: int) -> None:
    order = torch.randperm(count)
    for drawn in range(0, count // BATCH * BATCH, BATCH):
        take(order[drawn : drawn + BATCH])


def main(what: str, repeats: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        place, turn = Path(name), iter(range(10_000))
        if what == "million":
            source = array(place / "x.npy", 1_000_000, (32, 32, 3))
            print(f"a million rows: {1e6 / rate(1_000_000, lambda: prepared(source, 32, place / 'a')):.1f} s of CPU")
            return
        if what == "prepare":
            source = array(place / "x.npy", READY, (32, 32, 3))
            compare(
                "prepare",
                lambda: rate(READY, lambda: prepared(source, 32, place / f"a{next(turn)}")),
                lambda: rate(READY, lambda: by_hand(source, place / f"b{next(turn)}", READY)),
                repeats,
                "rows per CPU second",
            )
            return
        found = prepared(array(place / "x.npy", ROWS, (64, 64, 3)), 64, place / "shards")
        memory = load_into_memory(found, 0, BATCH)
        if what == "memory":
            pixels = torch.from_numpy(memory.blocks[0])
            ours: Callable[[], float] = lambda: rate(ROWS, lambda: serve(memory, ROWS))  # noqa: E731
            ways = {"x[order]": pixels.__getitem__, "index_select": partial(pixels.index_select, 0)}
            for name, take in ways.items():
                theirs = partial(rate, ROWS, partial(pick, take, ROWS))
                compare(f"memory, {name}", ours, theirs, repeats, "rows per CPU second")
            return
        np.save(place / "flat.npy", memory.blocks[0])
        loader = DataLoader(Mapped(place / "flat.npy"), batch_size=BATCH, shuffle=True, drop_last=True)
        compare(
            "stream",
            lambda: rate(ROWS, lambda: serve(Stream(found, 8, 0, BATCH), ROWS)),
            lambda: rate(ROWS, lambda: load(loader)),
            repeats,
            "rows per CPU second",
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "prepare", int(sys.argv[2]) if len(sys.argv) > 2 else 5)
