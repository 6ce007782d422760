"""Images/s of the full step of each network (D, G, penalties, average), beside a loop of the same mathematics as one
writes it by hand.

    python benchmarks/networks.py [NAME...] [--repeats 5] [--seconds 3]      (from the root of the repository)
    python benchmarks/networks.py --layouts            (ours beside ours in the plain layout)
    python benchmarks/networks.py r3gan --device cuda --precision bf16 --compile -o data.size=64 -o generator.width=192

Each is the shipped job on the digits, in one process of one thread; pairs, pretrained weights and large sizes are
stood in for (`CASES`). Both loops have the same modules. Ours is `gan_dist.training.loop.train` with what the worker
hands to it, without reports, grids and checkpoints; the other is eager, in float32 and the plain layout, with torch's
fused Adam, and makes fakes once where the job does. On a CPU rates are of CPU time, with that of wall times beside,
as others may use the machine.
Wanted: at least 1.0 on a CPU, and at least 1.5 for r3gan with bf16 and --compile on a GPU.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from ruamel.yaml import YAML
from side_by_side import compare
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.data.facts import DataFacts
from gan_dist.distributed.runtime import LocalRuntime
from gan_dist.execution.local import read_rows
from gan_dist.launch.load_job import load_job
from gan_dist.registry.build import build_networks
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.spec.schedules import Clock
from gan_dist.training.loop import train
from gan_dist.training.stages import Stage, build_stages
from gan_dist.training.trainer import train_run

# The job of each, and what is changed in it.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp": ("mlp", {}),
    "dcgan": ("dcgan", {}),
    "wgan-gp": ("wgan-gp", {}),
    "sngan": ("sngan", {}),
    "r3gan": ("r3gan", {}),
    "stylegan2": ("stylegan2-ada", {"augment": None}),
    "fastgan": ("fastgan", {"data.size": 32}),
    "biggan": ("biggan", {}),
    "pix2pix": (
        "pix2pix",
        {"data.size": 64, "data.xflip": False, "batch": 4, "generator.width": 16, "discriminator.width": 16},
    ),
    "projected": ("projected", {"discriminator.weights": "random"}),
    "vae": ("vae", {}),
}
LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "non_saturating": (lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(), lambda f: F.softplus(-f).mean()),
    "least_squares": (
        lambda r, f: ((r - 1).square().mean() + f.square().mean()) / 2,
        lambda f: (f - 1).square().mean() / 2,
    ),
    "hinge": (lambda r, f: F.relu(1 - r).mean() + F.relu(1 + f).mean(), lambda f: -f.mean()),
    "wasserstein": (lambda r, f: (f - r).mean(), lambda f: -f.mean()),
}


class Numbers:
    """Random numbers for networks and augmentations, as one draws them."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.n, self.device = n, device

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.n, *shape, device=self.device)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(self.n, *shape, device=self.device)

    def integers(self, below: int, *shape: int) -> Tensor:
        return torch.randint(below, (self.n, *shape), device=self.device)


