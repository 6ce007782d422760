"""The final word on one run, read from its folder: how it ended, its metrics, what it took, how to repeat it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gan_dist.data.facts import facts_from_record
from gan_dist.evaluation.collapse import watch_reports
from gan_dist.evaluation.reports.plots import Panel, page, render_png
from gan_dist.registry.metric_names import metric_value_names, partial_features, partial_judge
from gan_dist.runs.checkpoint import newest_described
from gan_dist.runs.hints import command
from gan_dist.runs.request import as_mapping
from gan_dist.runs.run_folder import JOB, RunFolder, summarize_metrics, tag_curve, training_seconds
from gan_dist.spec.job import JobSpec

SHOWN_TAGS = ("loss/", "metric/")
MOST_PANELS = 4


def run_results(run: RunFolder) -> dict[str, Any]:
    """What came of a run, as plain values.

    `training_s` is the time between reports of every attempt, grids and checkpoints included; `device_hours` is that
    times the workers of the newest checkpoint.

    Raises:
        NoSuchRun: the folder holds no run.
        CheckpointError: checkpoints are stored, and none of them is whole.
    """
    request, status, reports = run.request(), run.status(), run.reports()
    spec = JobSpec.model_validate(request["job"]) if "job" in request else None
    newest = newest_described(run.checkpoints())
    meta = newest.meta if newest is not None else {}
    seconds = training_seconds(reports)
    grids = run.grids()
    return {
        "id": run.id,
        "uri": run.uri,
        "status": status["status"],
        "message": status.get("message", ""),
        "seen": status["seen"],
        "attempts": status["attempt"],
        "metrics": {name: vars(course) for name, course in summarize_metrics(reports).items()},
        "losses": {name: value for name, value in (reports[-1] if reports else {}).items() if name.startswith("loss/")},
        "partial": [] if spec is None else sorted(_partial(spec)),
        "warnings": [] if spec is None else _warnings(reports, spec, status),
        "training_s": seconds,
        "workers": meta.get("world"),
        "device_hours": seconds * meta["world"] / 3600 if meta else None,
        "data": _data(meta["data"]) if meta else None,
        "format": newest.meta["format"] if newest is not None else None,
        "versions": meta.get("versions", request["versions"]),
        "machine": dict(as_mapping(meta.get("machine"))),
        "checkpoint": newest.folder.uri if newest is not None else None,
        "grid": f"{run.uri}/grids/{grids[-1]}" if grids else None,
        "repeat": command("submit", f"{run.uri}/{JOB}"),
    }


def _partial(spec: JobSpec) -> Iterator[str]:
    """Names of metrics by features that the run trained by, which are no judge of it."""
    roots = [spec.environment.code or "."]
    partial = partial_features(spec, roots)
    for metric in spec.metrics:
        if partial_judge(metric, partial, roots) is not None:
            yield from metric_value_names(metric, roots)


def _warnings(reports: Sequence[dict[str, float]], spec: JobSpec, status: dict[str, Any]) -> list[str]:
    return list(watch_reports(reports, spec, status.get("until") or 0).active.values())


def _data(record: dict[str, Any]) -> dict[str, Any]:
    """What the data of a checkpoint were, in words and numbers."""
    found: dict[str, Any] = {key: record[key] for key in ("count", "size", "channels", "checksum") if key in record}
    return found | {"described": facts_from_record(record).described}


def run_html(run: RunFolder, status: str) -> str:
    """A run as a notebook shows it: where it stands, its metrics, its curves and its last grid."""
    reports, grids = run.reports(), [name for name in run.grids() if name.endswith(".png")]
    curves = {tag: tag_curve(run, tag) for tag in (reports[-1] if reports else {}) if tag.startswith(SHOWN_TAGS)}
    panels = [
        Panel(
            "samples seen",
            tag,
            {tag: ([seen for seen, _ in points], [value for _, value in points])},
            title=run.id,
            style=".-",
        )
        for tag, points in curves.items()
    ]
    pictures = [render_png(panels[:MOST_PANELS])] if panels else []
    pictures += [run.folder.read(f"grids/{name}") for name in grids[-1:]]
    metrics = [(name, f"{summary.last[0]:.6g}") for name, summary in summarize_metrics(reports).items()]
    return page("run.html", id=run.id, status=status, seen=run.status()["seen"], metrics=metrics, pictures=pictures)
