"""The table of benchmarks/README.md, of one machine in one run:

    python -m benchmarks.table [ROW ...] [--images FOLDER] [--peer FOLDER] [--peers FOLDER] [--repeats 3]

Runs the benchmarks that compare with something, one after the other, and writes what each found in the place of the
table. A row that cannot be run here says why. All of them take about an hour of two cores.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from gan_dist.distributed.processor import describe_machine

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- table: python -m benchmarks.table -->", "<!-- end of table -->"
HEAD = "| what | ratio | least and most | pairs | wanted | command |\n|---|---|---|---|---|---|"
PAIR = re.compile(r"^(?P<name>.+) \d+: ours .*, ratio (?P<ratio>[\d.]+)$")
CURVE = re.compile(r"^(?P<what>.+?): (?P<points>.+); exponent (?P<exponent>-?[\d.]+)$")
GROWTH, GROWTH_HEAD = "-m benchmarks.growth", "| what | at each size | exponent |\n|---|---|---|"
LIMIT_S = 2400


@dataclass(frozen=True)
class Bench:
    """A benchmark, and what is wanted of its ratios by a part of their names; the first that fits counts.

    Attributes:
        words: of its command after `python`; `{repeats}`, `{images}` and `{peer}` are filled in.
        wanted: (part of a name, what is wanted); a name that none fits has no row.
    """

    words: str
    wanted: tuple[tuple[str, str], ...]


BENCHES = {
    "networks": Bench("benchmarks/networks.py --repeats {repeats}", (("by wall", ""), ("", "at least 1.0"))),
    "throughput": Bench("benchmarks/throughput.py {repeats}", (("", "at least 1.0"),)),
    "startup": Bench("benchmarks/startup.py {repeats}", (("by wall", "at most 1.25"), ("by cpu", "at most 1.05"))),
    "image-peer": Bench("-m benchmarks.image_peer --peers {peers} --repeats {repeats}", (("", "at least 1.0"),)),
    "two-machines": Bench("-m benchmarks.two_machines {repeats}", (("", "at least 0.9"),)),
    "submission": Bench("benchmarks/submission.py {repeats}", (("", "at most 1.2"),)),
    "sweep": Bench("benchmarks/sweep.py {repeats}", (("", "at most 1.15"),)),
    "text-peer": Bench(
        "benchmarks/text_peer.py --peer {peer} --repeats {repeats}",
        (("likelihood", "at least 1.0"), ("seqgan", "at least 4"), ("relgan", "at least 1.5")),
    ),
    "rollouts": Bench("benchmarks/rollouts.py --repeats {repeats}", (("", "at least 1.5"),)),
    "data-prepare": Bench("benchmarks/data.py prepare {repeats}", (("", "at least 1.0"),)),
    "data-stream": Bench("benchmarks/data.py stream {repeats}", (("", "at least 1.0"),)),
    "data-memory": Bench("benchmarks/data.py memory {repeats}", (("", "at least 0.6"),)),
    "ingest": Bench("benchmarks/ingest.py {images} {repeats}", (("memory", "at least 1.0"), ("stream", "at least 2"))),
    "prepare": Bench("benchmarks/prepare.py {images} 64 {repeats}", (("prepare by wall", "at least 0.8 x cores"),)),
    "judging": Bench("benchmarks/judging.py {repeats}", (("by wall", "at least 1.6"),)),
}


def rows(name: str, given: dict[str, str]) -> Iterator[str]:
    """The rows of a benchmark, which is run."""
    bench = BENCHES[name]
    if missing := [key for key, value in given.items() if not value and f"{{{key}}}" in bench.words]:
        yield f"| {name} | not run: no folder was named (`--{missing[0]}`) | | | | `python {bench.words}` |"
        return
    words = bench.words.format(**given)
    told = bench.words.format(**{**given, "images": "FOLDER", "peer": "FOLDER", "peers": "FOLDER"})
    printed, why = run(words)
    ratios: dict[str, list[float]] = {}
    for line in printed:
        if found := PAIR.match(line):
            ratios.setdefault(found["name"], []).append(float(found["ratio"]))
    for what, values in ratios.items():
        wanted = next((wish for part, wish in bench.wanted if part in what), "")
        if wanted:
            spread = f"{min(values):.2f} to {max(values):.2f}"
            yield f"| {what} | **{median(values):.2f}** | {spread} | {len(values)} | {wanted} | `python {told}` |"
    if why:
        yield f"| {name} | {why[:120]} | | | | `python {told}` |"


def curves() -> Iterator[str]:
    """The rows of `benchmarks/growth.py`, which is run."""
    printed, why = run(GROWTH)
    for line in printed:
        if found := CURVE.match(line):
            yield f"| {found['what']} | {found['points']} | **{found['exponent']}** |"
    if why:
        yield f"| {why[:120]} | | |"


def run(words: str) -> tuple[list[str], str]:
    """The lines that a benchmark prints, and why it did not end well, if so."""
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "."}
    try:
        done = subprocess.run(
            [sys.executable, *words.split()], env=environ, capture_output=True, text=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        printed = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        return printed.splitlines(), f"not ended after {LIMIT_S} s"
    said = (done.stderr.strip().splitlines() or [""])[-1]
    return done.stdout.splitlines(), f"ended with {done.returncode}: {said}" if done.returncode else ""


def write(found: list[str], grown: list[str]) -> None:
    """Put the rows in the place of the table."""
    machine = describe_machine(torch.device("cpu"))
    load = os.getloadavg()[2]
    when = (
        f"Of {datetime.date.today()}, on {os.cpu_count()} cores of {machine['cpu']} ({machine['instructions']}), torch "
        f"{torch.__version__}, at a load of {load:.1f} in its last quarter of an hour."
    )
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    told = [before + BEGIN, when, "", HEAD, *found, "", f"What grows with what (`python {GROWTH}`):", "", GROWTH_HEAD]
    README.write_text("\n".join([*told, *grown, END]) + after)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("names", nargs="*", metavar="ROW", help=", ".join(BENCHES))
    asked.add_argument("--images", default="", help="a folder of images, for what decodes them")
    asked.add_argument("--peer", default="", help="a checkout of TextGAN-PyTorch")
    asked.add_argument("--peers", default="", help="a folder of checkouts of authors' code of images")
    asked.add_argument("--repeats", type=int, default=3)
    options = asked.parse_args()
    if unknown := sorted(set(options.names) - set(BENCHES)):
        asked.error(f"no benchmarks: {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    given = {"images": options.images, "peer": options.peer, "peers": options.peers, "repeats": str(options.repeats)}
    found: list[str] = []
    for name in options.names or BENCHES:
        for row in rows(name, given):
            print(row, flush=True)
            found.append(row)
    write(found, list(curves()))


if __name__ == "__main__":
    main()
