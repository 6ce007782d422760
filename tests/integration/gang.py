"""Several gloo processes that each train the same job, as Ray Train's workers would, without Ray."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from gan_dist.data.codec import SPECIAL, Codec, Splitting
from gan_dist.data.facts import ImageFacts, LatentFacts, PairFacts, TextFacts, UnpairedFacts
from gan_dist.data.ingest import Memory
from gan_dist.distributed.runtime import DistributedRuntime, LocalRuntime, WorkerRuntime
from gan_dist.execution.local import read_rows
from gan_dist.execution.preflight import earlier_window
from gan_dist.generation.latent_codec import codec_files
from gan_dist.networks.image.autoencoder import KlAutoencoder
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import ImageData, PairData, TextData, UnpairedData
from gan_dist.spec.job import JobSpec
from gan_dist.training.trainer import train_run

SAMPLES = 61


@dataclass(frozen=True)
class Training:
    """One training: a job, where it is stored, after how many iterations a stop is asked for, and on which data."""

    job: Mapping[str, Any]
    folder: str
    attempt: int = 1
    stop_after: int | None = None
    data: Literal["random", "job"] = "random"


@dataclass
class Asking:
    """A stop that is asked for at the n-th time the loop looks."""

    after: int | None
    asked: int = field(default=0)

    def __call__(self) -> bool:
        self.asked += 1
        return self.after is not None and self.asked >= self.after


def rows(spec: JobSpec) -> Memory:
    """Random images or sentences, two classes when the job has labels."""
    if isinstance(spec.data, TextData):
        return sentences(spec, spec.data)
    size, paired = spec.data.size, isinstance(spec.data, PairData)
    pixels = np.random.default_rng(5).integers(0, 256, (SAMPLES, 2 if paired else 1, size, size), np.uint8)
    vectors = np.array([[-1, 0.5], [2, 0]], np.float32) if spec.data.labels == "vectors" else None
    classes = ("even", "odd") if spec.data.labels not in ("none", "vectors") else ()
    label = np.arange(SAMPLES) % 2 if spec.data.labels != "none" else np.zeros(SAMPLES, np.int64)
    counts = tuple(np.bincount(label).tolist()) if classes else ()
    common: dict[str, Any] = {"count": SAMPLES, "size": size, "channels": 1, "checksum": "random"}
    if isinstance(spec.data, UnpairedData):
        facts: ImageFacts = UnpairedFacts(**common, input_channels=1, target_count=SAMPLES // 3)
    elif paired:
        facts = PairFacts(**common, input_channels=1)
    else:
        known = () if vectors is None else tuple(map(tuple, vectors.tolist()))
        facts = ImageFacts(**common, classes=classes, class_counts=counts, vectors=known)
    return Memory(blocks=[pixels], labels=label, facts=facts, seed=spec.seed, batch=spec.batch, vectors=vectors)


def latents(spec: JobSpec, beside: Folder) -> Memory:
    """Random means and deviations of maps of two channels, half of the pictures' size, and an untrained codec."""
    assert isinstance(spec.data, ImageData)
    torch.manual_seed(7)
    arguments = {"channels": 1, "latent": 2, "widths": [4, 4], "layers": 1, "groups": 2, "attention": False}
    known, files = codec_files(KlAutoencoder(**arguments), {"arguments": arguments}, "fresh")  # type: ignore[arg-type]
    for name, content in files.items():
        beside.write(name, content)
    side = int(spec.data.size) // 2  # type: ignore[arg-type]
    mean, deviation = np.random.default_rng(5).normal(size=(2, SAMPLES, 2, side, side)).astype(np.float32)
    record = known | {"where": beside.uri, "mean": [0.0, 0.1], "deviation": [1.4, 1.5]}
    maps: dict[str, Any] = {"count": SAMPLES, "size": side, "channels": 2, "checksum": "random"}
    facts = LatentFacts(**maps, codec_record=record, picture_size=2 * side, picture_channels=1)
    stored = np.concatenate([mean, np.abs(deviation)], 1)
    return Memory(blocks=[stored], labels=np.zeros(SAMPLES, np.int64), facts=facts, seed=spec.seed, batch=spec.batch)


def sentences(spec: JobSpec, data: TextData) -> Memory:
    """Random sentences that end in several places."""
    words = tuple(f"word{number}" for number in range((data.vocabulary or 20) - len(SPECIAL)))
    codec = Codec(data.length, Splitting("blanks"), (*SPECIAL, *words))
    random = np.random.default_rng(5)
    lengths = random.integers(1, data.length + 1, SAMPLES)
    rows = np.stack([codec.row(random.integers(len(SPECIAL), len(codec.vocabulary), n)) for n in lengths])
    facts = TextFacts(count=SAMPLES, checksum="random", codec=codec)
    return Memory(blocks=[rows], labels=np.zeros(SAMPLES, np.int64), facts=facts, seed=spec.seed, batch=spec.batch)


def train_one(training: Training, run: WorkerRuntime) -> dict[str, Any]:
    spec = JobSpec.model_validate(training.job)
    folder = RunFolder(Folder(training.folder))
    if training.data == "job":
        before = earlier_window(folder)
        data = read_rows(spec, folder.prepared(), smoke=False, emit=run.emit, before=before)
    elif getattr(spec.data, "encode", None) is not None:
        data = latents(spec, folder.folder.child("codec"))
    else:
        data = rows(spec)
    return train_run(spec, run=run, rows=data, folder=folder, attempt=training.attempt)


def train_alone(training: Training) -> dict[str, Any]:
    """The same training in this process, with one worker."""
    run = LocalRuntime(torch.device("cpu"), lambda event: None, Asking(training.stop_after))
    return train_one(training, run)


def train_together(world: int, trainings: list[Training]) -> None:
    """Every training, one after the other, by `world` processes."""
    with tempfile.TemporaryDirectory() as folder:
        start(_member, (world, str(Path(folder) / "rendezvous"), trainings), world)


def start(member: Callable[..., None], arguments: tuple[Any, ...], world: int) -> None:
    """Calls `member(rank, *arguments)` in `world` processes, forked from one that has imported what they need."""
    multiprocessing.set_forkserver_preload(["torch", __name__])
    mp.start_processes(member, arguments, nprocs=world, start_method="forkserver")


def _member(rank: int, world: int, rendezvous: str, trainings: list[Training]) -> None:
    torch.set_num_threads(1)
    for number, training in enumerate(trainings):
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}{number}", rank=rank, world_size=world)
        train_one(training, DistributedRuntime(torch.device("cpu"), lambda event: None, Asking(training.stop_after)))
        dist.destroy_process_group()
    leave()


def leave() -> None:
    """End this process at once. Gloo's threads let go of the last collective's tensors a little later, for which
    they want the interpreter; one that is ending aborts the process then (seen in 1 of 15)."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
