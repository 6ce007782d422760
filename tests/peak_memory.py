"""Trains the job in FOLDER/job.json and prints the bytes that preflight tells of it, and those that it took at most:

python -m tests.peak_memory FOLDER
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import psutil
import torch

from gan_dist.execution.local import read_rows
from gan_dist.execution.text_memory import step_memory
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from tests.helpers import train


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    spec = JobSpec.model_validate(json.loads((folder / "job.json").read_text()))
    rows = read_rows(spec, Folder.at(folder / "prepared"), smoke=False, emit=lambda event: None)
    told = step_memory(spec, rows.facts, 1)
    assert told is not None
    held = psutil.Process().memory_info().rss
    train(spec, folder / "run", rows=rows)
    # `ru_maxrss` would count what the parent held when it started this process.
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print(told.total, int(peak[1]) * 1024 - held)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
