"""What came of a sweep, while it goes on and at its end: the table, the progress, what mattered, the best job."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from gan_dist.errors import UsageError
from gan_dist.events import ProgressEvent
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.spec.sweep import SweepSpec
from gan_dist.sweeps.ranking import RankedConfiguration, describe_noise, rank_configurations
from gan_dist.sweeps.sampler import describe_values, importances
from gan_dist.sweeps.schedulers import SuccessiveHalving, trace_lineage
from gan_dist.sweeps.search import Search
from gan_dist.sweeps.trial_log import NAME, History, Leg, LegResult, TrialLog, Values, trial_uri

MOST_LIVE_ROWS = 8


def is_sweep(run: RunFolder) -> bool:
    """Whether a run is a sweep that has begun."""
    return run.folder.exists(NAME)


class StoredSweep:
    """A sweep as its folder tells of it.

    Args:
        run: the sweep's folder.

    Raises:
        NoSuchRun: the folder holds no run.
        UsageError: its record is damaged.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.job: dict[str, Any] = run.job()
        spec = JobSpec.model_validate(self.job)
        assert spec.sweep is not None
        self.sweep: SweepSpec = spec.sweep
        self.log = TrialLog(run.folder, self.sweep.modes)
        header = self.log.header or {}
        self.tags: tuple[str, ...] = tuple(header.get("tags", self.sweep.metrics))
        self.seeds: int = header.get("seeds", self.sweep.seeds)

    @property
    def history(self) -> History:
        return self.log.history

    @property
    def metrics(self) -> list[str]:
        """The metrics' names."""
        return [tag.removeprefix("metric/") for tag in self.tags]

    @property
    def is_population(self) -> bool:
        """Whether its trials take over from each other."""
        return self.sweep.scheduler.use == "pbt"

    def trial(self, number: int, repetition: int = 0) -> RunFolder:
        """The run of a trial."""
        return RunFolder(Folder(trial_uri(self.run.uri, (number, repetition), self.seeds)))

    def ranking(self) -> list[RankedConfiguration]:
        """Its configurations, best first."""
        return rank_configurations(self.history, lambda number: int(self.trial(number).status()["seen"]))


def trials_of(run: RunFolder) -> list[RunFolder]:
    """The runs of a sweep's trials that are stored; none for what is no sweep."""
    if not is_sweep(run):
        return []
    stored = StoredSweep(run)
    trials = [stored.trial(*trial) for trial in dict.fromkeys(leg.trial for leg in stored.history.legs.values())]
    return [trial for trial in trials if trial.folder.exists("request.json")]


def results_of_sweep(run: RunFolder, importance: bool = True) -> dict[str, Any]:
    """What came of a sweep, as plain values.

    Args:
        run: the sweep's folder.
        importance: whether to work out how much each key matters, which takes seconds.

    Raises:
        NoSuchRun: the folder holds no run.
    """
    stored = StoredSweep(run)
    status, ranked = run.status(), stored.ranking()
    best = ranked[0].number if ranked and ranked[0].means else None
    return {
        "id": run.id,
        "uri": run.uri,
        "status": status["status"],
        "message": status.get("message", ""),
        "seen": status["seen"],
        "seconds": stored.log.seconds,
        "metrics": stored.metrics,
        "modes": list(stored.sweep.modes),
        "trials": [
            {**vars(one), "runs": [stored.trial(one.number, repetition).id for repetition in range(stored.seeds)]}
            for one in ranked
        ],
        "best": best,
        "front": [one.number for one in ranked if one.front == 1],
        "importance": _importances_by_metric(stored) if importance else {},
        "seed_noise": describe_noise(ranked),
        "lineage": _describe_lineage(stored, best) if stored.is_population and best is not None else None,
    }