class Plain:
    """The loop by hand. What the job asks for is looked up once."""

    def __init__(self, spec: JobSpec, rows: Any, device: torch.device) -> None:
        self.batch, self.device, facts = spec.batch, device, rows.facts
        self.nets: dict[str, Any] = {name: net.to(device) for name, net in build_networks(spec, facts).items()}
        self.G, self.D = self.nets["generator"], self.nets.get("discriminator")
        stage = built(spec, facts, self.nets)
        self.objectives = {one.label: (one.objective, float(one.weight)) for one in stage.objectives}
        self.penalties = {lazy.label: lazy for lazy in stage.penalties}
        self.augment = stage.augment
        self.d_steps = sum(phase.name == "D" for phase in stage.phases)
        self.shared = stage.phases[-1].shared
        self.kept: Any = None
        self.optimizers = {}
        for name, net in self.nets.items():
            how = stage.settings[name]
            lr = how.lr if isinstance(how.lr, float) else 1e-4
            trained = [p for p in net.parameters() if p.requires_grad]
            self.optimizers[name] = torch.optim.Adam(trained, lr=lr, betas=how.betas, fused=True)
        self.average = copy.deepcopy(self.G).requires_grad_(False) if spec.ema else None
        self.pixels = torch.cat([torch.as_tensor(block) for block in rows.blocks]).to(device)
        self.labels = torch.as_tensor(rows.labels).to(device) if facts.classes else None
        self.paired = hasattr(facts, "input_channels")
        self.done, self.length = 0, torch.zeros((), device=device)

    def __call__(self, iterations: int) -> None:
        for _ in range(iterations):
            if "vae" in self.objectives:
                self.vae_step()
            else:
                for _ in range(self.d_steps):
                    self.d_step()
                self.g_step()
            if self.average is not None:
                with torch.no_grad():
                    for mean, new in zip(self.average.parameters(), self.G.parameters(), strict=True):
                        mean.lerp_(new, 0.01)
            self.done += 1

    def real(self) -> tuple[Tensor, Tensor | None]:
        chosen = torch.randint(len(self.pixels), (self.batch,), device=self.device)
        real = self.pixels[chosen].float() / 127.5 - 1
        if self.paired:
            made, given = real.chunk(2, 1)
            return made, given
        return real, None if self.labels is None else self.labels[chosen]

    def numbers(self) -> Numbers:
        return Numbers(self.batch, self.device)

    def fakes(self, cond: Tensor | None) -> Tensor:
        made: Tensor = self.G(self.G.draw(self.batch, self.numbers()), cond)
        return made

    def judge(self, x: Tensor, cond: Tensor | None) -> Tensor:
        logits: Tensor = self.D(x if self.augment is None else self.augment(x, self.numbers()), cond)
        return logits

    def begin(self, *names: str) -> None:
        for name, net in self.nets.items():
            for parameter in self.optimizers[name].param_groups[0]["params"]:
                parameter.requires_grad_(name in names)
            for part in net.modules() if name in names else ():
                if hasattr(part, "before_step"):
                    part.before_step()

    def step(self, loss: Tensor, *names: str) -> None:
        for name in names:
            self.optimizers[name].zero_grad()
        loss.backward()
        for name in names:
            self.optimizers[name].step()

    def due(self, name: str) -> Any:
        lazy = self.penalties.get(name)
        return lazy if lazy is not None and self.done % lazy.every == 0 else None

    def d_step(self) -> None:
        self.begin("discriminator", *(["generator"] if self.shared else []))
        real, cond = self.real()
        with torch.set_grad_enabled(self.shared):
            made = self.fakes(cond)
        self.kept, fake = (real, cond, made), made.detach()
        r1, r2, wgan_gp = self.due("r1"), self.due("r2"), self.due("wgan_gp")
        real.requires_grad_(r1 is not None)
        fake.requires_grad_(r2 is not None)
        of_real, of_fake = self.judge(real, cond), self.judge(fake, cond)
        if "relativistic" in self.objectives:
            loss = F.softplus(of_fake - of_real).mean()
        else:
            loss = next(LOSSES[name][0] for name in self.objectives if name in LOSSES)(of_real, of_fake)
        for lazy, logits, x in ((r1, of_real, real), (r2, of_fake, fake)):
            if lazy is not None:
                (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
                loss = loss + lazy.every * lazy.penalty.gamma / 2 * slope.square().sum((1, 2, 3)).mean()
        if wgan_gp is not None:
            between = torch.lerp(fake, real, torch.rand(self.batch, 1, 1, 1, device=self.device)).requires_grad_()
            (slope,) = torch.autograd.grad(self.judge(between, cond).sum(), between, create_graph=True)
            loss = loss + wgan_gp.penalty.gamma * (slope.flatten(1).norm(dim=1) - 1).square().mean()
        if "reconstruction" in self.objectives:
            shown = real if self.augment is None else self.augment(real, self.numbers())
            pairs = self.D.reconstructed(shown, self.numbers().integers(4))
            loss = loss + sum((made - wanted).abs().mean() for made, wanted in pairs)
        self.step(loss, "discriminator")

    def g_step(self) -> None:
        self.begin("generator")
        relativistic = "relativistic" in self.objectives
        if self.shared:
            real, cond, fake = self.kept
        else:
            real, cond = self.real() if relativistic or self.paired or self.labels is not None else (None, None)
            fake = self.fakes(cond)
        of_fake = self.judge(fake, cond)
        if relativistic:
            loss = F.softplus(self.judge(real, cond) - of_fake).mean()  # type: ignore[arg-type]
        else:
            loss = next(LOSSES[name][1] for name in self.objectives if name in LOSSES)(of_fake)
        if "l1" in self.objectives:
            loss = loss + self.objectives["l1"][1] * (fake - real).abs().mean()
        if (lazy := self.due("path_length")) is not None:
            loss = loss + lazy.every * lazy.penalty.gamma * self.path_length(lazy.penalty.shrink, cond)
        self.step(loss, "generator")

    def path_length(self, shrink: int, cond: Tensor | None) -> Tensor:
        n = self.batch // shrink
        noise = self.G.draw(n, Numbers(n, self.device))
        styles = self.G.styles(noise, None if cond is None else cond[:n])
        made = self.G.synthesis(styles, noise)
        target = torch.randn_like(made) / made.shape[-1]
        (slopes,) = torch.autograd.grad((made * target).sum(), styles, create_graph=True)
        lengths = (slopes.square().sum(2).mean(1) + 1e-16).sqrt()
        loss = (lengths - self.length).square().mean()
        self.length = torch.lerp(self.length, lengths.detach().mean(), 0.01)
        return loss

    def vae_step(self) -> None:
        objective = self.objectives["vae"][0]
        self.begin("generator", "encoder")
        real, cond = self.real()
        mean, log_variance = self.nets["encoder"](real, cond).chunk(2, 1)
        made = self.G(mean + (log_variance / 2).exp() * torch.randn_like(mean), cond)
        squares = (made - real).square().sum((1, 2, 3)).mean() / (2 * objective.sigma**2)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
        self.step(squares + objective.beta * divergence, "generator", "encoder")


def built(spec: JobSpec, facts: DataFacts, nets: dict[str, nn.Module]) -> Stage:
    return build_stages(spec, Clock(spec.batch, facts.count), nets)[0]


class Counted:
    """Tasks that do nothing but end training after some iterations."""

    def __init__(self, iterations: int) -> None:
        self.left = iterations

    def begin(self, state: Any) -> None: ...
    def end(self, state: Any, stage: Any) -> None: ...
    def overdue(self) -> bool:
        return False

    def saves(self, state: Any, before: int, stage: Any, overdue: bool) -> bool:
        return False

    def between(self, state: Any, before: int, stage: Any, overdue: bool) -> None:
        self.left -= 1

    def reached(self) -> bool:
        return self.left == 0


def ours(spec: JobSpec, rows: Any, device: torch.device) -> Callable[[int], None]:
    """So many iterations of the loop, on what the worker hands to it."""
    handed: dict[str, Any] = {}

    def keep(state: Any, *, tasks: Any, **parts: Any) -> str:
        handed.update(parts, state=state)
        return "stopped"

    with tempfile.TemporaryDirectory() as root, patch("gan_dist.training.trainer.train", keep):
        run = LocalRuntime(device, lambda event: None, lambda: False)
        train_run(spec, run=run, rows=rows, folder=RunFolder(Folder.at(root)), attempt=1)

    def go(iterations: int) -> None:
        train(**handed, tasks=Counted(iterations))
        handed["stats"].means(lambda value: value)  # what a report reads

    return go


def plainly_laid_out(spec: JobSpec, rows: Any, device: torch.device) -> Callable[[int], None]:
    """Ours with every network in the plain layout, whatever its class says."""
    with patch("gan_dist.training.trainer._placed", lambda module, where, dtype: module.to(where, dtype)):
        return ours(spec, rows, device)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}; all without any")
    asked.add_argument("--repeats", type=int, default=5)
    asked.add_argument("--seconds", type=float, default=3.0, help="about how long each measurement takes")
    asked.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    asked.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    asked.add_argument("--compile", action="store_true")
    asked.add_argument("--layouts", action="store_true", help="compare layouts, of networks whose class wants one")
    asked.add_argument("-o", dest="changes", action="append", default=[], metavar="KEY=VALUE", help="of the job")
    options = asked.parse_args()
    torch.set_num_threads(1)
    found = {name: measured(name, options) for name in options.names or CASES}
    print("\n| network | batch | ours / plain | of wall time |\n|---|---|---|---|")
    for name, (batch, ratio, wall) in found.items():
        print(f"| {name} | {batch} | {ratio:.2f} | {wall:.2f} |")


