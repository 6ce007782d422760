"""R3GAN on real pictures, ours and its authors' code, for equal minutes: the Fréchet distance by pictures seen and by
the clock. Wanted: ours nowhere above theirs at equal pictures, and more pictures a second.

    python -m benchmarks.quality PICTURES PEER WORK [--minutes 4] [--width 192] [--batch 256] [--device cuda]

PICTURES is a folder, or a set that jobs read as one; PEER a checkout of brownvc/R3GAN, whose networks, losses and
penalties run unmodified. Their loop reads a zip by processes and wants CUDA: it is written here, in its order, and has
its pictures in the device's memory, which is to its advantage. Both have the same numbers of parameters, the same
settings, none of them adjusted to either, no augmentation, and half-precision where the preset of CIFAR-10 has it.
Each saves its average every sixteenth of its time, which counts; measuring does not. The judge is EfficientNet-lite0
at 128 pixels, which neither saw; the distance is of as many samples as there are pictures, up to --samples. It wants
`gan-dist[pretrained]` and, for their code, `pip install 'setuptools<81'`. WORK gets `quality.json`, `quality.png` with
both curves, and a sheet of samples of each; a half that is there is not trained again.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.first_jobs import Judge
from gan_dist.data.encoding.image import encode_png, make_grid
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.ingest import Memory, load_into_memory
from gan_dist.data.prepare import prepare_or_load
from gan_dist.distributed.runtime import LocalRuntime
from gan_dist.generation.model import load
from gan_dist.metrics.features.pretrained import EfficientNetLite0
from gan_dist.metrics.image.frechet import Frechet
from gan_dist.metrics.statistics import Moments
from gan_dist.registry.build import build_networks
from gan_dist.runs.checkpoint import stored
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.training.trainer import train_run

POINTS = 16
NEVER = "1G"
LR, BETAS, GAMMA = 2e-4, (0.0, 0.99), 0.5
SIZE, Z = 32, 64
WIDE = 32  # pixels of the largest stage with all channels
CHUNK = 256


class Point(NamedTuple):
    """Where a training stood: its clock, the pictures it had seen, and samples of its average."""

    seconds: float
    seen: int
    draw: Callable[[int], Tensor]


def job(args: argparse.Namespace) -> JobSpec:
    network = {"use": "r3gan", "width": args.width, "blocks": 2}
    penalty = {"gamma": GAMMA}
    return JobSpec.model_validate(
        {
            "version": 1,
            "name": "quality",
            "seed": args.seed,
            "data": {"source": str(args.pictures), "size": SIZE, "channels": 3, "labels": "none"},
            "generator": {**network, "z": Z},
            "discriminator": network,
            "objective": "relativistic",
            "penalties": [{"use": "r1", **penalty}, {"use": "r2", **penalty}],
            "optimizer": {"use": "adam", "lr": LR, "betas": list(BETAS)},
            "ema": {"half_life": args.half_life},
            "precision": "bf16" if args.device == "cuda" else "fp32",
            "compile": args.compile,
            "determinism": "fast",
            "batch": args.batch,
            "until": NEVER,
            "metrics": [],
            "every": dict.fromkeys(("report", "grid", "checkpoint", "metrics"), NEVER),
            "keep": {"last": POINTS + 2},
        }
    )


class Alarm:
    """Says once in each sixteenth of a time that it has passed, and notes when it said so."""

    def __init__(self, seconds: float) -> None:
        self.began, self.each, self.said = time.perf_counter(), seconds / POINTS, list[float]()

    def passed(self) -> float:
        return time.perf_counter() - self.began

    def rings(self) -> bool:
        due = self.passed() >= self.each * (len(self.said) + 1)
        if due:
            self.said.append(self.passed())
        return due

    def over(self) -> bool:
        return len(self.said) >= POINTS


def ours(args: argparse.Namespace, spec: JobSpec, rows: Memory) -> Iterator[Point]:
    """The trainer as a worker calls it."""
    folder = RunFolder(Folder.at(args.work / "run"))
    alarm = Alarm(args.minutes * 60)
    run = LocalRuntime(torch.device(args.device), lambda event: None, alarm.over)
    run.saving = alarm.rings  # type: ignore[method-assign]
    train_run(spec, run=run, rows=rows, folder=folder, attempt=1)
    for seconds, checkpoint in zip(alarm.said, stored(folder.checkpoints()), strict=False):
        model = load(checkpoint.folder.uri, device=args.device)
        yield Point(seconds, checkpoint.seen, lambda n, model=model: model.sample(n, seed=1))  # type: ignore[misc]


class Peer:
    """Networks of theirs for 32 or 64 pixels, and D's and G's turns."""

    def __init__(
        self,
        checkout: Path,
        *,
        size: int,
        width: int,
        batch: int,
        device: str,
        half_life: float = 20_000,
        seed: int = 0,
    ) -> None:
        sys.path.insert(0, str(checkout.absolute()))
        from R3GAN import Networks
        from R3GAN.Trainer import AdversarialTraining

        fuse(device)
        widths = [width if side <= WIDE else width * WIDE // side for side in (4, 8, 16, 32, 64) if side <= size]
        each = widths, [one // 8 for one in widths], [2] * len(widths)
        torch.manual_seed(seed)
        self.G: Any = Networks.Generator(Z, *each, 2).to(device)
        self.D: Any = Networks.Discriminator(*[one[::-1] for one in each], 2).to(device)
        if device == "cuda":  # train.py: bfloat16 in all stages but that of 4 pixels
            for stage in (*self.G.MainLayers[1:], *self.D.MainLayers[:-1]):
                stage.DataType = torch.bfloat16
        self.training: Any = AdversarialTraining(self.G, self.D)
        self.average = copy.deepcopy(self.G).eval().requires_grad_(False)
        self.optimizers = [torch.optim.Adam(one.parameters(), lr=LR, betas=BETAS, eps=1e-8) for one in (self.D, self.G)]
        self.batch, self.device, self.keeps = batch, device, 0.5 ** (batch / half_life)

    def iteration(self, pixels: Tensor) -> None:
        """Their training_loop.py's: D, then G, then the average."""
        for network, optimizer in zip((self.D, self.G), self.optimizers, strict=True):
            self.G.requires_grad_(network is self.G)
            self.D.requires_grad_(network is self.D)
            real = pixels[torch.randint(len(pixels), (self.batch,), device=self.device)].float() / 127.5 - 1
            noise = torch.randn(self.batch, Z, device=self.device)
            optimizer.zero_grad(set_to_none=True)
            if network is self.D:
                self.training.AccumulateDiscriminatorGradients(noise, real, None, GAMMA)
            else:
                self.training.AccumulateGeneratorGradients(noise, real, None)
            optimizer.step()
        with torch.no_grad():
            for mean, new in zip(self.average.parameters(), self.G.parameters(), strict=True):
                mean.copy_(new.lerp(mean, self.keeps))


