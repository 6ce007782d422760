"""Images/s of `prepare`, against a tight single-process loop of Pillow's decoding and resizing.

    python tests/bench/prepare.py FOLDER [SIZE] [REPEATS]

Wanted: at least 0.8 x cores.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from side_by_side import compare

from gan_dist.data.prepare import here, prepare_into
from gan_dist.spec.check import checked_data

SOURCE, SIZE = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 64
FILES = sorted(path for path in SOURCE.rglob("*") if path.suffix in (".jpg", ".png"))


def ours() -> float:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        data = checked_data({"source": str(SOURCE), "size": SIZE, "channels": 3})
        made = prepare_into(data, f"{folder}/x", here, lambda done, total: None)
        return made.facts.count / (time.perf_counter() - began)


def pillow() -> float:
    began = time.perf_counter()
    for file in FILES:
        np.asarray(ImageOps.fit(Image.open(file).convert("RGB"), (SIZE, SIZE), Image.Resampling.LANCZOS))
    return len(FILES) / (time.perf_counter() - began)


if __name__ == "__main__":
    print(f"{len(FILES)} images to {SIZE} pixels on {os.cpu_count()} cores")
    compare("prepare", ours, pillow, int(sys.argv[3]) if len(sys.argv) > 3 else 3, "samples/s")
