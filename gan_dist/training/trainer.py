"""The composition root: a validated job and a runtime become data, networks, stages and writers, and are trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gan_dist.data.facts import DataFacts, facts_from_record
from gan_dist.data.ingest import Ingest, Memory, move_to_device
from gan_dist.data.order import epoch_samples
from gan_dist.distributed.gradient_reduction import is_dense
from gan_dist.distributed.processor import describe_machine
from gan_dist.distributed.runtime import Autocast, WorkerRuntime
from gan_dist.errors import CheckpointError, GanDistError, UsageError
from gan_dist.generation.modality import modality_of
from gan_dist.networks.layers.global_batch_norm import global_batch_norms
from gan_dist.registry import lookup
from gan_dist.registry.build import build_networks
from gan_dist.runs import checkpoint
from gan_dist.runs.checkpoint import EMA, Checkpoint, load_weights
from gan_dist.runs.request import TRAINING, InitialWeights, as_mapping, made_otherwise
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.spec.schedules import Clock
from gan_dist.training.arithmetic import arithmetic, library_choices, resolve_precision
from gan_dist.training.batch_norm_statistics import StandingStatistics
from gan_dist.training.batches import BatchFactory
from gan_dist.training.callbacks import RunCallbacks
from gan_dist.training.loop import train
from gan_dist.training.micro_batch import check_equal_micros, choose_micro_batch
from gan_dist.training.run_logger import Stats
from gan_dist.training.stages import build_stages
from gan_dist.training.state import TrainState, build_averages
from gan_dist.training.transfer import SourceNetwork, transfer

if TYPE_CHECKING:
    from gan_dist.evaluation.metric_runner import MetricRunner


def train_run(
    spec: JobSpec,
    *,
    run: WorkerRuntime,
    rows: Ingest,
    folder: RunFolder,
    attempt: int,
    start_from: InitialWeights | None = None,
) -> dict[str, Any]:
    """Train a job on this worker, from the run's newest checkpoint if it has one, else from `start_from`.

    Returns:
        ending ("finished" or "stopped"), seen, and the last logged numbers.

    Raises:
        ValueError: the networks are not those of the checkpoint.
        TrainingDiverged: a loss or gradient is no longer finite.
    """
    lookup.add_import_roots([spec.environment.code or "."])
    found = checkpoint.newest(folder.checkpoints(), lambda text: _warn(run, text))
    began = as_mapping(found.meta.get("resolved")) if found is not None else {}
    precision = resolve_precision(spec.precision, began.get("precision"), run)
    autocast, dtype = arithmetic(precision, run.device)
    state = _build_state(spec, rows, run, autocast, dtype)
    if found is not None:
        _restore(state, found, run)
    elif start_from is not None:
        _transfer(state, start_from, spec=spec, facts=rows.facts, run=run)
    if isinstance(rows, Memory):
        rows = move_to_device(rows, spec.data.ingest, run.device)
    feed = _feed(spec, rows, state, run, dtype)
    if began.get("lane", feed.lane) != feed.lane:
        _warn(
            run, f"this run goes on with other random numbers: its lanes had {began['lane']} samples, here {feed.lane}"
        )
    feed.micro_batch = choose_micro_batch(spec.micro_batch, began.get("micro_batch"), state=state, feed=feed, run=run)
    if global_batch_norms(*(net.module for net in state.nets.values())):
        check_equal_micros(feed, run)
    stats = Stats(run.device)
    callbacks = RunCallbacks(
        spec=spec,
        run=run,
        rows=rows,
        feed=feed,
        stats=stats,
        folder=folder,
        attempt=attempt,
        measuring=_measuring(spec, run, rows, folder),
        resolved={**_resolved(spec, precision, feed), **began},
    )
    try:
        with library_choices(spec.determinism, run):
            ending = train(state, feed=feed, run=run, stats=stats, tasks=callbacks)
    except Exception:
        callbacks.close()
        raise
    return {"ending": ending, "seen": state.seen, "values": callbacks.latest}


def _feed(spec: JobSpec, rows: Ingest, state: TrainState, run: WorkerRuntime, dtype: torch.dtype) -> BatchFactory:
    """What cuts and draws batches, as yet in one micro-batch."""
    return BatchFactory(
        rows=rows,
        generator=state.nets["generator"],
        run=run,
        seed=spec.seed,
        batch=spec.batch,
        micro_batch=spec.batch,
        dtype=dtype,
        encode=modality_of(rows.facts).encoder(spec.data, run.device, dtype),
    )


def _resolved(spec: JobSpec, precision: str, feed: BatchFactory) -> dict[str, Any]:
    """What `auto` became, which later attempts take from the run's first checkpoint, and the lane of its randomness."""
    found: dict[str, Any] = {"lane": feed.lane} | ({"precision": precision} if spec.precision == "auto" else {})
    halved = spec.micro_batch == "auto" and feed.micro_batch < feed.share
    return {**found, "micro_batch": feed.micro_batch} if halved else found