def fuse(device: str) -> None:
    """Compile their kernels; where that cannot be done they take the references that they have for a CPU."""
    from torch_utils.ops import bias_act, upfirdn2d

    for kernels in (bias_act, upfirdn2d):
        try:
            if device == "cuda":
                kernels._init()
        except Exception as error:  # whatever a compiler says
            print(f"their {kernels.__name__} cannot be compiled ({error!r:.200}): their reference is taken", flush=True)
            kernels._init = lambda: False


def theirs(args: argparse.Namespace, spec: JobSpec, rows: Memory) -> Iterator[Point]:
    """Their networks and losses in their order."""
    torch.backends.cudnn.benchmark = True  # as their loop sets these
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    pixels = torch.cat([torch.as_tensor(block) for block in rows.blocks]).to(args.device)
    kept: list[tuple[int, dict[str, Tensor]]] = []
    alarm, seen = Alarm(args.minutes * 60), 0
    peer = Peer(
        args.peer,
        size=SIZE,
        width=args.width,
        batch=args.batch,
        device=args.device,
        half_life=args.half_life,
        seed=args.seed,
    )
    check_equal_sizes(peer, spec, rows)
    while not alarm.over():
        peer.iteration(pixels)
        seen += args.batch
        if alarm.rings():
            kept.append((seen, {name: one.cpu() for name, one in peer.average.state_dict().items()}))
    for seconds, (count, state) in zip(alarm.said, kept, strict=True):
        yield Point(seconds, count, lambda n, state=state: drawn(peer, state, n))  # type: ignore[misc]


