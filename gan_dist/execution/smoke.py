"""A rehearsal of a job: two iterations with every task, a resume for some more, then what the full run will need."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gan_dist.data.facts import DataFacts
from gan_dist.data.order import epoch_samples
from gan_dist.events import Emit
from gan_dist.registry import lookup
from gan_dist.registry.build import KINDS
from gan_dist.runs.run_folder import RunFolder
from gan_dist.spec.amounts import Amount
from gan_dist.spec.durations import duration_words
from gan_dist.spec.job import ComponentSpec, JobSpec
from gan_dist.spec.schedules import Clock
from gan_dist.spec.sections import EverySpec, KeepSpec

STEPS = 2
TIMED = 4
MEASURED = 256
TRIALS = 2
ROOM_FOR_SCALARS = 10 * 2**20


@dataclass(frozen=True)
class Rehearsal:
    """What is rehearsed: the full job, on which data, stored where."""

    spec: JobSpec
    facts: DataFacts
    folder: RunFolder
    emit: Emit


def rehearse(rehearsal: Rehearsal, train: Callable[[JobSpec], dict[str, Any]]) -> dict[str, Any]:
    """Train two iterations, then resume for those whose speed counts; the result of the second part."""
    if rehearsal.facts.stand_in:
        text = f"data.source {rehearsal.spec.data.source!r} is not at hand: rehearsing on random images of that shape"
        rehearsal.emit({"event": "warning", "text": text})
    text = f"rehearsing {STEPS} iterations of {rehearsal.spec.batch:,} samples, then a resume for {TIMED} more"
    rehearsal.emit({"event": "stage", "text": text})
    first = train(shorten_job(rehearsal.spec, STEPS))
    if first["ending"] == "stopped":
        return first
    result = train(shorten_job(rehearsal.spec, STEPS + TIMED))
    rehearsal.emit({"event": "preflight", "lines": estimate_needs(rehearsal)})
    return result


def with_stand_in_networks(spec: JobSpec, emit: Emit) -> JobSpec:
    """The job with what its networks need and is not at hand replaced, as far as they can be rehearsed without: a class
    of networks may have `stand_in(args)`, which gives arguments and a word on them."""
    found = {}
    for name, one in spec.network_specs.items():
        factory = lookup.load_object(
            lookup.resolve_target(KINDS.get(name, "network"), one.use), [spec.environment.code or "."]
        )
        if instead := getattr(factory, "stand_in", lambda args: None)(one.args):
            args, text = instead
            emit({"event": "warning", "text": f"{name}: {text}"})
            found[name] = ComponentSpec.model_validate({**one.model_dump(), **args})
    pair = {name: one for name, one in found.items() if name in KINDS}
    return spec.model_copy(update={**pair, "networks": spec.networks | {n: found[n] for n in found.keys() - KINDS}})


def shorten_job(spec: JobSpec, steps: int) -> JobSpec:
    """The job with every stage cut to two iterations, the last one to `steps`, and every task after `steps`; metrics
    look at few samples."""
    turn = Amount(steps, "steps")
    every = EverySpec(report=Amount(1, "steps"), grid=turn, checkpoint=turn, metrics=turn)
    metrics = tuple(one.model_copy(update={"samples": _fewer(one.samples)}) for one in spec.metrics)
    # Fewer samples give other names, which these two would not find.
    spec = spec.model_copy(update={"metrics": metrics, "stop_when": None, "keep": KeepSpec(last=spec.keep.last)})
    if spec.stages is None:
        return spec.model_copy(update={"until": Amount(steps, "steps"), "every": every})
    cut = [stage.model_copy(update={"length": Amount(STEPS, "steps"), "every": every}) for stage in spec.stages]
    cut[-1] = cut[-1].model_copy(update={"length": Amount(steps, "steps")})
    return spec.model_copy(update={"stages": tuple(cut), "every": every})


def shorten_sweep(spec: JobSpec) -> JobSpec:
    """The sweep with two of its configurations, each rehearsed once."""
    sweep = spec.sweep
    assert sweep is not None
    fewer = {"trials": TRIALS, "seeds": 1, "scheduler": type(sweep.scheduler)(), "time_budget": None}
    return spec.model_copy(update={"sweep": sweep.model_copy(update=fewer)})


def _fewer(samples: Amount) -> Amount:
    return min(samples, Amount(MEASURED), key=lambda amount: amount.value)


def estimate_needs(rehearsal: Rehearsal) -> list[str]:
    """Time, memory and disk of the full run, from what the rehearsal measured."""
    spec, folder = rehearsal.spec, rehearsal.folder.folder
    reports = [json.loads(line) for line in folder.read("scalars.jsonl").splitlines()]
    memory = max(report["memory/gib"] for report in reports)
    clock = Clock(spec.batch, epoch_samples(rehearsal.facts.pass_length, spec.batch))
    lengths = [clock.samples(stage.length) for stage in spec.phases_plan]
    images, training = sum(lengths), _training_s(lengths, reports, spec.batch)
    sizes = dict(folder.files())
    saved = sum(size for name, size in sizes.items() if name.startswith("checkpoints/"))
    one = saved // max(1, sum(name.endswith("meta.json") for name in sizes))
    grid = max((size for name, size in sizes.items() if name.startswith("grids/")), default=0)
    grids = images // clock.samples(spec.every.grid) + 8
    disk = one * (spec.keep.last + spec.keep.best + 1) + 2 * grid * grids + ROOM_FOR_SCALARS
    aside = _metrics_s(spec, reports, images // clock.samples(spec.every.metrics) + 1)
    metrics = f", {duration_words(aside)} of it for metrics" if spec.metrics else ""
    lasts = duration_words(training + aside)
    return [
        f"rehearsed {STEPS} iterations, a grid, a checkpoint, and a resume for {TIMED} more",
        f"full run  {images:,} samples at {images / training:,.0f} samples/s: about {lasts}{metrics}",
        f"          {memory:.1f} GiB of memory for each worker, about {disk / 2**20:,.0f} MiB of storage "
        f"({spec.keep.last + spec.keep.best} checkpoints of {one / 2**20:.1f} MiB)",
    ]


def _training_s(lengths: list[int], reports: list[dict[str, float]], batch: int) -> float:
    """Seconds of the full run's stages, each at the best rate that it was rehearsed at."""
    rates = [0.0] * len(lengths)
    for report in reports:
        stage = min(int(report["seen"] - 1) // (STEPS * batch), len(lengths) - 1)
        rates[stage] = max(rates[stage], report["speed/step_samples_per_s"])
    return sum(length / rate for length, rate in zip(lengths, rates, strict=True))


def _metrics_s(spec: JobSpec, reports: list[dict[str, float]], times: int) -> float:
    """Seconds for all metrics of the full run, as if their time grew with their samples: at most about that."""
    found = [report["speed/metrics_s"] for report in reports if "speed/metrics_s" in report]
    most = max((metric.samples.value for metric in spec.metrics), default=0)
    return times * min(found, default=0.0) * max(1.0, most / MEASURED)
