"""From `gan-dist submit` to the end of the first iteration, against Ray's own job command with a bare TorchTrainer.

    python benchmarks/startup.py [REPEATS]

Both are submitted to the same running local cluster. Wanted: at most 1.25.
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

from side_by_side import compare

HERE = Path(__file__).parent
JOB = HERE.parent / "jobs" / "dcgan.yaml"


def gan_dist(*words: str) -> None:
    subprocess.run(["gan-dist", *words], check=True, capture_output=True)


def ours() -> float:
    name = f"start-{time.time_ns()}"
    began = time.time()
    gan_dist("submit", str(JOB), "-o", "until=3 steps", "-o", "every.report=1 steps", "--name", name)
    first = (Path("runs") / name / "scalars.jsonl").read_text().splitlines()[0]
    return float(json.loads(first)["time"]) - began


def hello() -> float:
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
    printed = subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout
    return min(float(moment) for moment in re.findall(r"BEGAN ([0-9.]+)", printed)) - began


if __name__ == "__main__":
    folder = tempfile.mkdtemp()
    os.environ["GAN_DIST_HOME"] = f"{folder}/home"
    os.chdir(folder)
    gan_dist("up")
    try:
        ours()
        hello()
        compare("start-up", ours, hello, int(sys.argv[1]) if len(sys.argv) > 1 else 5, "s")
    finally:
        gan_dist("down")
