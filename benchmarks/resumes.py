"""Runs that are stopped at random moments and go on with another number of workers, another micro-batch and data that
come another way, and whether each ends as `gan-dist help resume` promises.

    python -m benchmarks.resumes [N] [--seed S]

Equal workers and micro-batches must give the last bit of the weights of a run that nobody stopped, wherever the data
come from; others the same clock, the same samples in the same order, and weights that differ by rounding, which float64
keeps below 1e-9. The networks couple no samples of a batch. Processes are joined by gloo, without Ray.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_dist.runs.checkpoint import Checkpoint, stored
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from tests.integration.gang import Training, train_together

STEPS, BATCH = 24, 48
ROUNDING = 1e-9
JOBS: dict[str, dict[str, Any]] = {
    "wgan-gp": {
        "generator": {"use": "mlp", "hidden": 16, "layers": 1},
        "discriminator": {"use": "mlp", "hidden": 16, "layers": 1},
        "objective": {"use": "wasserstein", "d_steps": 2},
        "penalties": [{"use": "wgan_gp"}],
    },
    "sngan": {
        "generator": {"use": "mlp", "hidden": 16, "layers": 1},
        "discriminator": {"use": "sngan", "width": 4},
        "objective": {"use": "hinge"},
        "ema": {"half_life": 200},
    },
    "r3gan": {
        "generator": {"use": "mlp", "hidden": 16, "layers": 1},
        "discriminator": {"use": "mlp", "hidden": 16, "layers": 1},
        "objective": {"use": "relativistic"},
        "penalties": [{"use": "r1", "gamma": 0.1}, {"use": "r2", "gamma": 0.1, "every": 4}],
    },
}


@dataclass(frozen=True)
class Setting:
    """What may change between the attempts at a run."""

    workers: int
    micro_batch: int | None
    ingest: str

    @classmethod
    def drawn(cls, draw: random.Random) -> Setting:
        return cls(draw.choice((1, 2, 3)), draw.choice((None, None, 4, 8)), draw.choice(("memory", "stream")))

    def sums_as(self, other: Setting) -> bool:
        """Whether sums over a batch are made of the same parts in the same order."""
        return (self.workers, self.micro_batch) == (other.workers, other.micro_batch)


def job_of(name: str, setting: Setting) -> dict[str, Any]:
    return {
        "name": name,
        "data": {"source": "digits", "size": 16, "ingest": setting.ingest},
        **JOBS[name],
        "optimizer": {"lr": 1e-3},
        "batch": BATCH,
        "micro_batch": setting.micro_batch or "auto",
        "precision": "fp64",
        "until": f"{STEPS} steps",
        "every": {"report": "8 steps", "grid": "1G", "checkpoint": "1G"},
        "resources": {"workers": setting.workers, "device": "cpu"},
    }


def trained(name: str, folder: Path, attempts: list[tuple[Setting, int | None]]) -> Checkpoint:
    """The last checkpoint of a run whose attempts stop where they are told to."""
    for number, (setting, stop_after) in enumerate(attempts, 1):
        job = JobSpec.model_validate(job_of(name, setting)).model_dump(mode="json", by_alias=True)
        training = Training(job, str(folder), attempt=number, stop_after=stop_after, data="job")
        train_together(setting.workers, [training])
    return stored(RunFolder(Folder.at(folder)).checkpoints())[-1]


def difference(one: Checkpoint, other: Checkpoint) -> float:
    """The largest difference of a weight, as a share of the largest of its tensor; 0 where all bits are equal."""
    names = [name for name in one.meta["checksums"] if name.endswith(".safetensors")]
    if all(one.meta["checksums"][name] == other.meta["checksums"][name] for name in names):
        return 0.0
    worst = 0.0
    for network in ("generator", "discriminator"):
        here, there = one.tensors(network), other.tensors(network)
        for key, tensor in here.items():
            apart, scale = (tensor - there[key]).abs().max(), tensor.abs().max()
            worst = max(worst, float(apart / scale.clamp_min(1e-12)))
    return worst


def play(draw: random.Random, root: Path) -> tuple[str, bool]:
    """One run with one to three stops: what was changed, and whether the promise held."""
    name = draw.choice(sorted(JOBS))
    settings = [Setting.drawn(draw) for _ in range(draw.choice((2, 2, 3)))]
    if draw.random() < 0.4:  # else equal ones would be rare
        settings = [Setting(settings[0].workers, settings[0].micro_batch, one.ingest) for one in settings]
    stops: list[int | None] = [draw.randint(2, STEPS // len(settings)) for _ in settings[1:]]
    resumed = trained(name, root / "resumed", list(zip(settings, [*stops, None], strict=True)))
    whole = trained(name, root / "whole", [(settings[0], None)])
    exact = all(one.sums_as(settings[0]) for one in settings)
    apart = difference(whole, resumed)
    kept = whole.meta["clock"] == resumed.meta["clock"] and (apart == 0.0 if exact else apart < ROUNDING)
    ways = ", ".join(f"{one.workers}x{one.micro_batch or 'all'} {one.ingest}" for one in settings)
    print(f"{'ok ' if kept else 'BAD'} {name:8} {ways}: {'exact' if exact else f'differs by {apart:.1e}'}", flush=True)
    return "exact" if exact else "rounding", kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("n", nargs="?", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found: Counter[tuple[str, bool]] = Counter()
    for number in range(given.n):
        with tempfile.TemporaryDirectory() as folder:
            found[play(random.Random(f"{given.seed}:{number}"), Path(folder))] += 1
    for (promise, kept), count in sorted(found.items()):
        print(f"{promise}: {count} {'as promised' if kept else 'NOT AS PROMISED'}")
    return int(any(not kept for _, kept in found))


if __name__ == "__main__":
    sys.exit(main())
