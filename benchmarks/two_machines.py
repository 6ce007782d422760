"""Samples/s of two workers on two machines, against the same two on one: machines made of namespaces, whose network has
neither the delay nor the limits of a real one.

    python -m benchmarks.two_machines [REPEATS]      (from the root of the repository)

Each is `jobs/dcgan.yaml` for 300 iterations on the same Ray, with S3 storage; the figure is the median over reports of
the time spent in iterations. Wanted: at least 0.9. Needs root on Linux.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.side_by_side import compare
from gan_dist.runs.storage import Folder
from tests.ray import machines
from tests.ray.machines import Fleet

PATIENCE_S = 600.0
SHARED = "{workers: 2, device: cpu, cpus_per_worker: 0.5, placement: PLACEMENT}"
ENV = "[AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION]"


def rate(fleet: Fleet, placement: str) -> float:
    """Samples/s of a new run whose workers stand as `placement` says."""
    name = f"{placement.replace('_', '-')}-{time.time_ns()}"
    resources = SHARED.replace("PLACEMENT", placement)
    following = fleet.submit(name, "-o", f"resources={resources}")
    told, _ = following.communicate(timeout=PATIENCE_S)
    if following.returncode:
        raise SystemExit(told)
    lines = Folder(f"s3://runs/{name}").read("scalars.jsonl").decode().splitlines()
    return median(json.loads(line)["speed/step_samples_per_s"] for line in lines[1:])


def main() -> None:
    if (why := machines.why_not()) is not None:
        raise SystemExit(why)
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    shipped = (machines.ROOT / "jobs" / "dcgan.yaml").resolve()
    changes = "until: 300 steps\nevery: {report: 50 steps, grid: 10000 steps, checkpoint: 10000 steps}\nmetrics: []\n"
    with tempfile.TemporaryDirectory(dir="/tmp") as root, machines.fleet(Path(root), 3) as fleet:
        (fleet.root / "job.yaml").write_text(f"extends: {shipped}\n{changes}environment: {{env: {ENV}}}\n")
        ours, theirs = (partial(rate, fleet, placement) for placement in ("one_per_node", "one_node"))
        compare("two machines against one", ours, theirs, repeats, "samples/s")


if __name__ == "__main__":
    main()
