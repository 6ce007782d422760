"""The share of training time that a worker waits for data, with dcgan, by ingest and size.

    python benchmarks/waiting.py [SOURCE]

Wanted: below 0.02. It is the job's own `speed/data_wait_share`, over all reports but the first.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from gan_dist import api

JOB = Path(__file__).parents[1] / "jobs" / "dcgan.yaml"
SOURCE = sys.argv[1] if len(sys.argv) > 1 else "digits"
SIZES, INGESTS, REPORTS = (32, 64), ("memory", "stream"), 6


def share(size: int, ingest: str, storage: str) -> float:
    each = 4096 * 32**2 // size**2
    overrides = {
        "data.source": str(Path(SOURCE).absolute()) if SOURCE != "digits" else SOURCE,
        "data.size": size,
        "data.ingest": ingest,
        "metrics": [],
        "until": REPORTS * each,
        "every": {"report": each, "grid": "1G", "checkpoint": "1G"},
    }
    run = api.train(JOB, overrides, storage=storage)
    return statistics.mean(report["speed/data_wait_share"] for report in run.reports()[1:])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as storage:
        for size in SIZES:
            for ingest in INGESTS:
                print(f"{ingest:7} {size} pixels: {share(size, ingest, storage):.4f} of the time", flush=True)
