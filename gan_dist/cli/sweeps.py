"""What `results` and `status` say of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_dist.cli.output import emit, say, table

if TYPE_CHECKING:
    from gan_dist.runs.run_folder import RunFolder


def print_results_of_sweep(
    run: RunFolder, *, target: Path | None, plots: Path | None, page: Path | None, as_json: bool
) -> None:
    """Work out what came of a sweep, write what was asked for, and say it."""
    from gan_dist.sweeps import results

    found = results.results_of_sweep(run)
    written = []
    if target is not None:
        text, _ = results.best_job(run)
        target.write_text(f"# gan-dist submit {target}\n{text}")
        written.append(target)
    if plots is not None:
        from gan_dist.sweeps.report import save_pictures

        written += save_pictures(results.StoredSweep(run), plots)
    if page is not None:
        from gan_dist.sweeps.report import render_page

        page.write_text(render_page(run, found))
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
    from gan_dist.sweeps.results import summary_lines

    say(f"{found['id']}: {found['status']}, {len(found['trials'])} configurations in {format_clock(found['seconds'])}")
    if found["message"]:
        say(f"message     {found['message']}")
    _print_ranking(found["metrics"], found["trials"])
    for row in found["trials"]:
        if row["message"]:
            say(f"t{row['number']:03d} {row['state'].replace('_', ' ')}: {row['message'].splitlines()[0]}")
    for line in summary_lines(found):
        say(line)
    if found["best"] is not None:
        say(f"best job    gan-dist results {found['id']} --best-job best.yaml")


def say_standing(run: RunFolder) -> None:
    """The trials of a sweep so far, best first."""
    from gan_dist.sweeps.results import results_of_sweep

    found = results_of_sweep(run, importance=False)
    if found["trials"]:
        _print_ranking(found["metrics"], found["trials"])


def _print_ranking(metrics: list[str], rows: list[dict[str, Any]]) -> None:
    from gan_dist.sweeps.results import table_head, table_row

    table(table_head(metrics), [table_row(row, len(metrics)) for row in rows])
