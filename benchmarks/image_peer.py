"""Steps of R3GAN, StyleGAN2 and DCGAN beside those of their authors, whose code runs as it is from checkouts of it.

    python -m benchmarks.image_peer --peers FOLDER [--repeats 3] [--device cuda] [NAME ...]

FOLDER holds checkouts of brownvc/R3GAN, NVlabs/stylegan2-ada-pytorch and pytorch/examples under the names that git
gives them; one that is not there is skipped. They are what people start from: the published code of a method, and
torch's own example. The first two have their networks, losses and optimisers called in the order of their training
loops, which want CUDA and a zip of pictures; the third is a script, and runs whole. Pictures are random and in memory,
the script's from two processes of its own.

On a CPU networks are narrow, rates are by CPU time of one thread, and wanted is at least 1.0. On a GPU they are the
published ones (CIFAR-10 and FFHQ at 64 pixels for R3GAN; StyleGAN2 at 128 pixels as `auto` has it; DCGAN as it is),
rates are by the clock, ours compute in bfloat16 with `compile: true` and `determinism: fast`, and wanted are 1.5, 1.0
and 2. Each side is a process of its own, in turn. Beside the ratio stand the memory of each and, on a GPU, our speed as
a share of what a large product of matrices reaches there. Their code wants `pip install 'setuptools<81'`.
"""

from __future__ import annotations

import argparse
import builtins
import copy
import json
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

R3GAN, STYLEGAN2, DCGAN = "R3GAN", "stylegan2-ada-pytorch", "examples"


class Case(NamedTuple):
    """What is compared: whose checkout, on a CPU or on a GPU, and its sizes."""

    peer: str
    device: str
    wanted: float
    size: int
    batch: int
    width: int  # of StyleGAN2, the capacity
    iterations: int


CASES = {
    "r3gan": Case(R3GAN, "cpu", 1.0, 32, 32, 32, 6),
    "stylegan2": Case(STYLEGAN2, "cpu", 1.0, 32, 16, 1024, 16),
    "dcgan": Case(DCGAN, "cpu", 1.0, 64, 64, 64, 4),
    "r3gan, CIFAR-10": Case(R3GAN, "cuda", 1.5, 32, 256, 768, 20),
    "r3gan, FFHQ-64": Case(R3GAN, "cuda", 1.5, 64, 128, 768, 20),
    "stylegan2, 128 pixels": Case(STYLEGAN2, "cuda", 1.0, 128, 32, 16384, 32),
    "dcgan, 64 pixels": Case(DCGAN, "cuda", 2.0, 64, 64, 64, 200),
}
STYLE = {"cpu": (64, 64), "cuda": (512, 512)}  # z and w, and the most channels
LR, GAMMA = 2e-4, 0.5
WARM = 3


# --- ours ----------------------------------------------------------------------------------------


def job_of(case: Case) -> dict[str, Any]:
    z, most = STYLE[case.device]
    style = {"use": "stylegan2", "mapping": 2, "capacity": case.width, "most": most}
    own: dict[str, dict[str, Any]] = {
        R3GAN: {
            "generator": {"use": "r3gan", "width": case.width},
            "discriminator": {"use": "r3gan", "width": case.width},
            "objective": "relativistic",
            "penalties": [{"use": "r1", "gamma": GAMMA}, {"use": "r2", "gamma": GAMMA}],
            "optimizer": {"lr": LR, "betas": [0.0, 0.99]},
            "ema": {"half_life": 20_000},
        },
        STYLEGAN2: {
            "generator": {**style, "z": z, "w": z},
            "discriminator": {**style, "group": 4},
            "objective": "non_saturating",
            "penalties": [{"use": "r1", "gamma": GAMMA, "every": 16}, {"use": "path_length", "every": 4}],
            "optimizer": {"lr": 2.5e-3, "betas": [0.0, 0.99]},
            "ema": {"half_life": 10_000},
        },
        DCGAN: {
            "generator": {"use": "dcgan", "width": case.width, "z": 100},
            "discriminator": {"use": "dcgan", "width": case.width},
            "objective": {"use": "non_saturating", "fakes": "shared"},
            "optimizer": {"lr": LR, "betas": [0.5, 0.999]},
        },
    }
    fast = {"precision": "bf16", "compile": True, "determinism": "fast"} if case.device == "cuda" else {}
    data = {"source": "digits", "size": case.size, "channels": 3, "labels": "none"}
    rest = {"version": 1, "name": "peer", "data": data, "batch": case.batch, "until": "1G", "metrics": []}
    return {**rest, **own[case.peer], **fast}


