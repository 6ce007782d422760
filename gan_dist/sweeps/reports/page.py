"""The results of a sweep as one HTML file that opens without a network."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from gan_dist.evaluation.reports.html import lines, page, picture, table
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
    told = f"{found['status']}, {len(trials)} configurations, {found['seconds'] / 60:.1f} minutes"
    failed = [
        f"t{row['number']:03d} {row['state'].replace('_', ' ')}: {row['message']}" for row in trials if row["message"]
    ]
    ranked = table(headings(metrics), [cells(row, len(metrics)) for row in trials])
    drawn = pictures(StoredSweep(run))
    parts = [f"<p>{escape(told)}</p>", ranked, lines([*lines_on(found), *failed])]
    parts += [f"<h2>{words}</h2>{picture(drawn[name])}" for name, words in HEADINGS.items() if name in drawn]
    if found["best"] is not None:
        parts.append(f"<h2>The best job</h2>{lines(best_job(run)[0].splitlines())}")
    return page(found["id"], "\n".join(parts))
