"""Fixed cost of a trial: a sweep of trials of three iterations, against Ray Tune with a bare TorchTrainer in each.

    python benchmarks/sweep.py [REPEATS]

Both run as jobs of the same local cluster of four CPUs, six trials of one worker, two at a time; what is timed is from
submission to the end, for each trial. A pair takes three minutes on two cores. Wanted: at most 1.15.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from side_by_side import compare

HERE = Path(__file__).parent
TRIALS = 6
JOB = """
name: swept
data: {source: digits, size: 8}
generator: {use: mlp, hidden: 8, layers: 1, z: 4}
discriminator: {use: mlp, hidden: 8, layers: 1}
objective: {use: non_saturating}
batch: 64
until: 3 steps
resources: {workers: 1}
sweep:
  metric: loss/D
  trials: 6
  concurrent: 2
  space: {optimizer.lr: {loguniform: [1e-4, 1e-3]}}
"""


def gan_dist(*words: str) -> None:
    subprocess.run(["gan-dist", *words], check=True, capture_output=True)


def ours() -> float:
    Path("job.yaml").write_text(JOB)
    began = time.time()
    gan_dist("submit", "job.yaml", "--name", f"swept-{time.time_ns()}")
    return (time.time() - began) / TRIALS


def bare() -> float:
    (record,) = Path(os.environ["GAN_DIST_HOME"]).glob("local/*/cluster.json")
    cluster = json.loads(record.read_text())
    environ = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": cluster["token_path"]}
    script = [sys.executable, str(HERE / "bare_tune.py"), str(TRIALS)]
    command = ["ray", "job", "submit", "--address", cluster["address"], "--", *script]
    began = time.time()
    subprocess.run(command, env=environ, check=True, capture_output=True)
    return (time.time() - began) / TRIALS


if __name__ == "__main__":
    folder = tempfile.mkdtemp()
    os.environ["GAN_DIST_HOME"] = f"{folder}/home"
    os.chdir(folder)
    gan_dist("up", "--cpus", "4")
    try:
        ours()
        bare()
        compare("fixed cost of a trial", ours, bare, int(sys.argv[1]) if len(sys.argv) > 1 else 2, "s")
    finally:
        gan_dist("down")
