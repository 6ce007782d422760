"""How long `gan-dist submit --detach` takes, against Ray's own submission of an empty job to the same cluster.

    python benchmarks/submission.py [REPEATS]

The cluster is a local Ray; it is submitted to as our own, whose code is read in place, and as another one, to which
gan_dist itself is sent. Wanted: at most 1.2.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from local_bucket import bucket
from side_by_side import compare
from startup import own_ray

JOB = Path(__file__).parents[1] / "jobs" / "mlp.yaml"


def timed(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main(repeats: int) -> None:
    with own_ray() as folder:
        (record,) = folder.glob("home/local/*/cluster.json")
        cluster = json.loads(record.read_text())
        address = cluster["address"]

        def submit(*words: str) -> float:
            name = f"empty-{time.time_ns()}"
            took = timed("gan-dist", "submit", str(JOB), "--detach", "--name", name, *words)
            subprocess.run(["gan-dist", "stop", name], capture_output=True)  # if it is one still
            return took

        def empty() -> float:
            return timed("ray", "job", "submit", "--no-wait", "--address", address, "--", "true")

        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": cluster["token_path"]}
        submit()
        empty()
        compare("to our local Ray", submit, empty, repeats, "s")
        os.environ["GAN_DIST_HOME"] = f"{folder}/other"  # which knows of no local Ray
        with bucket() as storage:
            compare("to another", lambda: submit("--address", address, "--storage", storage), empty, repeats, "s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