def summary_lines(found: Mapping[str, Any]) -> list[str]:
    """What results say below the table: the front, what mattered, seed noise, and from whom the best weights come."""
    lines = []
    if found["front"]:
        names = ", ".join(f"t{number:03d}" for number in sorted(found["front"]))
        lines.append(
            f"front       {names}: none is better than these in one metric and as good in all. The best is the one "
            "nearest to the best of the front in every metric, in units of the front's ranges"
        )
    for name, shares in found["importance"].items():
        parts = ", ".join(f"{key} {100 * share:.0f} %" for key, share in shares.items())
        lines.append(f"importance  {parts}" + (f" of {name}" if len(found["metrics"]) > 1 else ""))
    lines.append(found["seed_noise"])
    for step in found["lineage"] or ():
        until = "the end" if step["until"] is None else f"{step['until']:,}"
        lines.append(f"lineage     {step['from']} until {until}: {describe_values(step['values'])}")
    return lines


def table_head(metrics: Sequence[str]) -> list[str]:
    """The columns of `table_row`; with several metrics each configuration's Pareto front stands before them."""
    measured = [word for name in metrics for word in (name.upper(), "SPREAD")]
    return ["TRIAL", *(["FRONT"] if len(metrics) > 1 else []), *measured, "SEEN", "STATE", "VALUES"]


def table_row(one: Mapping[str, Any], metrics: int) -> list[str]:
    """A configuration of the ranking, as text."""
    measured = list(zip(one["means"], one["spreads"], strict=True)) or [(None, None)] * metrics
    words = [
        "-" if number is None else f"{number:.{digits}g}"
        for pair in measured
        for number, digits in zip(pair, (5, 2), strict=True)
    ]
    front = [str(one["front"] or "-")] if metrics > 1 else []
    state = one["state"].replace("_", " ")
    return [f"t{one['number']:03d}", *front, *words, f"{one['seen']:,}", state, describe_values(one["values"])]


def best_job(run: RunFolder) -> tuple[str, int]:
    """The best configuration's job as YAML, which repeats its first run alone; and its number.

    Raises:
        UsageError: no trial has a value yet.
    """
    stored = StoredSweep(run)
    ranked = stored.ranking()
    if not ranked or not ranked[0].means:
        raise UsageError(
            f"sweep {run.id}: no trial has a value of {' and '.join(stored.metrics)} yet, so none is the best"
        )
    best = ranked[0]
    if stored.is_population:
        from gan_dist.sweeps.candidates import make_trial_job

        base = {key: value for key, value in stored.job.items() if key != "sweep"}
        schedules = _values_over_time(stored, best.number)
        spec = make_trial_job(base, schedules, (base["environment"]["code"] or ".",))
    else:
        spec = stored.trial(best.number).spec()
    # A trial imports the copy of the code that the sweep keeps; a new run is to import the person's own.
    code = stored.job["environment"]["code"]
    spec = spec.model_copy(update={"environment": spec.environment.model_copy(update={"code": code})})
    measured = ", ".join(f"{name} {mean:.5g}" for name, mean in zip(stored.metrics, best.means, strict=True))
    head = f"# The best of sweep {run.id}: trial t{best.number:03d}, {measured} after {best.seen:,} samples.\n"
    plain = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return head + write_yaml(plain), best.number


def write_yaml(plain: Mapping[str, Any]) -> str:
    """A job as people write it."""
    from ruamel.yaml import YAML

    writer: Any = YAML(typ="safe", pure=True)
    writer.default_flow_style, writer.width = None, 110
    writer.sort_base_mapping_type_on_output = False
    stream = io.StringIO()
    writer.dump(json.loads(json.dumps(plain)), stream)
    return stream.getvalue()


