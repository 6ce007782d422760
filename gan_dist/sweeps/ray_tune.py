"""A sweep inside the cluster: Ray Tune runs the trials, our search says which.

Tune sees a searcher that hands out legs of trials, and a trainable that trains one leg and returns. So a trial that
does not go on has ended like any run, its workers and placement group released by itself, and Tune keeps nothing that a
resumed sweep would need.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from gan_dist.distributed.randomness import lanes_of
from gan_dist.errors import PreflightError
from gan_dist.execution.attempt import Attempt, storage_problems
from gan_dist.execution.events import print_event
from gan_dist.execution.ray.prepare_ahead import BackgroundPreparation
from gan_dist.execution.ray.resources import ResolvedResources, resolve_resources, resource_problems
from gan_dist.execution.ray.run import DRAIN_S, load_into_object_store
from gan_dist.runs.request import RunRequest
from gan_dist.runs.run_folder import log_prints
from gan_dist.spec.job import JobSpec
from gan_dist.sweeps.orphaned_resources import Orphans
from gan_dist.sweeps.search.history import Outcome, Task
from gan_dist.sweeps.search.sampler import planned, probes
from gan_dist.sweeps.sweep import Sweep
from gan_dist.sweeps.tune_trainable import TuneTrial

# Tune's own loggers would write every trial a second time, and its tables would stand beside ours.
os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}


class Suggestions(Searcher):
    """Our search as Tune's searcher. Its state is the sweep's ledger; Tune's copies of it carry none."""

    def __init__(self, sweep: Sweep | None) -> None:
        super().__init__(metric="seen", mode="max")
        self.sweep = sweep
        self.tasks: dict[str, Task] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next task; None when there is none for now."""
        assert self.sweep is not None
        task = self.sweep.hand_out()
        if task is None:
            return Searcher.FINISHED if self.sweep.search.over else None
        self.tasks[trial_id] = task
        return {"task": json.dumps(asdict(task))}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        assert self.sweep is not None
        self.sweep.progress(self.tasks[trial_id], result["seen"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """An outcome, or the death of the trial's process once too often."""
        assert self.sweep is not None
        task = self.tasks.pop(trial_id, None)
        if task is None:
            return
        told = json.loads((result or {}).get("outcome") or "null")
        if error:
            seen = int((result or {}).get("seen", 0))
            self.sweep.take(task, Outcome("failed", seen, message="its process was lost, and again on each try"))
        else:
            self.sweep.take(task, None if told is None else Outcome.read(told))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, for the same reason."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Suggestions:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Suggestions, (None,)


def conduct_sweep(request: RunRequest, stop: threading.Event, reading: BackgroundPreparation) -> int:
    """Run a sweep to its end, or until `stop` is set; the exit code. Ray is up."""
    attempt = Attempt(request, print_event, stop)
    if problems := storage_problems(attempt.folder.folder):
        print_event({"event": "end", "status": "failed", "exit_code": 2, "message": problems[0], "summary": []})
        return 2
    with log_prints(attempt.folder, request.attempt):
        return attempt.run_and_record(lambda attempt: search(attempt, reading))


def search(attempt: Attempt, reading: BackgroundPreparation) -> dict[str, Any]:
    """Everything between the lease and the record of the end.

    Raises:
        Refused: preflight found what would fail later.
    """
    import ray

    cluster: Any = ray
    spec = attempt.spec
    there, nodes = cluster.cluster_resources(), cluster.nodes()

    def asked(one: JobSpec) -> ResolvedResources:
        return resolve_resources(one.resources, len(lanes_of(one.batch)), there, nodes)

    ask, places = places_for(spec, asked)
    if problems := [*resource_problems(spec.resources, ask, attempt.folder.folder), *_too_many(spec, ask, places)]:
        raise PreflightError("\n".join(problems))
    attempt.emit({"event": "stage", "text": "reading data"})
    data = load_into_object_store(reading.result(), spec, nodes, None, attempt.emit)
    sweep = Sweep(attempt, data.facts, lambda one: asked(one).most)
    assert spec.sweep is not None
    concurrent = min(spec.sweep.concurrent or places, max(1, places))
    attempt.emit({"event": "preflight", "lines": _plan(sweep, concurrent, ask)})
    failures: list[Exception] = []

    def fit() -> None:
        try:
            _fit(sweep, concurrent, data)
        except Exception as error:
            failures.append(error)

    orphans = Orphans(lambda text: attempt.emit({"event": "warning", "text": text}))
    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    while thread.is_alive():
        if sweep.due():
            sweep.stop()
        orphans.look()
        thread.join(DRAIN_S)
    attempt.folder.folder.delete("ray")
    if failures:
        raise failures[0]
    orphans.remove()
    return sweep.result()


