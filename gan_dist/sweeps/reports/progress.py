"""What is shown of a sweep while it goes on: one line of progress, one table, and a line for each trial that ends."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from gan_dist.spec.problems import show_value
from gan_dist.sweeps.search.asha import Halving
from gan_dist.sweeps.search.history import Outcome, Task
from gan_dist.sweeps.search.ranking import Row, ranking
from gan_dist.sweeps.search.sampler import Values
from gan_dist.sweeps.search.search import Search

SHOWN = 8


class Board:
    """Follows the trials of one attempt at a sweep.

    Args:
        search: with its ledger.
        end: samples seen at the end of a job.
        metrics: what they are called.
    """

    def __init__(self, search: Search, end: int, metrics: Sequence[str]) -> None:
        self.search, self.end, self.metrics = search, end, metrics
        history = search.ledger.history
        self.seen = {task.trial: 0 for task in history.tasks.values()}
        for key, outcome in history.outcomes.items():
            self.seen[key[:2]] = max(self.seen[key[:2]], outcome.seen)
        self._began, self._before = time.monotonic(), sum(self.seen.values())

    def progress(self, task: Task, seen: int) -> None:
        """A trial has come so far."""
        self.seen[task.trial] = max(seen, self.seen.get(task.trial, 0))

    def rows(self) -> list[Row]:
        def furthest(number: int) -> int:
            return max((seen for trial, seen in self.seen.items() if trial[0] == number), default=0)

        return ranking(self.search.ledger.history, furthest)

    def expected(self) -> int:
        """Samples that all trials together will see, about: how many go on from a rung is not known before."""
        rule, trials = self.search.rule, self.search.wanted * self.search.sweep.seeds
        left = sum((task.until or self.end) - self.seen.get(task.trial, 0) for task in self.search.running.values())
        # More go on from a rung than one in `factor` of all, because they do before all are there.
        least = sum(self.seen.values()) + max(0, left)
        if not isinstance(rule, Halving):
            return trials * self.end
        total, before, share = 0.0, 0, 1.0
        for rung in rule.rungs:
            at = self.end if rung is None else rung
            total += max(1.0, trials * share) * (at - before)
            before, share = at, share / rule.factor
        return max(int(total), least)

    def event(self) -> dict[str, Any]:
        """The sweep's progress, as a run's."""
        done = sum(self.seen.values())
        until = max(self.expected(), done) if self.search.running or self.search.ended else max(done, 1)
        seconds = time.monotonic() - self._began
        rate = (done - self._before) / seconds if seconds > 0 else 0.0
        rows = self.rows()
        over = sum(row.state != "training" for row in rows)
        best = means(vars(rows[0])) if rows else []
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
            "table": [headings(self.metrics), *(cells(vars(row), len(self.metrics)) for row in rows[:SHOWN])],
        }

    def ended(self, task: Task, outcome: Outcome) -> str:
        """A line on a trial that ended."""
        name = self.search.named(task.trial)
        value = "".join(f", {name} {one:.5g}" for name, one in zip(self.metrics, outcome.values, strict=False))
        words = {"reached": "saved", "out_of_memory": "out of memory"}.get(outcome.kind, outcome.kind)
        why = f": {outcome.message.splitlines()[0]}" if outcome.message else ""
        return f"{name}: {words} after {outcome.seen:,} samples{value} ({told(task.values)}){why}"


def headings(metrics: Sequence[str]) -> list[str]:
    """Of the columns of `cells`; with several metrics the Pareto front of each configuration stands before them."""
    measured = [word for name in metrics for word in (name.upper(), "SPREAD")]
    return ["TRIAL", *(["FRONT"] if len(metrics) > 1 else []), *measured, "SEEN", "STATE", "VALUES"]


def cells(row: Mapping[str, Any], metrics: int) -> list[str]:
    """A row of the ranking, as text."""
    measured = [[row["mean"], row["spread"]], *row["more"]] if row["mean"] is not None else [[None, None]] * metrics
    words = [
        "-" if one is None else f"{one:.{digits}g}"
        for pair in measured
        for one, digits in zip(pair, (5, 2), strict=True)
    ]
    front = [str(row["front"] or "-")] if metrics > 1 else []
    state = str(row["state"]).replace("_", " ")
    return [f"t{row['number']:03d}", *front, *words, f"{row['seen']:,}", state, told(row["values"])]


def means(row: Mapping[str, Any]) -> list[float]:
    """The mean of each metric; none where there is none."""
    return [] if row["mean"] is None else [row["mean"], *(mean for mean, _ in row["more"])]


def told(values: Values) -> str:
    return ", ".join(f"{key}={show_value(value)}" for key, value in values.items())
