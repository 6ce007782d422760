"""A sweep inside the cluster: Ray Tune runs the trials, our search says which.

Tune sees a searcher that hands out legs of trials, and a trainable that trains one leg and returns. So a trial that
does not go on has ended like any run, its workers and placement group released by itself, and Tune keeps nothing that a
resumed sweep would need.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from gan_dist.data.order import epoch_samples
from gan_dist.distributed.lanes import lanes_of
from gan_dist.errors import PreflightError
from gan_dist.events import Event
from gan_dist.execution.attempt import Attempt
from gan_dist.execution.preflight import earlier_window
from gan_dist.execution.ray.prepare_ahead import BackgroundPreparation
from gan_dist.execution.ray.resources import ResolvedResources, resolve_resources, resource_problems
from gan_dist.execution.ray.run import DRAIN_S, load_into_object_store, run_with_data
from gan_dist.spec.job import JobSpec
from gan_dist.spec.schedules import Clock
from gan_dist.sweeps.candidates import make_trial_job
from gan_dist.sweeps.sampler import list_configurations_to_check
from gan_dist.sweeps.sweep import Sweep
from gan_dist.sweeps.trial import Trial, truncate_job
from gan_dist.sweeps.trial_log import Leg, LegResult

# Tune's own loggers would write every trial a second time, and its tables would stand beside ours.
os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}


REPORT_EVERY_S = 2.0
LOOK_EVERY_S, IDLE_S = 10.0, 30.0
OF_GROUP = "bundle_group_"


class LegSearcher(Searcher):
    """Hands the search's legs to Tune, and their results back. Its state is the sweep's record; Tune's copies of it
    carry none."""

    def __init__(self, sweep: Sweep | None) -> None:
        super().__init__(metric="seen", mode="max")
        self.sweep = sweep
        self.legs: dict[str, Leg] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next leg; None when there is none for now."""
        assert self.sweep is not None
        leg = self.sweep.ask()
        if leg is None:
            return Searcher.FINISHED if self.sweep.search.over else None
        self.legs[trial_id] = leg
        return {"leg": json.dumps(asdict(leg))}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note how far a leg has come."""
        assert self.sweep is not None
        self.sweep.update(self.legs[trial_id], result["seen"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take a leg's result, or the death of the trial's process once too often."""
        assert self.sweep is not None
        leg = self.legs.pop(trial_id, None)
        if leg is None:
            return
        plain = json.loads((result or {}).get("leg_result") or "null")
        if error:
            seen = int((result or {}).get("seen", 0))
            lost = "its process was lost, and again on each try"
            self.sweep.tell(leg, LegResult(state="failed", seen=seen, message=lost))
        else:
            self.sweep.tell(leg, None if plain is None else LegResult.from_json(plain))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, for the same reason."""

    def __deepcopy__(self, memo: dict[int, Any]) -> LegSearcher:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return LegSearcher, (None,)


class TuneTrial(tune.Trainable):
    """One leg at a time. Each `step` returns what happened since the last, so that the actor stays responsive."""

    _thread: threading.Thread

    def setup(self, config: dict[str, Any], context: Any = None, data: Any = None) -> None:
        """Begin the leg in `config`.

        Args:
            config: `leg`, as JSON.
            context: what all trials of the sweep share.
            data: the data of the sweep's job, served already.
        """
        logging.getLogger("ray").setLevel(logging.WARNING)
        self.context, self.data = context, data
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next leg in the same process."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Samples seen so far; at the end `done`, with the leg's result as JSON (null where it was interrupted)."""
        self._thread.join(REPORT_EVERY_S)
        while not self._events.empty():
            event = self._events.get()
            if event["event"] == "progress":
                self._seen = event["seen"]
        if self._thread.is_alive():
            return {"seen": self._seen}
        if self._error is not None:
            raise self._error
        result = None if self._result is None else asdict(self._result)
        return {"seen": self._seen, "done": True, "leg_result": json.dumps(result)}

    def cleanup(self) -> None:
        """Save and end what still trains, so that no worker or placement group is left."""
        self._trial.stop.set()
        self._thread.join()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial resumes from its run's own checkpoints."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing, for the same reason."""

    def _begin(self, config: dict[str, Any]) -> None:
        self._events: queue.Queue[Event] = queue.Queue()
        self._result: LegResult | None = None
        self._error: Exception | None = None
        self._seen = 0
        self._trial = Trial(self.context, Leg(**json.loads(config["leg"])), self._train, self._events.put)
        self._thread = threading.Thread(target=self._run_leg, daemon=True)
        self._thread.start()

    def _run_leg(self) -> None:
        try:
            self._result = self._trial.train_leg()
        except Exception as error:
            self._error = error

    def _train(self, attempt: Any, spec: Any) -> dict[str, Any]:
        data = self._data_of(attempt, spec)
        clock = Clock(spec.batch, epoch_samples(data.facts.pass_length, spec.batch))
        return run_with_data(attempt, truncate_job(spec, self._trial.leg.until, clock), lambda: data)

    def _data_of(self, attempt: Any, spec: Any) -> Any:
        """The sweep's data, or, where this trial has others, those."""
        if spec.model_dump(mode="json")["data"] == self.context.job["data"]:
            return self.data
        cluster: Any = ray
        stand_in_of = spec.batch if attempt.request.mode == "smoke" else None
        reading = BackgroundPreparation(
            data=spec.data,
            cache=attempt.folder.prepared(),
            cpus=1,
            stand_in_of=stand_in_of,
            progress=lambda done, total: None,
            encoding=lambda done, total: None,
        )
        return load_into_object_store(
            reading.result(), spec, nodes=cluster.nodes(), before=earlier_window(attempt.folder), emit=attempt.emit
        )