def _fit(sweep: Sweep, concurrent: int, data: Any) -> None:
    """`Tuner.fit()` off the main thread, where Tune installs no signal handler of its own."""
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    trainable: Any = tune.with_parameters(TuneTrial, common=sweep.common, data=data)
    # Ours, because its own does not know an endpoint as ours does.
    system, path = sweep.attempt.folder.folder.child("ray").open()
    tuner = tune.Tuner(
        # A trial must ask for something, and CPUs are its workers'. Every node has memory.
        tune.with_resources(trainable, {"memory": 2**20}),
        tune_config=tune.TuneConfig(
            search_alg=Suggestions(sweep), num_samples=-1, max_concurrent_trials=concurrent, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name=f"attempt-{sweep.attempt.request.attempt}",
            storage_filesystem=system,
            storage_path=path,
            failure_config=tune.FailureConfig(max_failures=sweep.spec.resources.max_failures),
            verbose=0,
        ),
    )
    tuner.fit()


def places_for(spec: JobSpec, asked: Callable[[JobSpec], ResolvedResources]) -> tuple[ResolvedResources, int]:
    """The largest ask among the trials, and how many of it the cluster holds."""
    asks = [asked(one) for one in _jobs(spec)]
    ask = max(asks, key=lambda one: (one.least * one.cpus_per_worker, one.least))
    by_cpu = int(ask.cluster_cpus / (ask.least * ask.cpus_per_worker))
    return ask, min(by_cpu, int(ask.cluster_gpus / ask.least)) if ask.gpu else by_cpu


def _jobs(spec: JobSpec) -> list[JobSpec]:
    """The jobs that differ in what they ask of the cluster."""
    from gan_dist.sweeps.search.candidates import candidate

    assert spec.sweep is not None
    if not any(key == "batch" or key.startswith("resources.") for key in spec.sweep.space):
        return [spec]
    job, roots = spec.model_dump(mode="json", by_alias=True), (spec.environment.code or ".",)
    return [
        candidate(job, values, roots)
        for values in [*(values for _, values in probes(spec.sweep.space)), *(planned(spec.sweep) or ())]
    ]


def _too_many(spec: JobSpec, ask: ResolvedResources, places: int) -> list[str]:
    asked = spec.sweep.concurrent if spec.sweep else None
    if asked is None or asked <= places or places == 0:
        return []
    return [
        f"sweep.concurrent: {asked} trials of {ask.asked} at a time are more than the cluster holds: it has "
        f"{ask.available}, room for {places}"
    ]


def _plan(sweep: Sweep, concurrent: int, ask: ResolvedResources) -> list[str]:
    """The plan in a few lines, for people."""
    section, search = sweep.sweep, sweep.search
    seeds = "" if section.seeds == 1 else f" x {section.seeds} seeds"
    return [
        f"sweep     {search.wanted} configurations{seeds} by {section.search}, scheduler {section.scheduler.use}",
        *(f"metric    {name}, {mode} is best" for name, mode in zip(sweep.board.metrics, section.modes, strict=True)),
        f"trials    {concurrent} at a time, each on {ask.asked}",
    ]
