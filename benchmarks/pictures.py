"""How long a grid, a GIF and a report of a run take as commands, less the start of Python and torch; and on the CPU.

    python benchmarks/pictures.py RUN

Wanted: each below 10 s.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

START = (sys.executable, "-c", "from gan_dist.cli import main; main()")
COMMANDS = {
    "grid": ("sample", "{run}"),
    "gif": ("sample", "{run}", "--interpolate", "sphere", "--seed", "1-4", "--steps", "24", "--out", "way.gif"),
    "report": ("compare", "{run}", "{run}", "--report", "report.html"),
}


def seconds(*command: str) -> tuple[float, float]:
    """Wall clock and CPU time of a process."""
    began, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, used


if __name__ == "__main__":
    run = os.path.abspath(sys.argv[1]) if os.path.isdir(sys.argv[1]) else sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        start = seconds(sys.executable, "-c", "import torch, gan_dist.api")
        for name, words in COMMANDS.items():
            whole = seconds(*START, *(word.format(run=run) for word in words))
            wall, cpu = (one - other for one, other in zip(whole, start, strict=True))
            print(f"{name}: {wall:.1f} s, of CPU {cpu:.1f} s, after a start of {start[0]:.1f} s", flush=True)
