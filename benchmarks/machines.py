"""Runs on several machines, made out of this one by namespaces, of which one is harmed at a random moment.

    python -m benchmarks.machines [ROUNDS] [--seed S] [--only WORD]

A round starts three machines of one CPU each and an S3 server, submits a run of two workers to the first one's Ray,
does a harm, and compares the last weights with those of two processes without Ray, bit by bit. Wanted: no run ends but
as it would have. Needs root on Linux; a round takes two to four minutes on two cores.
"""

from __future__ import annotations

import argparse
import logging
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.ray import machines
from tests.ray.machines import Fleet

PATIENCE_S = 600.0
NOTICE_S = 20


def lose(fleet: Fleet) -> None:
    """A machine that trains loses its power."""
    fleet.with_a_worker().kill()


def warn_and_lose(fleet: Fleet) -> None:
    """A spot market takes a machine that trains, and says so before."""
    machine = fleet.with_a_worker()
    fleet.network.warn(machine, NOTICE_S)
    time.sleep(NOTICE_S)
    machine.kill()


def cut(fleet: Fleet) -> None:
    """The network of a machine that trains is away for a minute."""
    machine = fleet.with_a_worker()
    machine.cut_network()
    time.sleep(60)
    machine.mend_network()


JOB = machines.job_text().replace("160 steps", "500 steps")
HARMS: dict[str, Callable[[Fleet], None]] = {"lost": lose, "warned": warn_and_lose, "cut off": cut}


def undisturbed() -> dict[str, str]:
    """Checksums of the run that nobody harms, without Ray."""
    with tempfile.TemporaryDirectory(dir="/tmp") as root:
        (Path(root) / "job.yaml").write_text(JOB)
        return machines.undisturbed(Path(root) / "job.yaml", Path(root) / "alone")


def play(kind: str, draw: random.Random, expected: dict[str, str]) -> str:
    """One round, in words."""
    with tempfile.TemporaryDirectory(dir="/tmp") as root, machines.fleet(Path(root), 3) as fleet:
        (fleet.root / "job.yaml").write_text(JOB)
        following = fleet.submit("run")
        fleet.wait_for_checkpoints("run", draw.randint(1, 4), following)
        HARMS[kind](fleet)
        harmed = time.monotonic()
        seen = len(fleet.checkpoints("run"))
        fleet.wait_for_checkpoints("run", seen + 1, following)
        recovered = time.monotonic() - harmed
        told, _ = following.communicate(timeout=PATIENCE_S)
        same = fleet.checkpoints("run")[-1].meta["checksums"] == expected
        good = following.returncode == 0 and same and "Traceback" not in told
        said = next((line for line in told.splitlines() if "restart " in line or "taken away" in line), "nothing said")
        return f"{'ok ' if good else 'BAD'} {recovered:5.0f} s  {said.strip()}" + ("" if good else f"\n{told}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("rounds", nargs="?", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", metavar="WORD")
    given = parser.parse_args()
    if (why := machines.why_not()) is not None:
        raise SystemExit(why)
    kinds = [kind for kind in HARMS if given.only in kind]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request to the bucket
    bad, expected = 0, undisturbed()
    for number in range(given.rounds):
        kind = kinds[number % len(kinds)]
        try:
            found = play(kind, random.Random(f"{given.seed}:{number}"), expected)
        except (AssertionError, subprocess.TimeoutExpired, TimeoutError) as error:
            found = f"BAD {error}"
        bad += found.startswith("BAD")
        print(f"{number:3} {kind:8} {found}", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
