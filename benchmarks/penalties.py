"""What R1 and R2 cost, exact and approximate: time and peak memory of a D step beside one without a penalty.

    python benchmarks/penalties.py [NETWORK] [--size 32] [--batch 32] [--steps 15] [--device cpu] [-o width=96 ...]

NETWORK is a discriminator, `r3gan` by default. A step is D on real and generated pictures, which are random, the loss
of `relativistic`, its backward and that of the penalties; no optimiser moves. Each case has a process of one thread,
whose seconds are its own CPU time (on a GPU the clock's); what it takes at most is counted from before its first step.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
from ruamel.yaml import YAML
from torch import Tensor, nn

from gan_dist.contracts import Batch, Nets
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.objectives.relativistic import Relativistic
from gan_dist.penalties.approximate import ApproximateR1, ApproximateR2
from gan_dist.penalties.r1 import R1, R2
from gan_dist.registry.lookup import build_component

CASES: dict[str, tuple[type, ...]] = {
    "none": (),
    "`r1`": (R1,),
    "`approximate_r1`": (ApproximateR1,),
    "`r1`, `r2`": (R1, R2),
    "`approximate_r1`, `approximate_r2`": (ApproximateR1, ApproximateR2),
}
MIB = 2**20


class Plain:
    """A network as objectives see it."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, *args: Any) -> Any:
        return self.module(*args)


def step_of(names: str, args: argparse.Namespace, device: torch.device) -> Callable[[int], None]:
    """A D step, given its number."""
    torch.manual_seed(0)
    given = YAML(typ="safe").load("{" + ", ".join(one.replace("=", ": ") for one in args.o) + "}")
    network = build_component("discriminator", args.network, given, {"size": args.size, "channels": 3, "classes": 0})
    nets, penalties = Nets({"discriminator": Plain(network.to(device))}), [kind() for kind in CASES[names]]
    real, fakes = torch.randn(2, args.batch, 3, args.size, args.size, device=device)
    differentiated = frozenset(which for one in penalties for which in getattr(one, "differentiates", ()))

    def step(number: int) -> None:
        network.zero_grad()
        batch = Batch(
            args.batch,
            real,
            None,
            None,
            lambda purpose: single_lane_rng((number, purpose), args.batch, device),
            lambda batch: fakes,
            differentiated=differentiated,
        )
        terms = Relativistic().terms("D", nets, batch)
        for penalty in penalties:
            terms |= penalty.terms(nets, batch)
        loss: Tensor = sum(term.total for term in terms.values() if not term.watch)  # type: ignore[assignment]
        loss.backward()  # type: ignore[no-untyped-call]

    return step


def cost(names: str, args: argparse.Namespace, sent: Any) -> None:
    """Send the median seconds of a step, and the most bytes that it took."""
    torch.set_num_threads(1)
    device = torch.device(args.device)
    step = step_of(names, args, device)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    before, seconds = psutil.Process().memory_info().rss, []
    for number in range(args.steps):
        began = clock()
        step(number)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(clock() - began)
    if device.type == "cuda":
        most = torch.cuda.max_memory_allocated()
    else:
        peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        assert peak is not None
        most = int(peak[1]) * 1024 - before
    sent.send((median(seconds), most))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", default="r3gan")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    context, plain = multiprocessing.get_context("spawn"), None
    print("| penalties | s a step | of that without | MiB at most | of that without |\n|---|---|---|---|---|")
    for names in CASES:
        receiving, sending = context.Pipe(False)
        process = context.Process(target=cost, args=(names, args, sending))
        process.start()
        seconds, most = receiving.recv()
        process.join()
        plain = plain or (seconds, most)
        ratios = f"{seconds / plain[0]:.2f}", f"{most / plain[1]:.2f}"
        print(f"| {names} | {seconds:.3f} | {ratios[0]} | {most / MIB:.0f} | {ratios[1]} |", flush=True)


if __name__ == "__main__":
    main()
