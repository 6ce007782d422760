"""What `results` and `status` say of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gan_dist.cli.output import say, table

if TYPE_CHECKING:
    from gan_dist.runs import RunFolder


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
