"""From `gan-dist submit` to the end of the first iteration, against Ray's own job command with a bare TorchTrainer; and
how long after its last checkpoint a run gives the prompt back.

    python benchmarks/startup.py [REPEATS]

Both are submitted to the same running local cluster. CPU time is that of the cluster's processes and of the command,
looked at ten times a second. Wanted: at most 1.25 by the clock and 1.05 by CPU time, and the prompt within 2 s.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import psutil
from side_by_side import Rates, compare_rates

HERE = Path(__file__).parent
JOB = HERE.parent / "jobs" / "dcgan.yaml"


class Meter:
    """The CPU seconds that processes below some have used, as time goes on."""

    def __init__(self, *roots: int) -> None:
        self.roots = [psutil.Process(pid) for pid in roots]
        self.used: dict[tuple[int, float], float] = {}
        self.seen: list[tuple[float, float]] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Meter:
        self._look()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def until(self, moment: float) -> float:
        """CPU seconds from the beginning to a moment."""
        return next((used for at, used in self.seen if at >= moment), self.seen[-1][1]) - self.seen[0][1]

    def _watch(self) -> None:
        while not self.over.wait(0.1):
            self._look()

    def _look(self) -> None:
        for process in [one for root in self.roots for one in (root, *root.children(recursive=True))]:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                self.used[process.pid, process.create_time()] = times.user + times.system
        self.seen.append((time.time(), sum(self.used.values())))


AFTER: list[float] = []  # seconds from each last checkpoint to the prompt


def gan_dist(*words: str) -> None:
    subprocess.run(["gan-dist", *words], check=True, capture_output=True)


@contextlib.contextmanager
def own_ray() -> Iterator[Path]:
    """A folder to work in, with a home and a local Ray of its own, which end with it."""
    folder = tempfile.mkdtemp()
    os.environ["GAN_DIST_HOME"] = f"{folder}/home"
    os.chdir(folder)
    gan_dist("up")
    try:
        yield Path(folder)
    finally:
        os.environ["GAN_DIST_HOME"] = f"{folder}/home"  # whatever home was wanted meanwhile
        gan_dist("down")


def keeper() -> int:
    """The process that keeps the local cluster."""
    (lock,) = Path(os.environ["GAN_DIST_HOME"]).glob("local/*/keeper.lock")
    return int(json.loads(lock.read_text())["pid"])


def ours() -> Rates:
    name = f"start-{time.time_ns()}"
    began = time.time()
    with Meter(os.getpid(), keeper()) as meter:
        gan_dist("submit", str(JOB), "-o", "until=3 steps", "-o", "every.report=1 steps", "--name", name)
    folder = Path("runs") / name
    AFTER.append(time.time() - max(meta.stat().st_mtime for meta in folder.glob("checkpoints/*/meta.json")))
    first = float(json.loads((folder / "scalars.jsonl").read_text().splitlines()[0])["time"])
    return Rates(first - began, meter.until(first))


def hello() -> Rates:
    (record,) = Path(os.environ["GAN_DIST_HOME"]).glob("local/*/cluster.json")
    cluster = json.loads(record.read_text())
    environ = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": cluster["token_path"]}
    command = [
        "ray",
        "job",
        "submit",
        "--address",
        cluster["address"],
        "--",
        sys.executable,
        str(HERE / "hello_trainer.py"),
    ]
    began = time.time()
    with Meter(os.getpid(), keeper()) as meter:
        printed = subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout
    first = min(float(moment) for moment in re.findall(r"BEGAN ([0-9.]+)", printed))
    return Rates(first - began, meter.until(first))


if __name__ == "__main__":
    with own_ray():
        ours()
        hello()
        AFTER.clear()
        compare_rates("start-up", ours, hello, int(sys.argv[1]) if len(sys.argv) > 1 else 5, "s")
        spread = f"({min(AFTER):.1f} to {max(AFTER):.1f})"
        print(f"the prompt is back {median(AFTER):.1f} s after the last checkpoint {spread}")
