"""Sweeps over curves that are formulas, so that no test of the search waits for training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gan_dist.runs.storage import Folder
from gan_dist.spec.amounts import Amount
from gan_dist.spec.sweep import SweepSpec
from gan_dist.sweeps.search.history import History, Outcome, Task
from gan_dist.sweeps.search.sampler import Values
from gan_dist.sweeps.search.search import Search, rule_of
from gan_dist.sweeps.search.trial_log import Ledger

END = 900
SPACE: dict[str, Any] = {"optimizer.lr": {"uniform": [0, 1]}}
Curve = Callable[[Values, int], float | None]


def section(**keys: Any) -> SweepSpec:
    return SweepSpec.model_validate({"metric": "fd", "space": SPACE, **keys})


def by_rate(values: Values, seen: int) -> float:
    """Falls with the samples seen; curves of two rates never cross."""
    return float(values["optimizer.lr"]) + 1 / seen


def opened(sweep: SweepSpec, folder: Path) -> Search:
    """A sweep as an attempt finds it: what an earlier one left, and the same rule."""
    rule = rule_of(sweep, END, lambda amount: Amount.samples(amount, 1, 1))
    return Search(sweep, rule, Ledger(Folder.at(folder), sweep.modes), lambda trial: f"trial-{trial}")


def outcome_of(task: Task, curve: Curve) -> Outcome:
    seen = END if task.until is None else task.until
    value = curve(task.values, seen)
    if value is None:
        return Outcome("diverged", seen, None, "training diverged")
    return Outcome("finished" if task.until is None else "reached", seen, value)


def simulate(sweep: SweepSpec, folder: Path, curve: Curve = by_rate, *, places: int = 1, most: int = 10_000) -> History:
    """Run a sweep with so many trials at a time, each as long as the others; at most `most` legs, as if then killed."""
    search, running = opened(sweep, folder), list[Task]()
    for _ in range(most):
        while len(running) < places and (task := search.next()) is not None:
            running.append(task)
        if not running:
            break
        task = running.pop(0)
        search.told(task, outcome_of(task, curve))
    return search.ledger.history
