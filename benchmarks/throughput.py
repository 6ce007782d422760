"""Steady samples/s of `gan-dist submit jobs/dcgan.yaml` on two CPU workers, against a hand-written DDP loop, plain and
tuned.

    python benchmarks/throughput.py [REPEATS]      (from the root of the repository)

Ours is the median over reports of the time spent in iterations, EMA and logging included. Wanted: at least 1.0.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from side_by_side import compare

ENVIRON = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONPATH": "."}


def ours() -> float:
    name = f"rate-{time.time_ns()}"
    command = [
        "gan-dist",
        "submit",
        "jobs/dcgan.yaml",
        "-o",
        "until=32k",
        "-o",
        "resources={workers: 2, device: cpu}",
        "--name",
        name,
    ]
    subprocess.run(command, check=True, capture_output=True)
    lines = (Path(os.environ["GAN_DIST_STORAGE"]) / name / "scalars.jsonl").read_text().splitlines()
    return median(json.loads(line)["speed/step_samples_per_s"] for line in lines[1:])


def by_hand(*options: str) -> float:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "benchmarks/plain_ddp.py",
        *options,
    ]
    printed = subprocess.run(command, env=ENVIRON, check=True, capture_output=True, text=True).stdout
    return float(re.findall(r"RATE ([0-9.]+)", printed)[0])


if __name__ == "__main__":
    folder = tempfile.mkdtemp()
    os.environ |= {"GAN_DIST_HOME": f"{folder}/home", "GAN_DIST_STORAGE": f"{folder}/runs"}
    subprocess.run(["gan-dist", "up"], check=True, capture_output=True)
    try:
        repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
        compare("a plain loop", ours, by_hand, repeats, "samples/s")
        compare("a tuned loop", ours, lambda: by_hand("--tuned"), repeats, "samples/s")
    finally:
        subprocess.run(["gan-dist", "down"], check=True, capture_output=True)
