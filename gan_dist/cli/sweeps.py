"""What `results` and `status` say of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_dist.cli.output import emit, say, table

if TYPE_CHECKING:
    from gan_dist.runs.run_folder import RunFolder


def results_of_sweep(run: RunFolder, target: Path | None, plots: Path | None, page: Path | None, as_json: bool) -> None:
    """Work out what came of a sweep, write what was asked for, and say it."""
    from gan_dist.sweeps.reports import results

    found = results.results_of_sweep(run)
    written = []
    if target is not None:
        text, _ = results.best_job(run)
        target.write_text(f"# gan-dist submit {target}\n{text}")
        written.append(target)
    if plots is not None:
        from gan_dist.sweeps.reports.plots import draw_plots

        written += draw_plots(results.StoredSweep(run), plots)
    if page is not None:
        from gan_dist.sweeps.reports.page import html

        page.write_text(html(run, found))
        written.append(page)
    if as_json:
        emit({**found, "written": list(map(str, written))})
        return
    say_results(found)
    for path in written:
        say(f"written     {path}")


def say_results(found: dict[str, Any]) -> None:
    """The final word on a sweep, for people."""
    from gan_dist.launch.follow import format_clock
    from gan_dist.sweeps.reports.results import lines_on

    say(f"{found['id']}: {found['status']}, {len(found['trials'])} configurations in {format_clock(found['seconds'])}")
    if found["message"]:
        say(f"message     {found['message']}")
    _table(found["metrics"], found["trials"])
    for row in found["trials"]:
        if row["message"]:
            say(f"t{row['number']:03d} {row['state'].replace('_', ' ')}: {row['message'].splitlines()[0]}")
    for line in lines_on(found):
        say(line)
    if found["best"] is not None:
        say(f"best job    gan-dist results {found['id']} --best-job best.yaml")


def say_standing(run: RunFolder) -> None:
    """The trials of a sweep so far, best first."""
    from gan_dist.sweeps.reports.results import results_of_sweep

    found = results_of_sweep(run, importance=False)
    if found["trials"]:
        _table(found["metrics"], found["trials"])


def _table(metrics: list[str], rows: list[dict[str, Any]]) -> None:
    from gan_dist.sweeps.reports.progress import cells, headings

    table(headings(metrics), [cells(row, len(metrics)) for row in rows])
