"""A sweep of many tiny trials: how busy it keeps two CPUs, and what grows or stays behind.

    python benchmarks/many_trials.py [TRIALS]

Fifty trials take some ten minutes on two cores. Wanted: the CPUs busy at least 80 % of the time between the first trial
and the last, and no more processes, open files or memory with the last trials than with the tenth. Printed are the
share of time in which a trial held each place, the share in which the machine's CPUs were busy (with whatever else runs
on it), what the cluster's processes held at the tenth trial and at the last, which kinds of them grew, and what was
left a little later.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil
from sweep import JOB, gan_dist

EVERY_S = 2.0
PLACES = 2
AFTER_S = 10.0


class Held(NamedTuple):
    """What the cluster's processes hold at one moment, and how many trials had ended."""

    ended: int
    processes: int
    files: int
    gib: float
    kinds: Counter[str]


def held(keeper: psutil.Process, ended: int) -> Held:
    processes, files, kinds = 0, 0, Counter[str]()
    for process in keeper.children(recursive=True):
        try:
            # Unlike the resident set, what is shared is counted once among those that share it.
            kinds[kind(process)] += process.memory_full_info().pss / 2**30
            processes, files = processes + 1, files + process.num_fds()
        except psutil.Error:
            continue
    return Held(ended, processes, files, sum(kinds.values()), kinds)


def kind(process: psutil.Process) -> str:
    """What a process is, from its command: a Ray worker's task, a program, or what Python runs."""
    words = process.cmdline() or [process.name()]
    if not Path(words[0]).name.startswith("python"):
        return Path(words[0]).name
    return next((Path(word).name for word in words[1:] if not word.startswith("-")), "python")


def events(record: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def left(cluster: dict[str, str], what: str, name: str) -> list[str]:
    """What of a kind Ray still has, by a field of it."""
    token = Path(cluster["token_path"]).read_text().strip()
    url = f"{cluster['address']}/api/v0/{what}?limit=10000"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})) as answer:
        rows = json.load(answer)["data"]["result"]["result"]
    return [row[name] for row in rows if row["state"] not in ("DEAD", "REMOVED")]


def run(trials: int) -> None:
    (lock,) = Path(os.environ["GAN_DIST_HOME"]).glob("local/*/keeper.lock")
    (record,) = Path(os.environ["GAN_DIST_HOME"]).glob("local/*/cluster.json")
    keeper = psutil.Process(json.loads(lock.read_text())["pid"])
    before = held(keeper, 0)
    Path("job.yaml").write_text(JOB.replace("trials: 6", f"trials: {trials}"))
    submitted = subprocess.Popen(["gan-dist", "submit", "job.yaml", "--name", "many"], stdout=subprocess.DEVNULL)
    seen, busy = list[Held](), list[float]()
    while submitted.poll() is None:
        time.sleep(EVERY_S)
        share = psutil.cpu_percent() / 100
        ended = sum(event["what"] == "result" for event in events(Path("runs/many/trials.jsonl")))
        if 1 <= ended < trials:
            seen.append(held(keeper, ended))
            busy.append(share)
    assert submitted.returncode == 0
    report(events(Path("runs/many/trials.jsonl")), seen, busy, trials)
    time.sleep(AFTER_S)
    print(f"before the sweep: {before}; {AFTER_S:.0f} s after it: {held(keeper, trials)}")
    cluster = json.loads(record.read_text())
    print(f"left: placement groups {left(cluster, 'placement_groups', 'state')}", end=", ")
    print(f"actors {left(cluster, 'actors', 'class_name')}")


def report(told: list[dict[str, Any]], seen: list[Held], busy: list[float], trials: int) -> None:
    begun = {event["number"]: event["time"] for event in told if event["what"] == "leg"}
    ended = {event["number"]: event["time"] for event in told if event["what"] == "result"}
    span = max(begun.values()) - min(begun.values())
    inside = sum(min(ended[number], max(begun.values())) - at for number, at in begun.items())
    print(f"{trials} trials, {span:.0f} s from the first's beginning to the last's: {span / (trials - 1):.1f} s each")
    print(f"places held by a trial {inside / (PLACES * span):.1%} of that time")
    print(f"the machine's CPUs busy {sum(busy) / len(busy):.1%} between the ends of the first and the last")
    kinds: list[Counter[str]] = []
    for name, some in (
        ("tenth", [one for one in seen if 5 <= one.ended <= 15]),
        ("last", [one for one in seen if one.ended >= trials - 10]),
    ):
        middle = [median(values) for values in list(zip(*some, strict=True))[1:4]]
        print(f"around the {name}: {middle[0]:.0f} processes, {middle[1]:.0f} open files, {middle[2]:.2f} GiB")
        names = set().union(*(one.kinds for one in some))
        kinds.append(Counter({name: median(one.kinds[name] for one in some) for name in names}))
    grown = {kind: kinds[1][kind] - kinds[0][kind] for kind in kinds[0] | kinds[1]}
    told = sorted(grown.items(), key=lambda item: -abs(item[1]))[:6]
    print(f"changed most, in MiB: {', '.join(f'{kind} {1024 * gib:+.0f}' for kind, gib in told)}")


if __name__ == "__main__":
    folder = tempfile.mkdtemp()
    os.environ |= {"GAN_DIST_HOME": f"{folder}/home"}
    os.environ.pop("GAN_DIST_STORAGE", None)
    os.chdir(folder)
    gan_dist("up", "--cpus", str(PLACES))
    try:
        run(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
    finally:
        gan_dist("down")
