"""What `results` and `status` say of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_dist.cli.output import emit, say, table

if TYPE_CHECKING:
    from gan_dist.runs import RunFolder


def results_of_sweep(run: RunFolder, target: Path | None, plots: Path | None, as_json: bool) -> None:
    """Work out what came of a sweep, write what was asked for, and say it."""
    from gan_dist.sweeps import report

    found = report.results_of_sweep(run)
    written = []
    if target is not None:
        text, _ = report.best_job(run)
        target.write_text(f"# gan-dist submit {target}\n{text}")
        written.append(target)
    if plots is not None:
        from gan_dist.sweeps.plots import draw_plots

        written += draw_plots(report.Told(run), plots)
    if as_json:
        emit({**found, "written": list(map(str, written))})
        return
    say_results(found)
    for path in written:
        say(f"written     {path}")


def say_results(found: dict[str, Any]) -> None:
    """The final word on a sweep, for people."""
    from gan_dist.follow import clock

    say(f"{found['id']}: {found['status']}, {len(found['trials'])} configurations in {clock(found['seconds'])}")
    if found["message"]:
        say(f"message     {found['message']}")
    _table(found["metric"], found["trials"])
    for row in found["trials"]:
        if row["message"]:
            say(f"t{row['number']:03d} {row['state'].replace('_', ' ')}: {row['message'].splitlines()[0]}")
    if found["importance"]:
        shares = ", ".join(f"{key} {100 * share:.0f} %" for key, share in found["importance"].items())
        say(f"importance  {shares}")
    say(found["seed_noise"])
    for step in found["lineage"] or ():
        until = "the end" if step["until"] is None else f"{step['until']:,}"
        say(f"lineage     {step['from']} until {until}: {_values(step['values'])}")
    if found["best"] is not None:
        say(f"best job    gan-dist results {found['id']} --best-job best.yaml")


def say_standing(run: RunFolder) -> None:
    """The trials of a sweep so far, best first."""
    from gan_dist.sweeps.report import results_of_sweep

    found = results_of_sweep(run, importance=False)
    if found["trials"]:
        _table(found["metric"], found["trials"])


def _table(metric: str, rows: list[dict[str, Any]]) -> None:
    from gan_dist.sweeps.board import cells, headings

    table(headings(metric), map(cells, rows))


def _values(values: dict[str, Any]) -> str:
    from gan_dist.sweeps.board import told

    return told(values)
