"""Whether each kind of network learns: the Fréchet distance of small runs after each minute of one CPU thread.

    python benchmarks/curves.py FOLDER [--size 32] [--minutes 5] [--seeds 2] [--work WORK] [NAME ...]

FOLDER holds pictures, or a set that jobs read as one. Each shipped job is trained on it for so many minutes of this
process' own time, which other work on the machine does not change; measuring is not counted. `gat-xs` is the job of
that name in jobs/published/, with batches of 8, a learning rate to match and no average: it sees a hundred pictures a
minute. The table is no ranking: a CPU's minutes rank its kernels, and the jobs' widths are what their digits needed.
Curves that are in WORK already are taken from there, so that an interrupted call goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.ingest import Memory, load_into_memory
from gan_dist.data.prepare import prepare_or_load
from gan_dist.distributed.runtime import LocalRuntime
from gan_dist.evaluation.metric_runner import MetricRunner
from gan_dist.generation.model import load
from gan_dist.launch.load_job import load_job
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec, MetricSpec
from gan_dist.training.trainer import train_run

ROOT = Path(__file__).parents[1]
JOBS = {name: name for name in ("r3gan", "r3gan2", "gat", "stylegan2-ada", "diffusion")}
JOBS["gat-xs"] = "published/gat-xs"
OF_A_CPU: dict[str, dict[str, Any]] = {"gat-xs": {"batch": 8, "optimizer.lr": 2e-4, "ema": None, "precision": "fp32"}}
SAMPLES = "1k"
NEVER = "1G"
CPU = torch.device("cpu")


def spec_of(name: str, folder: Path, size: int, seed: int) -> JobSpec:
    """A shipped job on other pictures, without an end and without writing anything between."""
    every = dict.fromkeys(("report", "grid", "checkpoint", "metrics"), NEVER)
    changes: dict[str, Any] = {"data.source": str(folder), "data.size": size, "data.labels": "none", "seed": seed}
    changes |= {"until": NEVER, "metrics": [], "every": every, **OF_A_CPU.get(name, {})}
    return load_job(ROOT / "jobs" / f"{JOBS[name]}.yaml", changes)


def read(spec: JobSpec, work: Path) -> Memory:
    found = prepare_or_load(
        spec.data, Folder.at(work / "prepared"), executor=write_shards_on_processes, progress=lambda done, total: None
    )
    return load_into_memory(found, spec.seed, spec.batch)


def minute(spec: JobSpec, rows: Memory, folder: RunFolder, number: int) -> int:
    """Train for a minute of this process from where the run stands; the samples seen."""
    ends = time.process_time() + 60

    def over() -> bool:
        return time.process_time() > ends

    run = LocalRuntime(CPU, lambda event: None, over)
    return int(train_run(spec, run=run, rows=rows, folder=folder, attempt=number)["seen"])


def distance(folder: RunFolder, rows: Memory, measured: MetricRunner) -> float:
    """Of the newest checkpoint's samples to all pictures."""
    model = load(folder)
    draw = model.modality.metric_draw(model.generator, rows, 0, CPU)
    (found,) = measured.measure(draw, rows).values()
    return found


def curve(name: str, args: argparse.Namespace, seed: int) -> dict[str, list[float]]:
    """Distances after each minute, and samples seen."""
    kept = args.work / f"{name}-{seed}.json"
    known: dict[str, list[float]] = json.loads(kept.read_text()) if kept.exists() else {"distance": [], "seen": []}
    spec = spec_of(name, args.folder, args.size, seed)
    rows, folder = read(spec, args.work), RunFolder(Folder.at(args.work / "runs" / f"{name}-{seed}"))
    run = LocalRuntime(CPU, lambda event: None, lambda: False)
    metric = MetricSpec.model_validate({"use": "frechet", "samples": SAMPLES})
    measured = MetricRunner(metrics=[metric], facts=rows.facts, cache=Folder.at(args.work / "measured"), run=run)
    for number in range(len(known["seen"]), args.minutes):
        known["seen"].append(minute(spec, rows, folder, number + 1))
        known["distance"].append(distance(folder, rows, measured))
        kept.write_text(json.dumps(known))
        told = f"{known['distance'][-1]:.3f} after {known['seen'][-1]:,} samples"
        print(f"{name}, seed {seed}, minute {number + 1}: {told}", flush=True)
    return known


def row(name: str, found: list[dict[str, list[float]]], minutes: int) -> str:
    """A line of the table: each minute's distances, one of each seed."""
    cells = [" / ".join(f"{one['distance'][at]:.2f}" for one in found) for at in range(minutes)]
    seen = " / ".join(f"{one['seen'][-1] / 1000:.1f}k" for one in found)
    return f"| `{name}` | {' | '.join(cells)} | {seen} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--minutes", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("curves"))
    args = parser.parse_intermixed_args()
    if unknown := [name for name in args.names if name not in JOBS]:
        raise SystemExit(f"no curve {unknown[0]!r}; there are {', '.join(JOBS)}")
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, list[float]]]] = {name: [] for name in args.names or JOBS}
    for seed in range(args.seeds):
        for name in found:
            found[name].append(curve(name, args, seed))
    print(f"| job | {' | '.join(f'{at + 1} min' for at in range(args.minutes))} | samples |")
    print("|---" * (args.minutes + 2) + "|")
    for name, curves in found.items():
        print(row(name, curves, args.minutes))


if __name__ == "__main__":
    main()
