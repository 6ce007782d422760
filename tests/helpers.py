"""What tests of the training core share: small jobs, training in this process, networks made by hand."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.contracts import Batch, Nets
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.ingest import Ingest, Memory, load_into_memory
from gan_dist.data.prepare import prepare_or_load
from gan_dist.distributed.randomness import Rng, single_lane_rng
from gan_dist.distributed.runtime import LocalRuntime
from gan_dist.runs import checkpoint
from gan_dist.runs.checkpoint import Checkpoint
from gan_dist.runs.request import InitialWeights, RunRequest
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import ImageData, JobSpec
from gan_dist.spec.schedules import Clock
from gan_dist.training.trainer import train_run

ASSETS = Path(__file__).parent / "assets"
ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
CPU = torch.device("cpu")
CLOCK = Clock(batch=8, epoch=1600)
Cli = Callable[..., tuple[Any, str, str]]  # words of a command -> exit code, what it printed, what it complained

MLP = {"use": "mlp", "hidden": 8, "layers": 1}
SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"source": "digits", "size": 8},
    "generator": {**MLP, "z": 4},
    "discriminator": MLP,
    "objective": {"use": "non_saturating"},
    "batch": 8,
    "until": "6 steps",
    "precision": "fp64",
    "every": {"report": "1 steps", "grid": "1000 steps", "checkpoint": "2 steps"},
}


def small(**changes: Any) -> JobSpec:
    """A job of milliseconds; whole sections are replaced."""
    return JobSpec.model_validate({**SMALL, **changes})


@lru_cache(maxsize=4)
def _digits(size: int, labels: str, channels: int) -> Memory:
    data = ImageData(source="digits", size=size, labels=labels, channels=channels)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as cache:
        return load_into_memory(
            prepare_or_load(data, Folder(cache), executor=write_shards_on_processes, progress=lambda done, total: None),
            0,
            1,
        )


def rows_of(spec: JobSpec) -> Memory:
    """The digits of a job, read once for all tests."""
    assert isinstance(spec.data, ImageData)
    read = _digits(spec.data.size, spec.data.labels, spec.data.channels)
    return Memory(
        blocks=read.blocks, labels=read.labels, facts=read.facts, seed=spec.seed, batch=spec.batch, vectors=read.vectors
    )


@dataclass
class Killed(BaseException):
    """What stands for a process's death in the middle of training."""

    iteration: int


def stop_at(iteration: int) -> Callable[[], bool]:
    """A stop that makes `iteration` (2 or more) the last one; it is heard one iteration after it was asked for."""
    counter = itertools.count(1)
    return lambda: next(counter) >= iteration - 1


def kill_at(iteration: int) -> Callable[[], bool]:
    """Dies at the end of an iteration, before it is recorded."""
    counter = itertools.count(1)

    def asked() -> bool:
        if next(counter) == iteration:
            raise Killed(iteration)
        return False

    return asked


@dataclass
class Trained:
    """What came of an attempt."""

    run: RunFolder
    result: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def newest(self) -> Checkpoint:
        found = checkpoint.newest(self.run.checkpoints(), lambda text: None)
        assert found is not None
        return found

    @property
    def local(self) -> Path:
        assert self.run.folder.local is not None
        return self.run.folder.local


def never() -> bool:
    return False


def train(
    spec: JobSpec,
    root: Path | str,
    stopping: Callable[[], bool] = never,
    attempt: int = 1,
    start_from: InitialWeights | None = None,
    rows: Ingest | None = None,
    device: torch.device = CPU,
    saving: Callable[[], bool] = never,
) -> Trained:
    """One attempt at the run in `root`, in this process; a death is survived by the test alone."""
    trained = Trained(RunFolder(Folder.at(root)))
    run = LocalRuntime(device, trained.events.append, stopping)
    run.saving = saving
    try:
        trained.result = train_run(
            spec, run=run, rows=rows or rows_of(spec), folder=trained.run, attempt=attempt, start_from=start_from
        )
    except Killed:
        trained.result = {"ending": "killed"}
    return trained


def request_of(spec: JobSpec, root: Path, **changes: Any) -> RunRequest:
    return RunRequest(root.name, str(root), spec.model_dump_json(by_alias=True), **changes)


def tensors_of(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of nested state, by its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from tensors_of(inner, f"{name}/{key}")
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from tensors_of(inner, f"{name}/{number}")
    else:
        yield name, value


def everything(stored: Checkpoint) -> dict[str, Any]:
    """All that a checkpoint holds of a run's future: weights, averages, moments, buffers, clock."""
    networks = [name.removesuffix(".safetensors") for name in stored.meta["checksums"] if "safetensors" in name]
    state = {name: stored.tensors(name) for name in networks}
    return dict(tensors_of({**state, "training": stored.training(), "clock": stored.meta["clock"]}))


def assert_same_state(one: Checkpoint, other: Checkpoint) -> None:
    """Bit for bit."""
    first, second = everything(one), everything(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        same = torch.equal(value, second[name]) if isinstance(value, Tensor) else value == second[name]
        assert same, f"{name} differs"


class Bare:
    """A module as an objective sees it, with nothing around it."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @property
    def raw(self) -> Bare:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.module, method)(*args, **kwargs)


class Passing(nn.Module):
    """A discriminator whose logits are its input, so that a test writes the logits itself."""

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return x


def batch_of(real: Tensor | None, fakes: Tensor, cond: Tensor | None = None) -> Batch:
    """A batch made by hand; its fakes are given."""

    def rng(purpose: str) -> Rng:
        return single_lane_rng(("test", purpose), len(fakes), CPU, torch.float64)

    return Batch(len(fakes), real, cond, None, rng, lambda batch: fakes)


def nets_of(discriminator: nn.Module, generator: nn.Module | None = None) -> Nets:
    return Nets({"discriminator": Bare(discriminator), "generator": Bare(generator or nn.Identity())})


def finite_difference(of: Callable[[], Tensor], values: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences of a scalar with respect to each element of a float64 tensor, changed in place."""
    slopes = torch.zeros_like(values)
    flat, found = values.detach().view(-1), slopes.view(-1)
    for index in range(flat.numel()):
        kept = flat[index].item()
        flat[index] = kept + step
        above = of().item()
        flat[index] = kept - step
        found[index] = (above - of().item()) / (2 * step)
        flat[index] = kept
    return slopes