def our_loop(case: Case) -> Callable[[int], None]:
    sys.path.append(str(Path(__file__).parent))  # networks.py is a script, and finds what it shares beside it
    from benchmarks.networks import ours
    from gan_dist.execution.local import read_rows
    from gan_dist.runs.storage import Folder
    from gan_dist.spec.job import JobSpec

    spec = JobSpec.model_validate(job_of(case))
    with tempfile.TemporaryDirectory() as cache:
        rows = read_rows(spec, Folder(cache), smoke=False, emit=lambda event: None)
    return ours(spec, rows, torch.device(case.device))


# --- theirs --------------------------------------------------------------------------------------


def pictures(case: Case) -> torch.Tensor:
    return torch.randint(0, 256, (2000, 3, case.size, case.size), dtype=torch.uint8, device=case.device)


def their_r3gan(case: Case, checkout: Path) -> Callable[[int], None]:
    from benchmarks.quality import Peer

    peer = Peer(checkout, size=case.size, width=case.width, batch=case.batch, device=case.device)
    pixels = pictures(case)

    def go(iterations: int) -> None:
        for _ in range(iterations):
            peer.iteration(pixels)

    return go


def their_stylegan2(case: Case, checkout: Path) -> Callable[[int], None]:
    sys.path.insert(0, str(checkout))
    from training.loss import StyleGAN2Loss
    from training.networks import Discriminator, Generator

    z, most = STYLE[case.device]
    half = 4 if case.device == "cuda" else 0  # resolutions in float16, as they train
    common = {"c_dim": 0, "img_resolution": case.size, "img_channels": 3}
    channels = {
        "channel_base": case.width,
        "channel_max": most,
        "num_fp16_res": half,
        "conv_clamp": 256 if half else None,
    }
    G = Generator(z, w_dim=z, **common, mapping_kwargs={"num_layers": 2}, synthesis_kwargs=channels).to(case.device)
    D = Discriminator(**common, **channels, epilogue_kwargs={"mbstd_group_size": 4}).to(case.device)
    G.train(), D.train()
    average = copy.deepcopy(G).eval().requires_grad_(False)
    loss = StyleGAN2Loss(torch.device(case.device), G.mapping, G.synthesis, D, r1_gamma=GAMMA)
    rates = {"G": 4 / 5, "D": 16 / 17}  # training_loop.py: a lazy penalty's share of the steps
    adams = {
        name: torch.optim.Adam(
            network.parameters(), lr=2.5e-3 * rates[name], betas=(0.0, 0.99 ** rates[name]), eps=1e-8
        )
        for name, network in (("G", G), ("D", D))
    }
    phases = [("G", "Gmain", 1), ("G", "Greg", 4), ("D", "Dmain", 1), ("D", "Dreg", 16)]
    pixels, done = pictures(case), 0
    empty = torch.empty(case.batch, 0, device=case.device)

    def go(iterations: int) -> None:
        nonlocal done
        for _ in range(iterations):
            real = pixels[torch.randint(len(pixels), (case.batch,), device=case.device)].float() / 127.5 - 1
            for name, phase, every in phases:
                if done % every:
                    continue
                G.requires_grad_(name == "G"), D.requires_grad_(name == "D")
                adams[name].zero_grad(set_to_none=True)
                noise = torch.randn(case.batch, z, device=case.device)
                loss.accumulate_gradients(phase, real, empty, noise, empty, sync=True, gain=every)
                for parameter in (G if name == "G" else D).parameters():
                    if parameter.grad is not None:
                        torch.nan_to_num(parameter.grad, nan=0, posinf=1e5, neginf=-1e5, out=parameter.grad)
                adams[name].step()
            with torch.no_grad():
                for mean, new in zip(average.parameters(), G.parameters(), strict=True):
                    mean.copy_(new.lerp(mean, 0.5 ** (case.batch / 10_000)))
            done += 1

    return go


class Enough(BaseException):
    """What ends a script after so many iterations."""