class OrphanedPlacementGroups:
    """The placement groups of this driver's trials that nothing lives in. Tune's own, which hold memory, are Tune's.

    Ray Train's own cleaner learns of a worker group when its workers have started. If the process of a trial dies
    before, Ray keeps the group's placement group for as long as the driver lives, and, if the process died while the
    request for it was under way, for as long as the cluster does. Either way other trials would wait for room that
    nothing uses.

    Args:
        warn: gets a message for each that is given back while trials train.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._job, self._warn = ray.get_runtime_context().get_job_id(), warn
        self._since: dict[str, float] = {}
        self._looked = time.monotonic()

    def remove_idle(self) -> None:
        """Every LOOK_EVERY_S seconds, remove those that have been granted and empty for IDLE_S seconds. Workers come
        into theirs at once."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        empty = {group for group, state in self._find_groups().items() if state == "CREATED"} & _find_empty_groups()
        self._since = {group: self._since.get(group, now) for group in empty}
        for group in [group for group, since in self._since.items() if now - since >= IDLE_S]:
            self._warn("a trial's process died as it began; the CPUs or GPUs it had reserved are given back")
            _remove_group(group)

    def remove_all(self) -> None:
        """Remove all of them: no trial is left."""
        for group in self._find_groups():
            _remove_group(group)

    def _find_groups(self) -> dict[str, str]:
        """The state of each group that holds or wants a CPU or GPU. The last part of a group's id is its driver's."""
        return {
            group: facts["state"]
            for group, facts in placement_group_table().items()
            if group.endswith(self._job)
            and facts["state"] != "REMOVED"
            and any({"CPU", "GPU"} & bundle.keys() for bundle in facts["bundles"].values())
        }


def _find_empty_groups() -> set[str]:
    """Granted groups that nothing lives in, or is on its way into: it would hold a little of the resource that Ray
    makes of each group."""
    cluster: Any = ray
    there, free = cluster.cluster_resources(), cluster.available_resources()
    return {
        name.removeprefix(OF_GROUP)
        for name, all_of_it in there.items()
        if name.startswith(OF_GROUP) and free.get(name, 0.0) >= all_of_it
    }


def _remove_group(group: str) -> None:
    remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))


