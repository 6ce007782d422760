"""Whether anything grows over a long run: memory, open files and threads of `gan-dist submit --local` over 100,000
iterations of a tiny job, and memory of what follows a run over 100,000 events.

    python benchmarks/leak.py [ITERATIONS]

Each is looked at four times a second; what is compared is the median of the last tenth with that of the second tenth,
after everything was used once. Flat is: memory within 5 % or 16 MiB, not one file or thread more.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil
from rich.console import Console

from gan_dist.launch.follow import LiveDisplay

JOB = {
    "name": "leak",
    "data": {"source": "digits", "size": 8},
    "generator": {"use": "mlp", "hidden": 8, "layers": 1, "z": 4},
    "discriminator": {"use": "mlp", "hidden": 8, "layers": 1},
    "objective": {"use": "non_saturating"},
    "ema": {"half_life": 1000},
    "batch": 8,
    "resources": {"device": "cpu"},
}
ALLOWED, SLACK = 1.05, 16 << 20
Look = tuple[int, int, int]  # bytes, open files, threads


def look(process: psutil.Process) -> Look:
    with process.oneshot():
        return process.memory_info().rss, process.num_fds(), process.num_threads()


def watch(iterations: int, folder: Path) -> tuple[list[Look], int]:
    """What a run held, four times a second, and its exit code."""
    every = max(1, iterations // 1000)
    cadence = {"report": f"{every} steps", "grid": f"{every * 10} steps", "checkpoint": f"{every * 10} steps"}
    job = folder / "job.json"
    job.write_text(json.dumps({**JOB, "until": f"{iterations} steps", "every": cadence}))
    command = [sys.executable, "-c", "from gan_dist.cli import main; main()", "submit", str(job), "--local"]
    command += ["--storage", str(folder / "runs")]
    found: list[Look] = []
    environment = {**os.environ, "GAN_DIST_HOME": str(folder / "home")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as run:
        process = psutil.Process(run.pid)
        while run.poll() is None:
            try:
                found.append(look(process))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.25)
    return [one for one in found if one[0]], run.returncode


def follow(events: int) -> list[Look]:
    """What this process holds while it follows a run."""
    display = LiveDisplay(Console(file=io.StringIO(), force_terminal=False), live=False)
    process, found = psutil.Process(), []
    for number in range(events):
        display.event(
            {
                "event": "progress",
                "seen": number * 8,
                "until": events * 8,
                "rate": 1000.0,
                "eta_s": 1.0,
                "values": {"loss/D": 0.7, "loss/G": 0.7},
                "workers": 1,
            }
        )
        display.console.file.seek(0)
        display.console.file.truncate()
        if number % (events // 200 or 1) == 0:
            found.append(look(process))
    return found


def told(name: str, found: list[Look]) -> bool:
    """Print a row; whether it is flat."""
    tenth = max(1, len(found) // 10)
    early = [median(column) for column in zip(*found[tenth : 2 * tenth], strict=True)]
    late = [median(column) for column in zip(*found[-tenth - 1 : -1], strict=True)]
    flat = late[0] <= max(early[0] * ALLOWED, early[0] + SLACK) and late[1] <= early[1] and late[2] <= early[2]
    print(
        f"{name:24} {early[0] / 2**20:8.1f} -> {late[0] / 2**20:8.1f} MiB  {early[1]:g} -> {late[1]:g} files  "
        f"{early[2]:g} -> {late[2]:g} threads  {'flat' if flat else 'GROWS'}",
        flush=True,
    )
    return flat


def main() -> int:
    iterations = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    flat = told(f"{iterations:,} events followed", follow(iterations))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        found, code = watch(iterations, Path(folder))
        lasted = time.perf_counter() - began
    flat = told(f"{iterations:,} iterations", found) and flat
    print(f"exit code {code} after {lasted:.0f} s")
    return int(not flat or code != 0)


if __name__ == "__main__":
    sys.exit(main())
