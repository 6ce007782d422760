"""`gan-dist download`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gan_dist.cli.options import Json
from gan_dist.cli.output import confirm, console, emit, say, size, table
from gan_dist.errors import UsageError

if TYPE_CHECKING:
    from gan_dist.data.downloads import PublicDataset

INTERRUPTED = 130


def complete_dataset(incomplete: str) -> list[str]:
    """Names of data sets that begin so."""
    from gan_dist.data.downloads import DATASETS

    return [dataset.name for dataset in DATASETS if dataset.name.startswith(incomplete)]


def download(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="The data set; without one, the list of all.",
            autocompletion=complete_dataset,
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Agree to the size and the licence without being asked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch a public data set, which a job then names as `download:NAME`. Its size and licence are shown first.

    Without a network, its files can be put by hand where the message says; they are checked when they are used.
    """
    from gan_dist.data.downloads import DATASETS, find_dataset

    if name is None:
        _list(DATASETS, as_json)
        return
    dataset = find_dataset(name)
    if dataset.missing:
        _describe(dataset, aside=as_json)
        if not yes and not sys.stdin.isatty():
            raise UsageError(f"nobody can be asked here whether to fetch {name} under its licence; say --yes")
        if not confirm(f"Fetch {size(sum(file.size for file in dataset.missing))}?", yes):
            raise typer.Exit(1)
    _fetch(dataset)
    if as_json:
        emit(_record(dataset))
        return
    say(f"here       {dataset.folder}")
    say(f"in a job   data: {dataset.data}")
    say(f"or now     gan-dist submit {dataset.job}")


def _list(datasets: tuple[PublicDataset, ...], as_json: bool) -> None:
    if as_json:
        emit([_record(dataset) for dataset in datasets])
        return
    rows = [[one.name, size(one.size), "no" if one.missing else "yes", one.licence, one.about] for one in datasets]
    table(["NAME", "SIZE", "HERE", "LICENCE", "WHAT"], rows)
    say("\ngan-dist download NAME fetches one; without any: sources digits, manual and oracle are always there")


def _record(dataset: PublicDataset) -> dict[str, object]:
    return {
        "name": dataset.name,
        "about": dataset.about,
        "licence": dataset.licence,
        "page": dataset.page,
        "bytes": dataset.size,
        "files": {file.name: file.url for file in dataset.files},
        "folder": str(dataset.folder),
        "here": not dataset.missing,
        "data": dataset.data,
    }


def _describe(dataset: PublicDataset, aside: bool) -> None:
    from gan_dist.data.downloads import checksum_name

    say(f"{dataset.name}: {dataset.about}", aside)
    say(f"licence    {dataset.licence}", aside)
    say(f"page       {dataset.page}", aside)
    for file in dataset.missing:
        kind = file.checksum.partition(":")[0]
        checked = f"with its {checksum_name(kind)}" if kind else "no checksum is published"
        about = "" if file.checksum else "about "
        say(f"file       {file.name}, {about}{size(file.size)} ({checked}), {file.url}", aside)
    say(f"into       {dataset.folder}", aside)


def _fetch(dataset: PublicDataset) -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from gan_dist.data.downloads import download as fetch_files

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(aside=True), transient=True) as bar:
        task = bar.add_task(dataset.name, total=None)
        try:
            fetch_files(
                dataset,
                lambda file, done, total: bar.update(task, description=file, completed=done, total=total or None),
            )
        except KeyboardInterrupt:
            bar.stop()
            say(f"interrupted: files of {dataset.name} that were whole are kept; the same command goes on", aside=True)
            raise typer.Exit(INTERRUPTED) from None