def run_sweep(attempt: Attempt, reading: BackgroundPreparation) -> dict[str, Any]:
    """Run a sweep to its end, or until its stop is asked for. Ray is up.

    Raises:
        PreflightError: preflight found what would fail later.
    """
    cluster: Any = ray
    spec = attempt.spec
    there, nodes = cluster.cluster_resources(), cluster.nodes()

    def asked(one: JobSpec) -> ResolvedResources:
        return resolve_resources(one.resources, len(lanes_of(one.batch)), there, nodes)

    ask, places = places_for(spec, asked)
    if problems := [
        *resource_problems(ask, attempt.folder.folder, there, nodes),
        *_check_concurrency(spec, ask, places),
    ]:
        raise PreflightError("\n".join(problems))
    attempt.emit({"event": "stage", "text": "reading data"})
    data = load_into_object_store(reading.result(), spec, nodes=nodes, before=None, emit=attempt.emit)
    sweep = Sweep(attempt, data.facts, lambda one: asked(one).most)
    assert spec.sweep is not None
    concurrent = min(spec.sweep.concurrent or places, max(1, places))
    attempt.emit({"event": "preflight", "lines": _describe_plan(sweep, concurrent, ask)})
    failures: list[Exception] = []

    def fit() -> None:
        try:
            _run_tuner(sweep, concurrent, data)
        except Exception as error:
            failures.append(error)

    orphans = OrphanedPlacementGroups(lambda text: attempt.emit({"event": "warning", "text": text}))
    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    while thread.is_alive():
        if sweep.must_stop():
            sweep.stop()
        orphans.remove_idle()
        thread.join(DRAIN_S)
    attempt.folder.folder.delete("ray")
    if failures:
        raise failures[0]
    orphans.remove_all()
    return sweep.result()


def _run_tuner(sweep: Sweep, concurrent: int, data: Any) -> None:
    """`Tuner.fit()` off the main thread, where Tune installs no signal handler of its own."""
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    trainable: Any = tune.with_parameters(TuneTrial, context=sweep.context, data=data)
    # Ours, because its own does not know an endpoint as ours does.
    system, path = sweep.attempt.folder.folder.child("ray").open()
    tuner = tune.Tuner(
        # A trial must ask for something, and CPUs are its workers'. Every node has memory.
        tune.with_resources(trainable, {"memory": 2**20}),
        tune_config=tune.TuneConfig(
            search_alg=LegSearcher(sweep), num_samples=-1, max_concurrent_trials=concurrent, reuse_actors=True
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
    asks = [asked(one) for one in _jobs_to_place(spec)]
    ask = max(asks, key=lambda one: (one.least * one.cpus_per_worker, one.least))
    by_cpu = int(ask.cluster_cpus / (ask.least * ask.cpus_per_worker))
    return ask, min(by_cpu, int(ask.cluster_gpus / (ask.least * ask.gpus_per_worker))) if ask.gpu else by_cpu


def _jobs_to_place(spec: JobSpec) -> list[JobSpec]:
    """The jobs that differ in what they ask of the cluster."""
    assert spec.sweep is not None
    if not any(key == "batch" or key.startswith("resources.") for key in spec.sweep.space):
        return [spec]
    job, roots = spec.model_dump(mode="json", by_alias=True), (spec.environment.code or ".",)
    return [make_trial_job(job, values, roots) for values in list_configurations_to_check(spec.sweep)]


def _check_concurrency(spec: JobSpec, ask: ResolvedResources, places: int) -> list[str]:
    asked = spec.sweep.concurrent if spec.sweep else None
    if asked is None or asked <= places or places == 0:
        return []
    return [
        f"sweep.concurrent: {asked} trials with {ask.asked} at a time are more than the cluster holds: it has "
        f"{ask.available}, room for {places}"
    ]


def _describe_plan(sweep: Sweep, concurrent: int, ask: ResolvedResources) -> list[str]:
    """The plan in a few lines, for people."""
    section, search = sweep.sweep, sweep.search
    seeds = "" if section.seeds == 1 else f" x {section.seeds} seeds"
    return [
        f"sweep     {search.wanted} configurations{seeds} by {section.search}, scheduler {section.scheduler.use}",
        *(
            f"metric    {name}, {mode} is best"
            for name, mode in zip(sweep.progress.metrics, section.modes, strict=True)
        ),
        f"trials    {concurrent} at a time, each with {ask.asked}",
    ]
