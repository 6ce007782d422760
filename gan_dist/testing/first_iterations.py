"""A component in its first two iterations: alone, stopped and resumed between them, and on two workers.

What is trained is a small job around it, by the loop that trains every run. So what breaks only where `backward` is
called twice, where `after_step` gets its means or where a state is stored and read again is found before a run is sent.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gan_dist.data.codec import SPECIAL
from gan_dist.data.facts import DataFacts, ImageFacts, PairFacts, TextFacts
from gan_dist.data.ingest import Memory
from gan_dist.distributed.runtime import LocalRuntime, WorkerRuntime
from gan_dist.generation.modality import modality_of
from gan_dist.registry import lookup
from gan_dist.registry.build import build_networks
from gan_dist.runs import checkpoint
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import Modality
from gan_dist.spec.image_size import Size
from gan_dist.spec.job import JobSpec
from gan_dist.spec.schedules import Clock
from gan_dist.testing.bench import CHANNELS, CPU, LENGTH, SIZE, bench_networks, classes_of, data_arguments
from gan_dist.testing.two_workers import on_two_workers
from gan_dist.training.batches import BatchFactory
from gan_dist.training.loop import train
from gan_dist.training.run_logger import Stats
from gan_dist.training.stages import Stage, build_stages
from gan_dist.training.state import TrainState

# Two lanes of four samples, one for each worker.
BATCH, ITERATIONS, SAMPLES = 8, 2, 24
# Where what outlives an iteration belongs, by kind.
KEPT: dict[lookup.Kind, str] = {
    "generator": "buffers",
    "discriminator": "buffers",
    "objective": "what state() returns",
    "penalty": "what state() returns",
    "augment": "what state() returns",
}


@dataclass(frozen=True)
class Trial:
    """The parts of a job that trains a component, and the data that it is trained on.

    Attributes:
        parts: networks, objective and what else the job names, by key.
        modality, classes, size: of the data.
    """

    parts: Mapping[str, Any]
    modality: Modality
    classes: int = 0
    size: Size = SIZE

    def job(self) -> JobSpec:
        if self.modality == "text":
            data: dict[str, Any] = {"modality": "text", "source": "check", "length": LENGTH}
        else:
            data = {"modality": self.modality, "source": "check", "size": self.size, "channels": CHANNELS}
        labels = {"labels": "source"} if self.classes and self.modality != "pair" else {}
        loop = {"name": "check", "batch": BATCH, "until": f"{ITERATIONS} steps", "optimizer": {"lr": 1e-3}}
        return JobSpec.model_validate({**loop, "data": data | labels, **self.parts})


def trial_of_generator(
    own: Mapping[str, Any], modality: Modality, classes: int, size: Size, by_likelihood: bool
) -> Trial:
    """A generator under a discriminator, or one of sentences that is trained by their likelihood."""
    if by_likelihood:
        return Trial({"generator": own, "objective": "mle"}, modality, classes, size)
    judges: dict[Modality, dict[str, Any]] = {
        "image": {"use": "mlp", "hidden": 8},
        "pair": {"use": "pix2pix", "width": 2, "layers": 1},
        "text": {"use": "charcnn", "width": 4},
    }
    parts = {"generator": own, "discriminator": judges[modality], "objective": "hinge"}
    return Trial(parts, modality, classes, size)


def trial_of_discriminator(own: Mapping[str, Any], modality: Modality, classes: int, size: Size) -> Trial:
    """A discriminator against a small generator."""
    makers: dict[Modality, dict[str, Any]] = {
        "image": {"use": "mlp", "hidden": 8, "z": 4},
        "pair": {"use": "pix2pix", "width": 2},
        "text": {"use": "lstm", "hidden": 8, "relax": "gumbel"},
    }
    parts = {"generator": makers[modality], "discriminator": own, "objective": "hinge"}
    return Trial(parts, modality, classes, size)


def trial_of_objective(
    own: Mapping[str, Any], modality: Modality, per_token: bool, tried_on: Mapping[str, Any] | None
) -> Trial:
    """An objective with the networks that it is tried on."""
    networks = bench_networks(modality, per_token=per_token, tried_on=tried_on)
    return Trial({**networks, "objective": own}, modality, classes_of(networks))


def trial_of_penalty(own: Mapping[str, Any], modality: Modality) -> Trial:
    """A penalty beside a hinge loss, whose gradient reaches a generator of sentences where it is relaxed."""
    networks = bench_networks(modality)
    if modality == "text":
        networks["generator"] |= {"relax": "gumbel"}
    return Trial({**networks, "objective": "hinge", "penalties": [own]}, modality)


def trial_of_augmentation(own: Mapping[str, Any]) -> Trial:
    """An augmentation before a small discriminator."""
    return Trial(
        {
            "generator": {"use": "mlp", "hidden": 8, "z": 4},
            "discriminator": {"use": "mlp", "hidden": 8},
            "objective": "hinge",
            "augment": own,
        },
        "image",
    )


def iteration_problems(kind: lookup.Kind, trial: Trial) -> Iterator[str]:
    """What goes wrong with a component in two iterations of the trial; what it raises is left to the caller."""
    bench = Bench.of(trial)
    if not _equal(bench.trained(_alone()), bench.resumed()):
        yield (
            "resume: after a stop between the first two iterations the weights differ from those of a run without the "
            f"stop; keep what is needed later in {KEPT[kind]}, and draw random numbers from rng"
        )
    first, second = on_two_workers(bench.trained)
    if not _equal(first, second):
        yield (
            "two workers: their weights or states differ after two iterations; what changes them must be the same on "
            "every worker, as the means are that after_step gets"
        )


Weights = dict[str, dict[str, Tensor]]
Outcome = tuple[Weights, Any]


@dataclass(frozen=True)
class Bench:
    """A small job, its data, and the networks that every training of it begins with."""

    spec: JobSpec
    rows: Memory
    networks: Mapping[str, nn.Module]

    @classmethod
    def of(cls, trial: Trial) -> Bench:
        """What trains a component for two iterations."""
        spec, facts = trial.job(), _facts(trial.modality, trial.classes, trial.size)
        labels = np.arange(SAMPLES) % max(trial.classes, 1)
        rows = Memory(blocks=[_stored(facts)], labels=labels, facts=facts, seed=0, batch=BATCH)
        return cls(spec, rows, build_networks(spec, facts))

    def begin(self, run: WorkerRuntime) -> tuple[TrainState, BatchFactory]:
        """A run of the job before its first iteration."""
        modules = {name: copy.deepcopy(module) for name, module in self.networks.items()}
        stages = build_stages(self.spec, Clock(BATCH, SAMPLES), modules)
        nets = {name: run.wire(module, False, nullcontext) for name, module in modules.items()}
        state = TrainState(nets=nets, settings=stages[0].settings, stages=stages)
        feed = BatchFactory(
            rows=self.rows,
            generator=nets["generator"],
            run=run,
            seed=0,
            batch=BATCH,
            micro_batch=BATCH,
            dtype=torch.float32,
            encode=modality_of(self.rows.facts).encoder(self.spec.data, run.device, torch.float32),
        )
        return state, feed

    def trained(self, run: WorkerRuntime) -> Outcome:
        """What both iterations at one go end with."""
        state, feed = self.begin(run)
        _train(state, feed, run)
        return _outcome(state, run)

    def resumed(self) -> Outcome:
        """What the second iteration ends with where all was stored after the first, and built anew."""
        run = _alone()
        state, feed = self.begin(run)
        state.stages[0].ends = BATCH
        _train(state, feed, run)
        with tempfile.TemporaryDirectory() as folder:
            networks, training = state.capture(run)
            described: dict[str, Any] = {"clock": state.clock(), "job": {}, "data": {}, "metrics": {}}
            stored = checkpoint.write(Folder(folder), "first", networks=networks, training=training, meta=described)
            state, feed = self.begin(run)
            state.restore(stored, run)
        _train(state, feed, run)
        return _outcome(state, run)


class NoTasks:
    """Nothing is done between iterations (`loop.Tasks`)."""

    def begin(self, state: TrainState) -> None:
        """There are no records to begin."""

    def saves(self, state: TrainState, before: int, stage: Stage, overdue: bool) -> bool:
        """No checkpoint is due."""
        return False

    def between(self, state: TrainState, before: int, stage: Stage, overdue: bool) -> None:
        """There is nothing to report."""

    def overdue(self) -> bool:
        """No checkpoint is late."""
        return False

    def reached(self) -> bool:
        """Both iterations are wanted."""
        return False

    def end(self, state: TrainState, stage: Stage) -> None:
        """There are no records to end."""


def _alone() -> LocalRuntime:
    return LocalRuntime(CPU, lambda event: None, lambda: False)


def _train(state: TrainState, feed: BatchFactory, run: WorkerRuntime) -> None:
    train(state, feed=feed, run=run, stats=Stats(run.device), tasks=NoTasks())


def _outcome(state: TrainState, run: WorkerRuntime) -> Outcome:
    networks, training = state.capture(run)
    return copy.deepcopy((networks, training["objectives"]))


def _facts(modality: Modality, classes: int, size: Size) -> DataFacts:
    names = tuple(f"class {number}" for number in range(classes))
    common: dict[str, Any] = {"count": SAMPLES, "checksum": "check", "classes": names}
    common["class_counts"] = tuple(np.bincount(np.arange(SAMPLES) % classes).tolist()) if classes else ()
    if modality == "text":
        return TextFacts(**common, codec=data_arguments("text", classes)["codec"])
    if modality == "pair":
        return PairFacts(**common, size=size, channels=CHANNELS, input_channels=CHANNELS)
    return ImageFacts(**common, size=size, channels=CHANNELS)


def _stored(facts: DataFacts) -> Any:
    """Random samples as they are stored: pixels, or sentences that end in several places."""
    chance = np.random.default_rng(0)
    if isinstance(facts, TextFacts):
        known = len(facts.codec.vocabulary)
        lengths = np.arange(SAMPLES) % LENGTH + 1
        return np.stack([facts.codec.row(chance.integers(len(SPECIAL), known, length)) for length in lengths])
    channels, height, width = facts.shape
    channels += facts.input_channels if isinstance(facts, PairFacts) else 0
    return chance.integers(0, 256, (SAMPLES, channels, height, width), np.uint8)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)