def measured(name: str, options: argparse.Namespace) -> tuple[int, float, float]:
    """Batch, median ratio of rates, and that of rates by wall time."""
    job, changes = CASES[name]
    changes = {"precision": options.precision, "compile": options.compile, "until": "1G", "metrics": [], **changes}
    changes |= {key: YAML().load(value) for key, value in (one.split("=", 1) for one in options.changes)}
    spec, device = load_job(Path("jobs") / f"{job}.yaml", changes), torch.device(options.device)
    with tempfile.TemporaryDirectory() as cache:
        rows = read_rows(spec, Folder(cache), smoke=name == "pix2pix", emit=lambda event: None)
    other = plainly_laid_out if options.layouts else Plain
    loops = {"ours": ours(spec, rows, device), "plain": other(spec, rows, device)}
    used, walls = time.process_time if device.type == "cpu" else time.perf_counter, {"ours": [], "plain": []}
    for loop in loops.values():
        loop(3)
    began = used()
    loops["plain"](2)
    iterations = max(4, round(options.seconds / ((used() - began) / 2)))

    def rate(which: str) -> float:
        began, wall = used(), time.perf_counter()
        loops[which](iterations)
        if device.type == "cuda":
            torch.cuda.synchronize()
        walls[which].append(time.perf_counter() - wall)
        return iterations * spec.batch / (used() - began)

    ratio = compare(name, lambda: rate("ours"), lambda: rate("plain"), options.repeats, "images/s")
    by_wall = median(plain / own for plain, own in zip(walls["plain"], walls["ours"], strict=True))
    return spec.batch, ratio, by_wall


if __name__ == "__main__":
    main()
