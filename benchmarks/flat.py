"""Peak memory of `prepare` and of `stream` while the rows grow tenfold and tenfold again: a curve that should be flat.

    python benchmarks/flat.py [images|sentences]

Each point is a process of its own, with the processes that it starts; what it maps from files is not counted, and what
several share is counted once. Wanted: less than 15 % from the second point to the last.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROWS = (20_000, 100_000, 1_000_000)
WORDS = [f"word{number}" for number in range(5000)]
SEEN: list[float] = []


def images(rows: int, folder: Path) -> None:
    values = np.lib.format.open_memmap(folder / "x.npy", "w+", np.uint8, (rows, 32, 32, 3))
    for first in range(0, rows, 10_000):
        values[first : first + 10_000] = np.random.default_rng(first).integers(0, 256, (10_000, 32, 32, 3))


def sentences(rows: int, folder: Path) -> None:
    drawn = np.random.default_rng(0)
    with (folder / "x.txt").open("w") as file:
        for length in drawn.integers(3, 20, rows):
            file.write(" ".join(WORDS[number] for number in drawn.integers(0, len(WORDS), length)) + "\n")


def data(folder: Path) -> dict[str, Any]:
    if (folder / "x.npy").exists():
        return {"source": str(folder / "x.npy"), "size": 32, "channels": 3}
    return {"source": str(folder / "x.txt"), "modality": "text", "length": 20}


def prepare(folder: Path) -> None:
    from gan_dist.data.executors import write_shards_on_processes
    from gan_dist.data.prepare import prepare_into
    from gan_dist.spec.check import validate_data

    prepare_into(
        validate_data(data(folder)), str(folder / "shards"), write_shards_on_processes, lambda done, total: None
    )


def stream(folder: Path) -> None:
    from gan_dist.data.ingest import Stream
    from gan_dist.data.prepare import open_prepared
    from gan_dist.runs.storage import Folder

    found = open_prepared(Folder.at(folder / "shards"))
    assert found is not None
    rows = Stream(found, 4, 0, 64)
    for drawn in range(0, min(found.facts.count, 60_000), 64):
        rows.rows(rows.positions(drawn))


def watch(over: threading.Event) -> None:
    """Notes the memory of this process and those it started, in MiB, every 50 ms."""
    this = psutil.Process()
    while not over.wait(0.05):
        SEEN.append(sum(own(process.pid) for process in [this, *this.children()]))


def own(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss_Anon:"))


def peak(what: str, folder: Path) -> float:
    """MiB of the process that does it."""
    done = subprocess.run([sys.executable, __file__, what, str(folder)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main(kind: str) -> None:
    for rows in ROWS:
        with tempfile.TemporaryDirectory() as place:
            {"images": images, "sentences": sentences}[kind](rows, Path(place))
            made, served = peak("prepare", Path(place)), peak("stream", Path(place))
            print(f"{rows:>9,} {kind}: prepare {made:,.0f} MiB, stream {served:,.0f} MiB", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        main(sys.argv[1] if len(sys.argv) > 1 else "images")
    else:
        over = threading.Event()
        watcher = threading.Thread(target=watch, args=(over,))
        watcher.start()
        {"prepare": prepare, "stream": stream}[sys.argv[1]](Path(sys.argv[2]))
        over.set()
        watcher.join()
        print(max(SEEN))
