"""Peak memory of `prepare` and of `stream` while the rows grow tenfold and tenfold again: a curve that should be flat.

    python tests/bench/flat.py

Each point is a process of its own; what it maps from files is not counted. Wanted: less than 15 % from the second point
to the last.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

ROWS = (20_000, 100_000, 1_000_000)
SEEN: list[float] = []


def prepare(folder: Path) -> None:
    from gan_dist.data.prepare import prepare_into
    from gan_dist.data.processes import here
    from gan_dist.spec.check import checked_data

    data = checked_data({"source": str(folder / "x.npy"), "size": 32, "channels": 3})
    prepare_into(data, str(folder / "shards"), here, lambda done, total: None)


def stream(folder: Path) -> None:
    from gan_dist.data.ingest import Stream
    from gan_dist.data.prepare import prepared
    from gan_dist.storage import Folder

    found = prepared(Folder.at(folder / "shards"))
    assert found is not None
    rows = Stream(found, 4, 0, 64)
    for drawn in range(0, min(found.facts.count, 60_000), 64):
        rows.rows(rows.positions(drawn))


def watch(over: threading.Event) -> None:
    """Notes this process's own memory, in MiB, every 20 ms."""
    while not over.wait(0.02):
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        SEEN.append(int(fields["RssAnon"].split()[0]) / 1024)


def peak(what: str, folder: Path) -> float:
    """MiB of the process that does it."""
    done = subprocess.run([sys.executable, __file__, what, str(folder)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    for rows in ROWS:
        with tempfile.TemporaryDirectory() as place:
            values = np.lib.format.open_memmap(f"{place}/x.npy", "w+", np.uint8, (rows, 32, 32, 3))
            for first in range(0, rows, 10_000):
                values[first : first + 10_000] = np.random.default_rng(first).integers(0, 256, (10_000, 32, 32, 3))
            del values
            made, served = peak("prepare", Path(place)), peak("stream", Path(place))
            print(f"{rows:>9,} rows: prepare {made:,.0f} MiB, stream {served:,.0f} MiB", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        over = threading.Event()
        watcher = threading.Thread(target=watch, args=(over,))
        watcher.start()
        {"prepare": prepare, "stream": stream}[sys.argv[1]](Path(sys.argv[2]))
        over.set()
        watcher.join()
        print(max(SEEN))
