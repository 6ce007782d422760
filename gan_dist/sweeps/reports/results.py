"""The final word on a sweep, read from its folder and its trials': the table, what mattered, the best job."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from gan_dist.errors import UsageError
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.spec.sweep import SweepSpec
from gan_dist.sweeps.reports.progress import means
from gan_dist.sweeps.reports.progress import told as told_values
from gan_dist.sweeps.search.history import History
from gan_dist.sweeps.search.pbt import lineage
from gan_dist.sweeps.search.ranking import Row, noise_words, ranking
from gan_dist.sweeps.search.sampler import Values
from gan_dist.sweeps.search.trial_log import NAME, Ledger, trial_uri


def is_sweep(run: RunFolder) -> bool:
    """Whether a run is a sweep that has begun."""
    return run.folder.exists(NAME)


class StoredSweep:
    """A stored sweep.

    Args:
        run: the sweep's folder.

    Raises:
        NoSuchRun: the folder holds no run.
        ValueError: its record is damaged.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.job: dict[str, Any] = run.request()["job"]
        spec = JobSpec.model_validate(self.job)
        assert spec.sweep is not None
        self.sweep: SweepSpec = spec.sweep
        self.ledger = Ledger(run.folder, self.sweep.modes)
        began = self.ledger.began or {}
        self.tags: tuple[str, ...] = tuple(began.get("tags", self.sweep.metrics))
        self.seeds: int = began.get("seeds", self.sweep.seeds)

    @property
    def history(self) -> History:
        return self.ledger.history

    @property
    def metrics(self) -> list[str]:
        """What they are called."""
        return [tag.removeprefix("metric/") for tag in self.tags]

    def trial(self, number: int, repetition: int = 0) -> RunFolder:
        return RunFolder(Folder(trial_uri(self.run.uri, (number, repetition), self.seeds)))

    def rows(self) -> list[Row]:
        return ranking(self.history, lambda number: int(self.trial(number).status()["seen"]))


def trials_of(run: RunFolder) -> list[RunFolder]:
    """The runs of a sweep's trials that are stored; none for what is no sweep."""
    if not is_sweep(run):
        return []
    told = StoredSweep(run)
    trials = [told.trial(*trial) for trial in dict.fromkeys(task.trial for task in told.history.tasks.values())]
    return [trial for trial in trials if trial.folder.exists("request.json")]


def results_of_sweep(run: RunFolder, importance: bool = True) -> dict[str, Any]:
    """What came of a sweep, as plain values.

    Args:
        run: the sweep's folder.
        importance: whether to work out how much each key matters, which takes seconds.

    Raises:
        NoSuchRun: the folder holds no run.
    """
    told = StoredSweep(run)
    status, rows = run.status(), told.rows()
    best = rows[0].number if rows and rows[0].mean is not None else None
    return {
        "id": run.id,
        "uri": run.uri,
        "status": status["status"],
        "message": status.get("message", ""),
        "seen": status["seen"],
        "seconds": told.ledger.seconds,
        "metrics": told.metrics,
        "modes": list(told.sweep.modes),
        "trials": [_trial(told, row) for row in rows],
        "best": best,
        "front": [row.number for row in rows if row.front == 1],
        "importance": _importance(told) if importance else {},
        "seed_noise": noise_words(rows),
        "lineage": _lineage(told, best) if told.sweep.scheduler.use == "pbt" and best is not None else None,
    }


def lines_on(found: Mapping[str, Any]) -> list[str]:
    """What results say below the table: the front, what mattered, seed noise, and from whom the best weights come."""
    lines = []
    if found["front"]:
        names = ", ".join(f"t{number:03d}" for number in sorted(found["front"]))
        lines.append(
            f"front       {names}: none is better than these in one metric and as good in all. The best is the one "
            "nearest to the best of the front in every metric, in units of the front's ranges"
        )
    for name, shares in found["importance"].items():
        told = ", ".join(f"{key} {100 * share:.0f} %" for key, share in shares.items())
        lines.append(f"importance  {told}" + (f" of {name}" if len(found["metrics"]) > 1 else ""))
    lines.append(found["seed_noise"])
    for step in found["lineage"] or ():
        until = "the end" if step["until"] is None else f"{step['until']:,}"
        lines.append(f"lineage     {step['from']} until {until}: {told_values(step['values'])}")
    return lines


def _importance(told: StoredSweep) -> dict[str, dict[str, float]]:
    """How much each key matters, by metric."""
    from gan_dist.sweeps.search.tpe import importances

    # The first rung is the one that all have reached; a population is compared where it ended.
    legs = [task.leg for task in told.history.tasks.values()] if told.sweep.scheduler.use == "pbt" else [0]
    leg = max(legs, default=0)
    return {
        name: dict(found)
        for place, name in enumerate(told.metrics)
        if (found := importances(told.sweep.space, told.history, leg, place))
    }


def _trial(told: StoredSweep, row: Row) -> dict[str, Any]:
    runs = [told.trial(row.number, repetition).id for repetition in range(told.seeds)]
    return {**vars(row), "each": list(row.each), "runs": runs}


def _lineage(told: StoredSweep, number: int) -> list[dict[str, Any]]:
    """From whom the best member's weights come, and how long each did as it did; oldest first."""
    legs = lineage(told.history, number)
    return [
        {"from": told.trial(task.number).id, "until": task.until, "values": task.values}
        for task, following in zip_longest(legs, legs[1:])
        if following is None or (task.number, task.values) != (following.number, following.values)
    ]


def best_job(run: RunFolder) -> tuple[str, int]:
    """The best configuration's job as YAML, which repeats its first run alone; and its number.

    Raises:
        ValueError: no trial has a value yet.
    """
    told = StoredSweep(run)
    rows = told.rows()
    if not rows or rows[0].mean is None:
        raise UsageError(
            f"sweep {run.id}: no trial has a value of {' and '.join(told.metrics)} yet, so none is the best"
        )
    best = rows[0]
    job = told.trial(best.number).request()["job"]
    if told.sweep.scheduler.use == "pbt":
        from gan_dist.sweeps.search.candidates import candidate

        base = {key: value for key, value in told.job.items() if key != "sweep"}
        spec = candidate(base, _over_time(told, best.number), (base["environment"]["code"] or ".",))
    else:
        spec = JobSpec.model_validate(job)
    told_value = ", ".join(f"{name} {mean:.5g}" for name, mean in zip(told.metrics, means(vars(best)), strict=True))
    head = f"# The best of sweep {run.id}: trial t{best.number:03d}, {told_value} after {best.seen:,} samples.\n"
    plain = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return head + _yaml(plain), best.number


def _over_time(told: StoredSweep, number: int) -> Values:
    """A population's values as schedules: what the best member's weights were trained with, from leg to leg."""
    legs = lineage(told.history, number)
    starts = [0, *(told.history.outcomes[task.number, 0, task.leg].seen for task in legs[:-1])]
    found: Values = {}
    for key in legs[-1].values:
        steps = [[at, task.values[key]] for at, task in zip(starts, legs, strict=True)]
        changed = [step for place, step in enumerate(steps) if place == 0 or step[1] != steps[place - 1][1]]
        found[key] = changed[0][1] if len(changed) == 1 else {"piecewise": changed}
    return found


def _yaml(plain: Mapping[str, Any]) -> str:
    from ruamel.yaml import YAML

    writer: Any = YAML(typ="safe", pure=True)
    writer.default_flow_style, writer.width = None, 110
    writer.sort_base_mapping_type_on_output = False
    stream = io.StringIO()
    writer.dump(json.loads(json.dumps(plain)), stream)
    return stream.getvalue()
