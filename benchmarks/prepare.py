"""Images/s of `prepare`, against a tight single-process loop of Pillow's decoding and resizing.

    python benchmarks/prepare.py FOLDER [SIZE] [REPEATS]

Wanted: at least 0.8 x cores. On a machine that does other things too, look at the second ratio: samples per second of
CPU time of the loop, and of ours where its processes share their work evenly. The third says what there is to gain: the
same loop in as many processes as there are cores, which check and write nothing, against one.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from side_by_side import Rates, compare, compare_rates

from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.prepare import prepare_into
from gan_dist.spec.check import validate_data

SOURCE, SIZE = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 64
FILES = sorted(path for path in SOURCE.rglob("*") if path.suffix in (".jpg", ".png"))


def ours() -> Rates:
    with tempfile.TemporaryDirectory() as folder:
        began, alone, shared = time.perf_counter(), time.process_time(), children()
        data = validate_data({"source": str(SOURCE), "size": SIZE, "channels": 3})
        count = prepare_into(data, f"{folder}/x", write_shards_on_processes, lambda done, total: None).facts.count
        used = time.process_time() - alone + (children() - shared) / len(os.sched_getaffinity(0))
        return Rates(count / (time.perf_counter() - began), count / used)


def children() -> float:
    """Seconds of CPU time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def decode(files: Sequence[Path]) -> None:
    for file in files:
        np.asarray(ImageOps.fit(Image.open(file).convert("RGB"), (SIZE, SIZE), Image.Resampling.LANCZOS))


def pillow() -> Rates:
    began, alone = time.perf_counter(), time.process_time()
    decode(FILES)
    return Rates(len(FILES) / (time.perf_counter() - began), len(FILES) / (time.process_time() - alone))


def pillows() -> float:
    """Images/s of one loop for each core."""
    cores, fork = len(os.sched_getaffinity(0)), multiprocessing.get_context("fork")
    began = time.perf_counter()
    loops = [fork.Process(target=decode, args=(FILES[first::cores],)) for first in range(cores)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
    return len(FILES) / (time.perf_counter() - began)


if __name__ == "__main__":
    print(f"{len(FILES)} images to {SIZE} pixels on {os.cpu_count()} cores")
    repeats = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    compare_rates("prepare", ours, pillow, repeats, "samples/s")
    compare("loops on all cores", pillows, lambda: pillow().wall, repeats, "samples/s")