def rate_of_script(case: Case, checkout: Path) -> float:
    """Pictures a second of the DCGAN example, whose iterations each print a line."""
    moments: list[float] = []
    told = builtins.print

    def counting(*words: Any, **how: Any) -> None:
        if words and str(words[0]).startswith("["):
            moments.append(clock(case)())
            if len(moments) > WARM + case.iterations:
                raise Enough

    builtins.print = counting
    try:
        with tempfile.TemporaryDirectory() as out:
            sys.argv = ["main.py", "--dataset", "fake", "--batchSize", str(case.batch), "--niter", "99", "--outf", out]
            sys.argv += ["--ngf", str(case.width), "--ndf", str(case.width)]
            sys.argv += ["--accel"] if case.device == "cuda" else []
            runpy.run_path(str(checkout / "dcgan" / "main.py"), run_name="__main__")
    except Enough:
        pass
    finally:
        builtins.print = told
    return case.iterations * case.batch / (moments[-1] - moments[-1 - case.iterations])


# --- both ----------------------------------------------------------------------------------------


def clock(case: Case) -> Callable[[], float]:
    """What time is measured by, after what is queued on a GPU."""
    if case.device == "cpu":
        return time.process_time

    def now() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return now


def measure(name: str, side: str, peers: Path) -> dict[str, float]:
    """Pictures a second, GiB, and the share of a GPU's peak, of one side in this process."""
    case = CASES[name]
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = case.device == "cuda"  # as their loops set it, and ours by `determinism: fast`
    if side == "theirs" and case.peer == DCGAN:
        return {"rate": rate_of_script(case, peers / DCGAN), "gib": memory(case)}
    if side == "theirs":
        make = their_r3gan if case.peer == R3GAN else their_stylegan2
        go = make(case, peers / case.peer)
    else:
        go = our_loop(case)
    go(WARM if case.device == "cpu" else 16 + WARM)
    now = clock(case)
    began = now()
    go(case.iterations)
    rate = case.iterations * case.batch / (now() - began)
    found = {"rate": rate, "gib": memory(case)}
    if side == "ours" and case.device == "cuda":
        found["share"] = rate / case.batch * work(go) / peak()
    return found


def memory(case: Case) -> float:
    if case.device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def work(go: Callable[[int], None]) -> float:
    """Operations of an iteration, a multiplication and an addition being two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counted, torch._dynamo.config.patch(disable=True):
        go(1)
    return float(counted.get_total_flops())


def peak() -> float:
    """Operations a second of a product of matrices of 8192 in bfloat16."""
    side = 8192
    a = torch.randn(side, side, device="cuda", dtype=torch.bfloat16)
    for _ in range(5):
        F.linear(a, a)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(20):
        F.linear(a, a)
    torch.cuda.synchronize()
    return 20 * 2 * side**3 / (time.perf_counter() - began)


def of_process(name: str, side: str, peers: Path) -> dict[str, float]:
    words = [sys.executable, "-m", "benchmarks.image_peer", "--peers", str(peers), "--side", side, name]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}, {side}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    asked.add_argument("--peers", type=Path, required=True, help="a folder of checkouts")
    asked.add_argument("--repeats", type=int, default=3)
    asked.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    asked.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    options = asked.parse_args()
    peers = options.peers.absolute()
    if unknown := [name for name in options.names if name not in CASES]:
        asked.error(f"no case {unknown[0]!r}; there are {', '.join(CASES)}")
    if options.side:
        print(json.dumps(measure(options.names[0], options.side, peers)))
        return
    for name in options.names or [name for name, case in CASES.items() if case.device == options.device]:
        if not (peers / CASES[name].peer).is_dir():
            print(f"{name}: skipped, {peers} holds no checkout {CASES[name].peer}", flush=True)
            continue
        found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
        for number in range(options.repeats):
            for side, rows in found.items():
                rows.append(of_process(name, side, peers))
            own, other = found["ours"][-1]["rate"], found["theirs"][-1]["rate"]
            print(
                f"{name} {number + 1}: ours {own:.4g} images/s, other {other:.4g} images/s, ratio {own / other:.3f}",
                flush=True,
            )
        print(told(name, found), flush=True)


def told(name: str, found: dict[str, list[dict[str, float]]]) -> str:
    ratio = median(own["rate"] / other["rate"] for own, other in zip(found["ours"], found["theirs"], strict=True))
    gib = {side: max(row["gib"] for row in rows) for side, rows in found.items()}
    share = "".join(f", {row['share']:.0%} of a large product's rate" for row in found["ours"][:1] if "share" in row)
    of_memory = f"memory {gib['ours']:.2f} GiB, theirs {gib['theirs']:.2f}"
    return f"{name}: median ratio {ratio:.3f} (wanted at least {CASES[name].wanted}), {of_memory}{share}"


if __name__ == "__main__":
    main()
