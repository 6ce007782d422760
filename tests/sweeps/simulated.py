"""Sweeps over curves that are formulas, so that no test of the search waits for training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gan_dist.runs.storage import Folder
from gan_dist.spec.amounts import Amount
from gan_dist.spec.sweep import SweepSpec
from gan_dist.sweeps.schedulers import make_scheduler
from gan_dist.sweeps.search import Search
from gan_dist.sweeps.trial_log import History, Leg, LegResult, TrialLog, Values

END = 900
SPACE: dict[str, Any] = {"optimizer.lr": {"uniform": [0, 1]}}
Curve = Callable[[Values, int], float | None]


def section(**keys: Any) -> SweepSpec:
    return SweepSpec.model_validate({"metric": "fd", "space": SPACE, **keys})


def by_rate(values: Values, seen: int) -> float:
    """Falls with the samples seen; curves of two rates never cross."""
    return float(values["optimizer.lr"]) + 1 / seen


def opened(sweep: SweepSpec, folder: Path) -> Search:
    """A sweep as an attempt finds it: what an earlier one left, and the same scheduler."""
    scheduler = make_scheduler(sweep, END, lambda amount: Amount.samples(amount, 1, 1))
    log = TrialLog(Folder.at(folder), sweep.modes)
    return Search(sweep=sweep, scheduler=scheduler, log=log, name_of=lambda trial: f"trial-{trial}")


def result_of(leg: Leg, curve: Curve) -> LegResult:
    seen = END if leg.until is None else leg.until
    value = curve(leg.values, seen)
    if value is None:
        return LegResult(state="diverged", seen=seen, message="training diverged")
    return LegResult(state="finished" if leg.until is None else "reached", seen=seen, values=(value,))


def simulate(sweep: SweepSpec, folder: Path, curve: Curve = by_rate, *, places: int = 1, most: int = 10_000) -> History:
    """Run a sweep with so many trials at a time, each as long as the others; at most `most` legs, as if then killed."""
    search, running = opened(sweep, folder), list[Leg]()
    for _ in range(most):
        while len(running) < places and (leg := search.ask()) is not None:
            running.append(leg)
        if not running:
            break
        leg = running.pop(0)
        search.tell(leg, result_of(leg, curve))
    return search.log.history
