"""`gan-dist pull`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gan_dist.cli import options
from gan_dist.cli.output import console, emit, say, size

if TYPE_CHECKING:
    from gan_dist.runs.pull import PullPlan

To = Annotated[Path | None, typer.Argument(help="The folder of the copy. Default: ./runs/RUN", metavar="TO")]


def pull(
    run: options.Run,
    to: To = None,
    force: options.Force = False,
    storage: options.Storage = None,
    as_json: options.Json = False,
) -> None:
    """Copy a run to this machine, a sweep with its trials. Called again, it copies what is missing or has changed."""
    from gan_dist.runs.index import find_run, storage_root
    from gan_dist.runs.pull import plan_pull
    from gan_dist.sweeps.results import trials_of

    found = find_run(run, storage_root(storage, None))
    target = (to or Path("runs") / found.id).expanduser().absolute()
    plans = [
        plan_pull(one, Path(f"{target}{one.uri.removeprefix(found.uri)}"), force=force)
        for one in (found, *trials_of(found))
    ]
    files, total = sum(len(plan.files) for plan in plans), sum(plan.bytes for plan in plans)
    kept = sum(plan.kept for plan in plans)
    counted = "1 file" if files == 1 else f"{files} files"
    say(f"{found.id}: {counted} to copy, {size(total)}; {kept} unchanged", aside=True)
    _copy(found.id, plans, total)
    if as_json:
        emit({"run": found.id, "folder": str(target), "files": files, "bytes": total, "kept": kept})
        return
    say(f"copied to {target}")


def _copy(name: str, plans: list[PullPlan], total: int) -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from gan_dist.runs.pull import pull as copy

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(aside=True), transient=True) as bar:
        task = bar.add_task(name, total=total)
        try:
            for plan in plans:
                copy(plan, lambda count: bar.advance(task, count))
        except KeyboardInterrupt:
            bar.stop()
            say("interrupted: files that were whole are kept; the same command goes on", aside=True)
            raise