def _build_state(spec: JobSpec, rows: Ingest, run: WorkerRuntime, autocast: Autocast, dtype: torch.dtype) -> TrainState:
    """What a job trains, at its beginning."""
    clock = Clock(spec.batch, epoch_samples(rows.facts.pass_length, spec.batch))
    modules = {name: _placed(module, run.device, dtype) for name, module in build_networks(spec, rows.facts).items()}
    stages = build_stages(spec, clock, modules)
    averages = build_averages(spec.ema, modules["generator"], clock)
    return TrainState(
        nets={name: run.wire(module, spec.compile, autocast) for name, module in modules.items()},
        settings=stages[0].settings,
        averages=averages,
        stages=stages,
        standing=_standing(spec, rows, run.device),
        scaled=spec.precision == "fp16",
    )


def _standing(spec: JobSpec, rows: Ingest, device: torch.device) -> StandingStatistics | None:
    if spec.standing is None:
        return None
    return StandingStatistics(spec=spec.standing, batch=spec.batch, rows=rows, seed=spec.seed, device=device)


def _measuring(spec: JobSpec, run: WorkerRuntime, rows: Ingest, folder: RunFolder) -> MetricRunner | None:
    """The job's metrics. Imported only where there are any: workers without start sooner."""
    if not spec.metrics:
        return None
    from gan_dist.evaluation.metric_runner import MetricRunner

    facts, roots = modality_of(rows.facts).real_facts, [spec.environment.code or "."]
    return MetricRunner(metrics=spec.metrics, facts=facts, cache=folder.measured(), run=run, roots=roots)


def _placed(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A network on its device. One whose own class says `channels_last = True` is laid out so, in which convolutions
    are faster; others may rely on the plain layout (`x.view(n, -1)` does)."""
    placed = module.to(device, dtype)
    for parameter in placed.parameters():
        # Optimisers and reductions walk through memory; a view with gaps would be trained in part.
        if not is_dense(parameter):
            parameter.data = parameter.data.contiguous()
    return placed.to(memory_format=torch.channels_last) if vars(type(module)).get("channels_last") else placed


def _restore(state: TrainState, found: Checkpoint, run: WorkerRuntime) -> None:
    if others := made_otherwise(found.meta, TRAINING, describe_machine(run.device)):
        _warn(run, f"this run goes on, though not bit for bit: its checkpoint was made by {others}")
    with _explain_other_state(found):
        state.restore(found, run)


@contextmanager
def _explain_other_state(stored: Checkpoint) -> Iterator[None]:
    """Raises CheckpointError where a checkpoint whose checksums hold is not what a run of this job stores."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError) as error:
        if isinstance(error, GanDistError):
            raise
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        if others := made_otherwise(stored.meta, ("gan-dist", "torch")):
            told += f"; it was made by {others}"
        raise CheckpointError(f"checkpoint {stored.folder.uri}: its state is not that of this job ({told})") from error


def _transfer(
    state: TrainState, start_from: InitialWeights, *, spec: JobSpec, facts: DataFacts, run: WorkerRuntime
) -> None:
    """Weights of another run, with a new clock and new optimisers; with its generator, its average becomes this run's.

    Raises:
        ValueError: its networks are others, or its tokens mean something else.
    """
    source = Checkpoint(Folder.at(start_from.folder))
    if getattr(facts_from_record(source.meta["data"]), "codec", None) != getattr(facts, "codec", None):
        raise UsageError(
            f"--from: the tokens of {source.folder.uri} are not those of data.source, so that its weights mean other "
            "words; prepare both with one vocabulary"
        )
    built = _source_networks(source, spec)
    for name, net in state.nets.items():
        there = start_from.takes(name) and source.has(f"{name}.safetensors")
        told = _take(net.module, name, source, built.get(name), facts) if there else None
        if told is not None:
            _warn(run, f"--from: {name}: {told}")
    for average in state.averages if start_from.takes("generator") else ():
        name = EMA if source.has(f"{EMA}.safetensors") else "generator"
        _take(average.module, name, source, built.get("generator"), facts)


def _source_networks(source: Checkpoint, spec: JobSpec) -> dict[str, nn.Module]:
    """The networks that weights come from, without memory, as far as they are of the same kind as the job's."""
    try:
        theirs, facts = JobSpec.model_validate(source.meta["job"]), facts_from_record(source.meta["data"])
        alike = [
            name
            for name, one in spec.network_specs.items()
            if name in theirs.network_specs and theirs.network_specs[name].use == one.use
        ]
        with torch.device("meta"):
            return build_networks(theirs.model_copy(update={"freeze": {}}), facts, alike)
    except (GanDistError, ValueError, TypeError, OSError):
        return {}  # of what is not described, only what is the same is taken


def _take(own: nn.Module, name: str, source: Checkpoint, built: nn.Module | None, facts: DataFacts) -> str | None:
    """Load a network's weights from a checkpoint, all or what fits; in words where it is not all.

    Raises:
        ValueError: nothing fits.
    """
    tensors = source.tensors(name)
    if built is not None:
        there = SourceNetwork(tensors=tensors, network=built, facts=facts_from_record(source.meta["data"]))
        if (found := transfer(own, facts, there)) is not None:
            return None if found.is_whole else found.describe()
    load_weights(own, tensors, name)
    return None


def _warn(run: WorkerRuntime, text: str) -> None:
    if run.rank == 0:
        run.emit({"event": "warning", "text": text})