class SweepProgress:
    """Follows the trials of one attempt at a sweep.

    Args:
        search: with its record.
        end: samples seen at the end of a job.
        metrics: the metrics' names.
    """

    def __init__(self, search: Search, end: int, metrics: Sequence[str]) -> None:
        self.search, self.end, self.metrics = search, end, metrics
        history = search.log.history
        self.seen = {leg.trial: 0 for leg in history.legs.values()}
        for key, result in history.results.items():
            self.seen[key[:2]] = max(self.seen[key[:2]], result.seen)
        self._began, self._before = time.monotonic(), sum(self.seen.values())

    def update(self, leg: Leg, seen: int) -> None:
        """Note that a trial has come so far."""
        self.seen[leg.trial] = max(seen, self.seen.get(leg.trial, 0))

    def ranking(self) -> list[RankedConfiguration]:
        """The configurations so far, best first."""

        def furthest(number: int) -> int:
            return max((seen for trial, seen in self.seen.items() if trial[0] == number), default=0)

        return rank_configurations(self.search.log.history, furthest)

    def expected(self) -> int:
        """Samples that all trials together will see, about: how many are promoted from a rung is not known before."""
        scheduler, trials = self.search.scheduler, self.search.wanted * self.search.sweep.seeds
        left = sum((leg.until or self.end) - self.seen.get(leg.trial, 0) for leg in self.search.running.values())
        # More are promoted than one in `factor` of all, because they are before all are there.
        least = sum(self.seen.values()) + max(0, left)
        if not isinstance(scheduler, SuccessiveHalving):
            return trials * self.end
        total, before, share = 0.0, 0, 1.0
        for rung in scheduler.rungs:
            at = self.end if rung is None else rung
            total += max(1.0, trials * share) * (at - before)
            before, share = at, share / scheduler.factor
        return max(int(total), least)

    def event(self) -> ProgressEvent:
        """The sweep's progress, as a run's."""
        done = sum(self.seen.values())
        until = max(self.expected(), done) if self.search.running or self.search.stopped else max(done, 1)
        seconds = time.monotonic() - self._began
        rate = (done - self._before) / seconds if seconds > 0 else 0.0
        ranked = self.ranking()
        over = sum(one.state != "training" for one in ranked)
        best = ranked[0].means if ranked else ()
        return {
            "event": "progress",
            "seen": done,
            "until": until,
            "rate": rate,
            "eta": (until - done) / rate if rate > 0 else None,
            "losses": {},
            "metrics": {f"best {name}": mean for name, mean in zip(self.metrics, best, strict=False)},
            "workers": None,
            "stage": f"{over} of {self.search.wanted} tried, {len(self.search.running)} training",
            "table": [
                table_head(self.metrics),
                *(table_row(vars(one), len(self.metrics)) for one in ranked[:MOST_LIVE_ROWS]),
            ],
        }

    def describe_result(self, leg: Leg, result: LegResult) -> str:
        """A line on a leg that ended."""
        measured = "".join(f", {name} {one:.5g}" for name, one in zip(self.metrics, result.values, strict=False))
        words = {"reached": "saved", "out_of_memory": "out of memory"}.get(result.state, result.state)
        why = f": {result.message.splitlines()[0]}" if result.message else ""
        values = describe_values(leg.values)
        return f"{self.search.name_of(leg.trial)}: {words} after {result.seen:,} samples{measured} ({values}){why}"


def _importances_by_metric(stored: StoredSweep) -> dict[str, dict[str, float]]:
    # The first rung is the one that all have reached; a population is compared where it ended.
    legs = stored.history.legs.values() if stored.is_population else ()
    index = max((leg.index for leg in legs), default=0)
    return {
        name: dict(found)
        for place, name in enumerate(stored.metrics)
        if (found := importances(stored.sweep.space, stored.history, index, place))
    }


def _describe_lineage(stored: StoredSweep, number: int) -> list[dict[str, Any]]:
    """From whom the best member's weights come, and how long each did as it did; oldest first."""
    legs = trace_lineage(stored.history, number)
    return [
        {"from": stored.trial(leg.number).id, "until": leg.until, "values": leg.values}
        for leg, following in zip_longest(legs, legs[1:])
        if following is None or (leg.number, leg.values) != (following.number, following.values)
    ]


def _values_over_time(stored: StoredSweep, number: int) -> Values:
    """A population's values as schedules: what the best member's weights were trained with, from leg to leg."""
    legs = trace_lineage(stored.history, number)
    starts = [0, *(stored.history.results[leg.key].seen for leg in legs[:-1])]
    found: Values = {}
    for key in legs[-1].values:
        steps = [[at, leg.values[key]] for at, leg in zip(starts, legs, strict=True)]
        changed = [step for place, step in enumerate(steps) if place == 0 or step[1] != steps[place - 1][1]]
        found[key] = changed[0][1] if len(changed) == 1 else {"piecewise": changed}
    return found
