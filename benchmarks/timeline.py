"""Second by second, what a run on a local Ray that is there already waits for: from `gan-dist submit` to the first
iteration, and from the last checkpoint to the prompt.

    python benchmarks/timeline.py [REPEATS]

It watches what the run writes and which processes come and go, twenty times a second. Each step ends with what is seen
then; medians of the runs after the first. The table is that of `gan-dist help start`.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import psutil
from startup import JOB, gan_dist, keeper, own_ray

LOOK_S = 0.05
# What a step ends with, whose time it is, and what is done in it.
STEPS = {
    "sent": ("ours", "the command reads the job and checks it"),
    "supervisor": ("Ray's", "the job is handed over; Ray starts a process that looks after it"),
    "driver": ("Ray's", "which starts the job's own"),
    "reading": ("both", "it imports Ray, joins the cluster, takes its turn and the run"),
    "controller": ("both", "the data are read, and Ray Train starts its controller; torch is loaded meanwhile"),
    "group": ("Ray's", "the controller starts the workers; each imports Ray and torch, and they form a group"),
    "began": ("ours", "they get the data and build the networks; the first grid is drawn"),
    "first": ("ours", "the first iteration, reported"),
    "saved": ("-", "the run, its metrics, and its last checkpoint"),
    "ended": ("both", "the workers are let go; the run is told to have ended"),
    "gone": ("Ray's", "the job's process leaves the cluster"),
    "prompt": ("both", "Ray says that the job has ended; the command says what became of the run"),
}
PROCESSES = {"ray::JobSupervisor": "supervisor", "gan_dist.launch.driver": "driver"}
LINES = {
    '"text": "reading data"': "reading",
    "Requesting resources": "controller",
    "Started training worker group": "group",
    '"event": "progress"': "first",
    '"event": "end"': "ended",
}
FILES = {"request.json": "sent", "grids/000000000000.png": "began", "checkpoints/*/meta.json": "saved"}


class Watch:
    """When each thing of a run was first seen."""

    def __init__(self, run: Path) -> None:
        self.run, self.seen, self.over = run, dict[str, float](), threading.Event()
        self.root = psutil.Process(keeper())
        self.known = dict[int, str]()
        for one in self.root.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                self.known[one.pid] = " ".join(one.cmdline())
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()

    def end(self) -> None:
        self.over.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.over.wait(LOOK_S):
            there = {*self._processes(), *self._lines(), *(name for path, name in FILES.items() if self._is(path))}
            for name in there:
                self.seen.setdefault(name, time.time())
            if "driver" in self.seen and "driver" not in there:
                self.seen.setdefault("gone", time.time())

    def _processes(self) -> Iterator[str]:
        """Of what a command line has in it. Ray's processes become what they are wanted for, and some of the job before
        may still be there."""
        for process in self.root.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                told = " ".join(process.cmdline())
                if self.known.get(process.pid) != told:
                    yield from (name for part, name in PROCESSES.items() if part in told)

    def _lines(self) -> Iterator[str]:
        log = self.run / "logs" / "attempt-1.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        yield from (name for part, name in LINES.items() if part in text)

    def _is(self, path: str) -> bool:
        return next(self.run.glob(path), None) is not None


def moments(repeat: int) -> dict[str, float]:
    """Seconds since the command began, by the name of a step's end."""
    run = Path("runs") / f"timeline-{repeat}"
    began = time.time()
    watch = Watch(run)
    gan_dist("submit", str(JOB), "-o", "until=3 steps", "-o", "every.report=1 steps", "--name", run.name)
    watch.seen["prompt"] = time.time()
    watch.end()
    return {name: moment - began for name, moment in watch.seen.items()}


def main(repeats: int) -> None:
    with own_ray():
        found = [moments(repeat) for repeat in range(repeats + 1)][1:]
    for one in found:
        print({name: round(value, 2) for name, value in sorted(one.items(), key=lambda pair: pair[1])})
    print("| seconds | until then | whose | what |\n|---|---|---|---|")
    before = 0.0
    for name, (whose, what) in STEPS.items():
        values = [one[name] for one in found if name in one]
        if not values:
            continue
        until = median(values)
        print(f"| {until - before:.1f} | {until:.1f} | {whose} | {what} |")
        before = until


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
