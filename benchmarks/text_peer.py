"""Steps of SeqGAN and RelGAN beside those of TextGAN-PyTorch, whose code runs as it is from a checkout of it:

    python benchmarks/text_peer.py --peer FOLDER [--repeats 5] [likelihood] [seqgan] [relgan]

Sizes are the published ones of the oracle: batches of 64 sentences of 20 of 5,000 words. A likelihood step is one of
the LSTM; a step of SeqGAN is one of its generator with 16 rollouts; a step of RelGAN is one of G and five of D. Each
side runs in processes of its own, of one thread, in turn, and is timed by CPU time; the pages of memory that a step
asks for anew stand beside. Wanted: at least 1.0, 4 and 1.5.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from side_by_side import compare

BATCH, LENGTH, VOCABULARY, ROLLOUTS = 64, 20, 5000, 16
STEPS = {"likelihood": 60, "seqgan": 1, "relgan": 2}  # measured, after a third as many
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "likelihood": ("seqgan-oracle", {"name": "likelihood", "objective": "mle", "penalties": []}),
    "seqgan": ("seqgan-oracle", {"objective": {"use": "seqgan", "rollouts": ROLLOUTS}, "train": ["generator"]}),
    "relgan": ("relgan-oracle", {"objective": {"use": "relativistic", "d_steps": 5}}),
}


Spent = tuple[float, int]  # CPU seconds, and pages of memory that were not there


def spent() -> Spent:
    """By this process so far."""
    return time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def since(began: Spent) -> Spent:
    seconds, pages = spent()
    return seconds - began[0], pages - began[1]


def our_step(kind: str, count: int) -> list[Spent]:
    """What each iteration takes, as a worker of a run calls it."""
    from gan_dist.distributed.machine import keep_freed_memory
    from gan_dist.distributed.runtime import LocalRuntime, never
    from gan_dist.execution.local import read_rows
    from gan_dist.launch.load_job import load_job
    from gan_dist.runs.run_folder import RunFolder
    from gan_dist.runs.storage import Folder
    from gan_dist.training import loop
    from gan_dist.training.trainer import train_run

    keep_freed_memory()
    job, stage = OURS[kind]
    rare = dict.fromkeys(("report", "grid", "checkpoint", "metrics"), "100000 steps")
    changes = {"stages": [{"name": "only", **stage, "for": f"{count} steps"}], "metrics": [], "every": rare}
    spec = load_job(f"jobs/{job}.yaml", {**changes, "data.count": 1000})
    taken: list[Spent] = []
    iterate = loop.iterate

    def timed(*given: Any) -> Any:
        began = spent()
        result = iterate(*given)
        taken.append(since(began))
        return result

    loop.iterate = timed
    with tempfile.TemporaryDirectory() as folder:
        rows = read_rows(spec, Folder.at(f"{folder}/prepared"), smoke=False, emit=lambda event: None)
        run = LocalRuntime(_cpu(), lambda event: None, never)
        train_run(spec, run=run, rows=rows, folder=RunFolder(Folder.at(f"{folder}/run")), attempt=1, start_from=None)
    return taken


def _cpu() -> Any:
    import torch

    return torch.device("cpu")


def their_step(kind: str, count: int) -> list[Spent]:
    """The same of TextGAN-PyTorch, whose folder this process stands in."""
    import config
    import torch
    from torch import nn
    from torch.nn import functional as F

    config.CUDA, config.batch_size, config.model_type = False, BATCH, "RMC"
    from models.RelGAN_D import RelGAN_D
    from models.RelGAN_G import RelGAN_G
    from models.SeqGAN_D import SeqGAN_D
    from models.SeqGAN_G import SeqGAN_G
    from utils.data_loader import GenDataIter
    from utils.helpers import get_losses
    from utils.rollout import ROLLOUT

    def optimize(optimizer: torch.optim.Optimizer, loss: torch.Tensor, model: nn.Module) -> None:
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        loss.item()

    samples = torch.randint(2, VOCABULARY, (1000, LENGTH))
    data = GenDataIter(samples)
    step: Callable[[], None]
    if kind == "relgan":
        generator = RelGAN_G(1, 2, 256, 32, 32, VOCABULARY, LENGTH, 0)
        judge = RelGAN_D(64, LENGTH, 64, VOCABULARY, 0)
        adams = [torch.optim.Adam(net.parameters(), lr=1e-4) for net in (generator, judge)]

        def losses() -> Any:
            real = F.one_hot(data.random_batch()["target"], VOCABULARY).float()
            fake = generator.sample(BATCH, BATCH, one_hot=True)
            return get_losses(judge(real), judge(fake), "rsgan")

        def step() -> None:
            optimize(adams[0], losses()[0], generator)
            for _ in range(5):
                optimize(adams[1], losses()[1], judge)

    else:
        policy = SeqGAN_G(32, 32, VOCABULARY, LENGTH, 0)
        critic = SeqGAN_D(64, VOCABULARY, 0)
        adam, criterion = torch.optim.Adam(policy.parameters(), lr=0.01), nn.NLLLoss()

        def likelihood() -> None:
            batch = data.random_batch()
            predicted = policy.forward(batch["input"], policy.init_hidden(BATCH))
            optimize(adam, criterion(predicted, batch["target"].view(-1)), policy)

        def rewarded() -> None:
            given, target = GenDataIter.prepare(policy.sample(BATCH, BATCH))
            rewards = ROLLOUT(policy, False).get_reward(target, ROLLOUTS, critic)
            optimize(adam, policy.batchPGLoss(given, target, rewards), policy)

        step = likelihood if kind == "likelihood" else rewarded
    taken = []
    for _ in range(count):
        began = spent()
        step()
        taken.append(since(began))
    return taken


def measured(side: str, kind: str, peer: Path) -> float:
    """Steps a second of CPU time, in a process of its own; the pages are printed."""
    root = Path(__file__).parent.parent
    paths = [str(root), *([str(peer)] if side == "theirs" else [])]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--peer", str(peer), "--side", side, kind],
        cwd=peer if side == "theirs" else root,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    pages, rate = done.stdout.split()[-2:]
    print(f"{kind} step, {side}: {pages} pages of memory anew")
    return float(rate)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--peer", type=Path, help="a checkout of TextGAN-PyTorch")
    asked.add_argument("--repeats", type=int, default=5)
    asked.add_argument("--side", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    asked.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(STEPS))
    options = asked.parse_args()
    if options.peer is None or not (options.peer / "models").is_dir():
        print(f"skipped: --peer {options.peer} is no checkout of TextGAN-PyTorch")
        return
    kinds, peer = options.kinds or list(STEPS), options.peer.resolve()
    if options.side is None:
        for kind in kinds:
            ours, theirs = (partial(measured, side, kind, peer) for side in ("ours", "theirs"))
            compare(f"{kind} step", ours, theirs, options.repeats, "steps/s of CPU")
        return
    import torch

    torch.set_num_threads(1)
    (kind,) = kinds
    count = STEPS[kind]
    warm = count // 3
    taken = (our_step if options.side == "ours" else their_step)(kind, count + warm)
    seconds, pages = (statistics.median(values) for values in zip(*taken[warm:], strict=True))
    print(round(pages), 1 / seconds)


if __name__ == "__main__":
    main()
