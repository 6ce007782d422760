"""How long `gan-dist list` takes over many stored runs that have ended: on a disk, and on an S3 server of this machine.

    python benchmarks/listing.py [RUNS]

Wanted over 1,000: below 2 s and 10 s, as a process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from statistics import median

from moto.server import ThreadedMotoServer

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


def seconds(storage: Folder, count: int) -> float:
    def once() -> float:
        began = time.perf_counter()
        told = subprocess.run(
            ["gan-dist", "list", "--storage", storage.uri], check=True, capture_output=True, text=True
        ).stdout
        assert told.count("succeeded") == count
        return time.perf_counter() - began

    return median(once() for _ in range(REPEATS))


def main(count: int) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= keys | {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_EC2_METADATA_DISABLED": "true"}
    import boto3

    boto3.client("s3").create_bucket(Bucket="runs")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GAN_DIST_HOME"] = f"{folder}/home"
        for name, storage in (("disk", Folder(f"{folder}/runs")), ("S3", Folder("s3://runs/many"))):
            make_runs(storage, count)  # of this person, so that the index knows each
            print(f"{name}: {count} runs in {seconds(storage, count):.1f} s", flush=True)
    server.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
