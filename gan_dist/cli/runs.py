"""`gan-dist list`, `status`, `logs`, `stop`, `delete`: on run folders, with or without a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gan_dist.runs.run_folder import RunFolder

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from gan_dist.cli import options
from gan_dist.cli.output import ago, check_all_free, confirm, console, emit, say, size, table
from gan_dist.errors import UsageError

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Follow the run to its end; exit with its result.")]
BestJob = Annotated[
    Path | None, typer.Option("--best-job", help="Sweeps only: write the best job there, as YAML.", metavar="FILE")
]
Plots = Annotated[
    Path | None, typer.Option("--plots", help="Sweeps only: draw the pictures there, as PNG.", metavar="DIR")
]
Report = Annotated[
    Path | None,
    typer.Option("--report", help="Sweeps only: everything in one file that needs no network.", metavar="FILE.html"),
]
Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        help="Only these: pending, waiting, running, succeeded, stopped, failed, lost, unknown.",
        metavar="STATUS",
    ),
]
Name = Annotated[str, typer.Option(help="Only runs whose id holds this; `*` stands for anything.", metavar="TEXT")]
Since = Annotated[
    str | None, typer.Option(help="Only runs since then: an age, 12h or 3d, or a date.", metavar="AGE|DATE")
]
Label = Annotated[list[str] | None, typer.Option(help="Only runs whose job has this label.", metavar="KEY=VALUE")]
Owner = Annotated[str, typer.Option(help="Only runs that this user submitted.", metavar="USER")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many.")]
Sort = Annotated[str, typer.Option(help="started (newest first), name, status or seen.", metavar="KEY")]
Raw = Annotated[bool, typer.Option("--raw", help="The log as it was written, with the driver's events as JSON.")]


def list_runs(
    status: Statuses = None,
    name: Name = "",
    label: Label = None,
    owner: Owner = "",
    since: Since = None,
    limit: Limit = None,
    sort: Sort = "started",
    storage: options.Storage = None,
    address: options.Address = None,
    as_json: options.Json = False,
) -> None:
    """The runs that were started from here or lie in ./runs, newest first; with --storage, those that lie there; with
    --address, those that a cluster knows, whoever started them."""
    from gan_dist.launch.run_status import RunFilter, cluster_status, every_status, parse_labels, parse_since

    if address is not None and storage is not None:
        raise UsageError("--address lists the runs of a cluster and --storage those of a storage; give one of them")

    earliest = 0.0 if since is None else parse_since(since, time.time())
    wanted = RunFilter(
        statuses=status or (),
        labels=parse_labels(label or []),
        owner=owner,
        name=name,
        since=earliest,
        limit=limit,
        sort=sort,
    )
    every = every_status(storage) if address is None else cluster_status(address)
    rows = wanted.select(every)
    if as_json:
        emit(rows)
    elif every and not rows:
        say(f"none of {len(every)} runs fits")
    elif not rows:
        say("no runs yet: gan-dist submit jobs/dcgan.yaml")
    else:
        now = time.time()
        table(("RUN", "STATUS", "SEEN", "STARTED", "OWNER", "WHERE"), (_cells(row, now) for row in rows))


def status(
    run: options.Run,
    storage: options.Storage = None,
    address: options.Address = None,
    as_json: options.Json = False,
) -> None:
    """Show where a run stands, and the trials of a sweep."""
    from gan_dist.launch.run_status import run_status
    from gan_dist.runs.index import find_run, storage_root
    from gan_dist.sweeps.results import is_sweep

    here = find_run(run, storage_root(storage, None))
    found = run_status(here, address)
    if as_json:
        emit(found)
        return
    lines = {
        "run": found["id"],
        "status": found["status"],
        "seen": _seen(found),
        "attempt": found.get("attempt"),
        "started": ago(found.get("started"), time.time()),
        "message": found.get("message"),
        "cluster": found.get("address"),
        "where": found["uri"],
    }
    for key, value in lines.items():
        if value:
            say(f"{key:9}{value}")
    for text in (found.get("last") or {}).get("warnings", ()):
        say(f"warning  {text}")
    if is_sweep(here):
        say_standing(here)
    if found["status"] == "lost":
        say(f"its driver and cluster are gone; go on: gan-dist submit --resume {found['id']}")


Film = Annotated[
    Path | None,
    typer.Option(help="A film of the run's grids over training: .mp4, .webm or .gif.", metavar="FILE"),
]


def results(
    run: options.Run,
    best_job: BestJob = None,
    plots: Plots = None,
    report: Report = None,
    film: Film = None,
    force: options.Force = False,
    storage: options.Storage = None,
    as_json: options.Json = False,
) -> None:
    """The final word on a run or a sweep: how it ended, its metrics, what it took, and how to repeat it."""
    from gan_dist.evaluation.reports.results import run_results
    from gan_dist.runs.index import find_run, storage_root
    from gan_dist.sweeps.results import is_sweep

    check_all_free(force, best_job=best_job, plots=plots, report=report, film=film)
    here = find_run(run, storage_root(storage, None))
    if is_sweep(here):
        print_results_of_sweep(here, target=best_job, plots=plots, page=report, as_json=as_json)
        return
    if best_job is not None or plots is not None or report is not None:
        raise UsageError(
            f"--best-job, --plots and --report are for sweeps; {here.id} is a run, its job {here.uri}/job.json"
        )
    if film is not None:
        from gan_dist.generation.films import film_of_grids
        from gan_dist.runs.storage import Folder

        Folder.at(film.parent).write(film.name, film_of_grids(here, film))
    found = run_results(here)
    if as_json:
        emit(found | ({"film": str(film)} if film is not None else {}))
        return
    if film is not None:
        say(f"film        {film}")
    attempts = "" if found["attempts"] == 1 else f" in {found['attempts']} attempts"
    say(f"{found['id']}: {found['status']}, {found['seen']:,} samples seen{attempts}")
    if found["message"]:
        say(f"message     {found['message']}")
    for text in found["warnings"]:
        say(f"warning     {text}")
    if found["metrics"]:
        table(("METRIC", "LAST", "LOWEST", "AT", "HIGHEST", "AT"), map(_course, found["metrics"].items()))
    if found["device_hours"] is not None:
        took, hours = found["training_s"] / 60, found["device_hours"]
        workers = "1 worker" if found["workers"] == 1 else f"{found['workers']} workers"
        say(f"took        {took:.1f} minutes of training on {workers}: {hours:.2f} device-hours")
        data = found["data"]
        say(f"data        {data['count']:,} {data['described']}, checksum {data['checksum']}")
    stored = "" if found["format"] is None else f"; checkpoints of format {found['format']}"
    say("versions    " + ", ".join(f"{name} {version}" for name, version in found["versions"].items()) + stored)
    if found["machine"]:
        say("machine     " + ", ".join(f"{name} {which}" for name, which in found["machine"].items()))
    for key in ("checkpoint", "grid", "repeat"):
        if found[key]:
            say(f"{key:12}{found[key]}")


def _course(item: tuple[str, dict[str, Any]]) -> list[str]:
    name, course = item
    cells = [name, f"{course['last'][0]:.5g}"]
    for key in ("lowest", "highest"):
        cells += [f"{course[key][0]:.5g}", f"{course[key][1]:,}"]
    return cells


def logs(
    run: options.Run,
    follow: Follow = False,
    raw: Raw = False,
    storage: options.Storage = None,
    address: options.Address = None,
    as_json: options.Json = False,
) -> None:
    """What a run printed, while its cluster lives and afterwards."""
    from gan_dist.cli.submit import finish
    from gan_dist.launch.follow import LiveDisplay, ask_at_terminal, ended_outcome, follow_job
    from gan_dist.launch.run_status import job_or_none, log_lines
    from gan_dist.runs.index import find_run, storage_root

    found = find_run(run, storage_root(storage, None))
    job = job_or_none(found, address)
    if follow and job is not None and job.alive:
        ask = ask_at_terminal if sys.stdin.isatty() and sys.stderr.isatty() else None
        display = LiveDisplay(console(as_json))
        outcome = follow_job(job.jobs, job.id, run_id=found.id, follower=display, ask=ask, run=found)
        finish(found.id, found.uri, outcome, as_json)
    lines = log_lines(found, job)
    if as_json:
        emit({"run": found.id, "lines": list(lines)})
    elif raw:
        for line in lines:
            say(line)
    else:
        follower = LiveDisplay(console(), live=False, everything=True)
        for line in lines:
            follower.feed(line)
    if follow and (ended := ended_outcome(found, address)) is not None:
        finish(found.id, found.uri, ended, as_json=False)


def stop(
    run: options.Run,
    storage: options.Storage = None,
    address: options.Address = None,
    as_json: options.Json = False,
) -> None:
    """Stop a run: it saves a checkpoint of the iteration it is in, and ends."""
    from gan_dist.launch import run_status
    from gan_dist.runs.index import find_run, known_run, storage_root
    from gan_dist.sweeps.results import is_sweep

    found = find_run(run, storage_root(storage, None))
    before = run_status.run_status(found, address)["status"]
    if before not in run_status.GOES_ON:
        _stopped(found.id, {"status": before}, as_json, f"run {found.id} has ended already: {before}")
        return
    holder = found.lease_holder()
    if holder is not None and "sweep" in found.request():
        run_status.stop_trial(found, holder["attempt"])
        _stopped(found.id, {"status": "stopped"}, as_json, f"trial {found.id} has saved and ended; its sweep goes on")
        return
    if holder is not None and "submission" not in known_run(found):
        raise UsageError(
            f"run {found.id} is no Ray job: process {holder['pid']} on {holder['host']} has it; stop it there"
        )
    say(f"stopping {found.id}: saving a checkpoint ...", aside=as_json)
    events = run_status.stop(run_status.job_of(found, address))
    ended = events["end"]["status"]
    if (request := found.folder.read_json("request.json") or {}) and found.status()["status"] in run_status.OPEN:
        # It was ended before its driver could say so.
        found.update(status=ended, exit_code=3 if ended == "stopped" else 1)
    path = events.get("checkpoint", {}).get("path")
    result = {"status": ended, "checkpoint": path}
    kept = f"checkpoint  {path}" if path else "it had no checkpoint yet"
    if is_sweep(found):
        kept = "its trials have saved what they had"
    words = [result["status"], kept]
    if request and request.get("mode") != "smoke":
        words.append(f"resume      gan-dist submit --resume {found.id}")
    _stopped(found.id, result, as_json, "\n".join(words))


def _stopped(run_id: str, result: dict[str, Any], as_json: bool, words: str) -> None:
    if as_json:
        emit({"run": run_id, **result})
    else:
        say(words)


def delete(
    run: options.Run,
    yes: options.Yes = False,
    storage: options.Storage = None,
    address: options.Address = None,
    as_json: options.Json = False,
) -> None:
    """Delete a run's folder with all its checkpoints; a sweep's trials are deleted with it."""
    from gan_dist.launch.run_status import GOES_ON, run_status
    from gan_dist.runs.deletion import check_deletable, delete_run
    from gan_dist.runs.index import find_run, forget_run, storage_root
    from gan_dist.sweeps.results import trials_of

    found = find_run(run, storage_root(storage, None))
    if stored := found.folder.names():  # else it failed before it could store anything
        check_deletable(found)
    if (now := run_status(found, address)["status"]) in GOES_ON:
        raise UsageError(f"run {found.id} is {now}; stop it first: gan-dist stop {found.id}")
    trials = trials_of(found)
    count = found.size() + sum(trial.size() for trial in trials)
    several = f" with {len(trials)} trials" if trials else ""
    say(f"{found.uri}{several}  {size(count)}", aside=as_json)
    if not confirm("Delete it for good?", yes):
        raise typer.Exit(1)
    kept: list[str] = []
    for one in (*trials, found):
        kept += [f"{one.uri}/{name}" for name in delete_run(one)]
        forget_run(one)
    if as_json:
        emit({"run": found.id, "uri": found.uri, "bytes": count, "deleted": True, "kept": kept})
        return
    say("deleted" if stored else f"forgotten: nothing of it is stored in {found.uri}")
    for name in kept:
        say(f"kept, as gan-dist did not write it: {name}")


def _cells(row: dict[str, Any], now: float) -> tuple[str, ...]:
    where = row["uri"] if row.get("reachable", True) else f"{row['uri']} (not reachable from here)"
    return row["id"], row["status"], _seen(row), ago(row.get("started"), now), row.get("owner") or "-", where


def _seen(row: dict[str, Any]) -> str:
    from gan_dist.launch.follow import shorten

    seen = shorten(row.get("seen") or 0)
    return f"{seen} / {shorten(row['until'])}" if row.get("until") else seen


def print_results_of_sweep(
    run: RunFolder, *, target: Path | None, plots: Path | None, page: Path | None, as_json: bool
) -> None:
    """Work out what came of a sweep, write what was asked for, and say it."""
    from gan_dist.runs.hints import command
    from gan_dist.sweeps import results

    found = results.results_of_sweep(run)
    written = []
    if target is not None:
        text, _ = results.best_job(run)
        target.write_text(f"# {command('submit', target)}\n{text}")
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
