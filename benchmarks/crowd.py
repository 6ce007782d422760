"""Many at once on a local Ray: jobs that wait for each other, and people who look at a run while it trains.

    python benchmarks/crowd.py [JOBS] [LOOKS]

JOBS (30) small jobs of two workers are submitted one after the other with `--detach`; wanted is that each ends well, in
the order in which they came, and that what waits holds little memory. Meanwhile LOOKS (20) processes at a time call
`list`, `status` and `logs`; wanted is that each answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

JOB = """
name: crowd
data: {source: digits, size: 8}
generator: {use: mlp, hidden: 16, layers: 1, z: 4}
discriminator: {use: mlp, hidden: 16, layers: 1}
objective: {use: non_saturating}
batch: 64
until: 20 steps
every: {report: 10 steps, grid: 1G, checkpoint: 1G}
resources: {workers: 2, device: cpu}
"""
PATIENCE_S = 3600.0


class Site:
    """A folder with its own home, runs and local Ray."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {**os.environ, "GAN_DIST_HOME": str(root / "home"), "OMP_NUM_THREADS": "1"}
        (root / "job.yaml").write_text(JOB)

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from gan_dist.cli import main; main()", *words]
        return subprocess.Popen(
            command, cwd=self.root, env=self.environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, *words: str) -> str:
        process = self.start(*words)
        told, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"gan-dist {' '.join(words)} ended with {process.returncode}:\n{told}")
        return told

    def statuses(self) -> list[dict[str, object]]:
        return list(json.loads(self.run("list", "--json")))

    def drivers(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if "gan_dist.launch.driver" in process.cmdline() and str(self.root) in process.environ().get(
                    "GAN_DIST_HOME", ""
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found


def queue(site: Site, jobs: int) -> None:
    began = time.monotonic()
    for number in range(jobs):
        site.run("submit", "job.yaml", "--name", f"j{number:02}", "--detach")
    print(f"{jobs} submitted in {time.monotonic() - began:.0f} s", flush=True)
    most = 0
    while time.monotonic() - began < PATIENCE_S:
        rows = site.statuses()
        count = Counter(str(row["status"]) for row in rows)
        held = [process.memory_info().rss for process in site.drivers()]
        most = max(most, sum(held))
        if not count.keys() & {"pending", "waiting", "running"}:
            break
        time.sleep(5)
    print(
        f"after {time.monotonic() - began:.0f} s: {dict(count)}; drivers held at most {most / 2**30:.1f} GiB",
        flush=True,
    )
    ended = sorted(rows, key=lambda row: float(str(row.get("ended") or 0.0)))
    order = [str(row["id"]) for row in ended]
    print("in the order in which they came" if order == sorted(order) else f"order: {order}", flush=True)


def looks(site: Site, many: int) -> None:
    site.run("submit", "job.yaml", "--name", "seen", "--detach", "-o", "until=1G")
    while (status := json.loads(site.run("status", "seen", "--json"))["status"]) in ("pending", "waiting"):
        time.sleep(1)
    assert status == "running", status
    asked = [("list",), ("status", "seen"), ("logs", "seen")]
    began = time.monotonic()
    processes = [site.start(*asked[number % len(asked)]) for number in range(many)]
    codes = Counter(process.wait() for process in processes if process.communicate())
    print(f"{many} looks at a time in {time.monotonic() - began:.0f} s, exit codes {dict(codes)}")
    site.run("stop", "seen")


def main() -> int:
    jobs, many = (int(word) for word in (*sys.argv[1:], *("30", "20")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory(prefix="crowd-", dir="/tmp") as folder:
        site = Site(Path(folder))
        site.run("up")
        try:
            queue(site, jobs)
            looks(site, many)
        finally:
            site.run("down")
    return 0


if __name__ == "__main__":
    sys.exit(main())