@torch.no_grad()
def drawn(peer: Peer, state: dict[str, Tensor], n: int) -> Tensor:
    """Samples of an average, uint8 [n, C, H, W]."""
    peer.average.load_state_dict(state)
    noise = torch.randn(n, Z, generator=torch.Generator().manual_seed(1)).to(peer.device)
    made = torch.cat([peer.average(part).float() for part in noise.split(CHUNK)])
    return (made * 127.5 + 128).clamp(0, 255).byte().cpu()


def check_equal_sizes(peer: Peer, spec: JobSpec, rows: Memory) -> None:
    own = [sum(p.numel() for p in network.parameters()) for network in build_networks(spec, rows.facts).values()]
    other = [sum(p.numel() for p in network.parameters()) for network in (peer.G, peer.D)]
    if own != other:
        raise SystemExit(f"G and D have {own} parameters, theirs {other}: this is no comparison")


def moments(judge: Judge, pixels: Tensor, device: str) -> Moments:
    return Moments.of(torch.cat([judge(part.to(device)).cpu() for part in pixels.split(CHUNK)]))


def measured(points: Iterator[Point], judge: Judge, real: Moments, args: argparse.Namespace, sheet: Path) -> list[Any]:
    """[seconds, pictures seen, distance] of each point; the last one's samples go to `sheet`."""
    found = []
    for point in points:
        pixels = point.draw(args.samples)
        distance = Frechet().compare(real, moments(judge, pixels, args.device))["fd"]
        found.append([point.seconds, point.seen, distance])
        print(f"{sheet.stem}: {distance:.1f} after {point.seen:,} pictures, {point.seconds:.0f} s", flush=True)
        sheet.write_bytes(encode_png(make_grid(pixels[:64], 8)))
    return found


def plot(curves: dict[str, list[Any]], limit: float, place: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axis, column, name in zip(
        figure.subplots(1, 2, sharey=True), (1, 0), ("pictures seen", "seconds"), strict=True
    ):
        for label, rows in curves.items():
            axis.plot([row[column] for row in rows], [row[2] for row in rows], ".-", label=label)
        axis.axhline(limit, color="grey", linestyle=":", label="real, one half against the other")
        axis.set(xlabel=name, yscale="log")
    axis.legend()
    figure.axes[0].set_ylabel("Fréchet distance, EfficientNet-lite0")
    figure.savefig(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("peer", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=4, help="of the clock, for each")
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--half-life", type=float, default=20_000, help="of the average, in pictures")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="ours with torch.compile")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cuda", "cpu"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    spec = job(args)
    prepared = prepare_or_load(
        spec.data, Folder.at(args.work / "prepared"), executor=write_shards_on_processes, progress=lambda *_: None
    )
    rows = load_into_memory(prepared, spec.seed, spec.batch)
    pixels = torch.cat([torch.as_tensor(block) for block in rows.blocks])
    pixels = pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))][: args.samples]
    judge = Judge(EfficientNetLite0().to(args.device).network.pooled)
    real = moments(judge, pixels, args.device)
    halves = [moments(judge, pixels[first::2], args.device) for first in (0, 1)]
    limit = Frechet().compare(*halves)["fd"]
    kept = args.work / "quality.json"
    curves: dict[str, list[Any]] = json.loads(kept.read_text()) if kept.exists() else {}
    for name, train in {"theirs": theirs, "ours": ours}.items():
        if name not in curves:
            curves[name] = measured(train(args, spec, rows), judge, real, args, args.work / f"{name}.png")
            kept.write_text(json.dumps(curves))
    plot(curves, limit, args.work / "quality.png")
    print(f"| R3GAN, width {args.width}, batch {args.batch} | pictures | pictures/s | Fréchet distance |")
    print("|---|---|---|---|")
    for name, points in curves.items():
        seconds, seen, distance = points[-1]
        print(f"| {name} | {seen:,} | {seen / seconds:.1f} | {distance:.1f} |")
    print(f"| real, one half against the other | - | - | {limit:.1f} |")


if __name__ == "__main__":
    main()
