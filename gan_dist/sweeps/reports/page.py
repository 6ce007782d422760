"""The results of a sweep as one HTML file that opens without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gan_dist.evaluation.reports.html import page
from gan_dist.runs.run_folder import RunFolder
from gan_dist.sweeps.reports.plots import pictures
from gan_dist.sweeps.reports.progress import cells, headings
from gan_dist.sweeps.reports.results import StoredSweep, best_job, lines_on

HEADINGS = {
    "grids": "Samples of the best",
    "curves": "Metric over samples seen",
    "front": "Pareto front",
    "lineage": "Who took over from whom",
    "parallel": "All keys beside each other",
    "slices": "Each key against the metric",
}


def html(run: RunFolder, found: Mapping[str, Any]) -> str:
    """The whole file.

    Args:
        run: the sweep's folder.
        found: what `results_of_sweep` says of it.
    """
    metrics, trials = found["metrics"], found["trials"]
    failed = [
        f"t{row['number']:03d} {row['state'].replace('_', ' ')}: {row['message']}" for row in trials if row["message"]
    ]
    drawn = pictures(StoredSweep(run))
    return page(
        "sweep.html",
        title=found["id"],
        told=f"{found['status']}, {len(trials)} configurations, {found['seconds'] / 60:.1f} minutes",
        head=headings(metrics),
        rows=[cells(row, len(metrics)) for row in trials],
        words=[*lines_on(found), *failed],
        pictures=[(words, drawn[name]) for name, words in HEADINGS.items() if name in drawn],
        best=[] if found["best"] is None else best_job(run)[0].splitlines(),
    )
