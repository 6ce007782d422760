"""What the reports of a run say of its metrics over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gan_dist.runs.run_folder import RunFolder


@dataclass(frozen=True)
class MetricSummary:
    """A metric over a run: its last value, its lowest and its highest, each with the samples seen there."""

    last: tuple[float, int]
    lowest: tuple[float, int]
    highest: tuple[float, int]


def summarize_metrics(reports: list[dict[str, Any]]) -> dict[str, MetricSummary]:
    """Every metric that was measured."""
    measured: dict[str, list[tuple[float, int]]] = {}
    for report in reports:
        for name, value in report.items():
            if name.startswith("metric/"):
                measured.setdefault(name.removeprefix("metric/"), []).append((value, int(report["seen"])))
    return {name: MetricSummary(values[-1], min(values), max(values)) for name, values in sorted(measured.items())}


def training_seconds(reports: list[dict[str, Any]]) -> float:
    """The time that the reports cover: samples since the report before, over their rate."""
    seconds, before = 0.0, 0
    for report in reports:
        seconds += (report["seen"] - before) / report["speed/samples_per_s"]
        before = report["seen"]
    return seconds


def last_value(run: RunFolder, tag: str) -> float | None:
    """The newest value of a tag in a run's reports; None where it was never reported."""
    course = tag_curve(run, tag)
    return course[-1][1] if course else None


def tag_curve(run: RunFolder, tag: str) -> list[tuple[int, float]]:
    """(samples seen, value) of each report of a run that has the tag."""
    return [(int(report["seen"]), float(report[tag])) for report in run.reports() if tag in report]
