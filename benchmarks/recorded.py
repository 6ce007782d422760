"""Iterations/s of text jobs on a GPU, with calls recorded as CUDA graphs and without.

    python benchmarks/recorded.py [NAME...] [--repeats 3] [--seconds 3]

Each is one stage of a shipped job on a fresh oracle's sentences (vocabulary 5,000, length 20), in float32.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from networks import ours
from side_by_side import compare

from gan_dist.execution.local import read_rows
from gan_dist.launch.load_job import load_job
from gan_dist.networks.text import lstm, rmc
from gan_dist.runs.storage import Folder

ORACLE = {"modality": "text", "source": "oracle", "length": 20, "vocabulary": 5000, "count": 1280}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "likelihood, lstm": ("seqgan-oracle", {"objective": "mle", "penalties": []}),
    "likelihood, rmc": ("relgan-oracle", {"objective": "mle"}),
    "seqgan": ("seqgan-oracle", {"objective": {"use": "seqgan", "d_steps": 5}}),
    "relgan": ("relgan-oracle", {"objective": {"use": "relativistic", "d_steps": 5}}),
    "scratchgan": ("scratchgan-plain-news", {}),
}


def iterations(name: str, recorded: bool) -> Any:
    """The loop of a case."""
    job, changes = CASES[name]
    whole = {"data": ORACLE, "stages": None, "until": "1G", "metrics": [], "precision": "fp32", **changes}
    spec = load_job(Path("jobs") / f"{job}.yaml", whole)
    with tempfile.TemporaryDirectory() as cache:
        rows = read_rows(spec, Folder(cache), smoke=False, emit=lambda event: None)
    none: dict[str, Any] = {}
    kept = [
        patch.object(one.Generator, "recorded", one.Generator.recorded if recorded else none) for one in (lstm, rmc)
    ]
    with kept[0], kept[1]:
        return ours(spec, rows, torch.device("cuda"))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}; all without any")
    asked.add_argument("--repeats", type=int, default=3)
    asked.add_argument("--seconds", type=float, default=3.0, help="about how long each measurement takes")
    options = asked.parse_args()
    torch.set_num_threads(1)
    for name in options.names or CASES:
        loops = {recorded: iterations(name, recorded) for recorded in (True, False)}
        for loop in loops.values():
            loop(3)
        began = time.perf_counter()
        loops[False](3)
        torch.cuda.synchronize()
        count = max(4, round(options.seconds * 3 / (time.perf_counter() - began)))

        def rate(recorded: bool, loops: Any = loops, count: int = count) -> float:
            began = time.perf_counter()
            loops[recorded](count)
            torch.cuda.synchronize()
            return count / (time.perf_counter() - began)

        compare(name, lambda rate=rate: rate(True), lambda rate=rate: rate(False), options.repeats, "iterations/s")


if __name__ == "__main__":
    main()
