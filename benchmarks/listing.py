"""How long `gan-dist list` takes over many stored runs that have ended: on a disk, and on an S3 server of this machine.

    python benchmarks/listing.py [RUNS]

Wanted over 1,000: below 2 s and 10 s, as a process. The server is part of this process, and its CPU time is told apart.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from statistics import median

from local_bucket import bucket

from gan_dist.runs.index import remember_run
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder

REPEATS = 3


def make_runs(storage: Folder, count: int) -> None:
    for number in range(count):
        run = RunFolder(storage.child(f"run-{number:05}"))
        run.folder.write_json("request.json", {"run_id": run.id, "job": {"name": "x"}, "created": float(number)})
        remember_run(run)
        run.update(status="succeeded", seen=64_000, until=64_000, attempt=1, started=float(number), owner="ada")


def measure(storage: Folder, count: int) -> str:
    """Median seconds on the wall, of CPU time in the command itself, and of CPU time in this process."""
    took = []
    for _ in range(REPEATS):
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        own = time.process_time()
        command = ["gan-dist", "list", "--storage", storage.uri]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert told.count("succeeded") == count
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        took.append((time.perf_counter() - began, cpu, time.process_time() - own))
    wall, cpu, server = (median(values) for values in zip(*took, strict=True))
    return f"{wall:.1f} s; CPU: {cpu:.1f} s in the command, {server:.1f} s in the server"


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder, bucket() as remote:
        os.environ["GAN_DIST_HOME"] = f"{folder}/home"
        for name, storage in (("disk", Folder(f"{folder}/runs")), ("S3", Folder(f"{remote}/many"))):
            make_runs(storage, count)  # of this person, so that the index knows each
            print(f"{name}: {count} runs in {measure(storage, count)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
