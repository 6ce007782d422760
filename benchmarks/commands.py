"""How long `gan-dist --help` and `gan-dist validate` take as processes: medians, in seconds.

    python benchmarks/commands.py

Wanted: below 0.5 and 1.5.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from statistics import median

JOB = Path(__file__).parents[1] / "jobs" / "dcgan.yaml"


def seconds(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    for words in (("gan-dist", "--help"), ("gan-dist", "validate", str(JOB))):
        seconds(*words)
        print(f"{' '.join(words[:2])}: {median(seconds(*words) for _ in range(9)):.2f} s")
