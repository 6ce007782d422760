"""`gan-dist download`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gan_dist.cli.options import Json
from gan_dist.cli.output import confirm, console, emit, say, size, table
from gan_dist.errors import UsageError

if TYPE_CHECKING:
    from gan_dist.data.downloads import PretrainedWeights, PublicDataset

INTERRUPTED = 130


def complete_name(incomplete: str) -> list[str]:
    """Names of data sets and weights that begin so."""
    from gan_dist.data.downloads import DATASETS, WEIGHTS

    return [one.name for one in (*DATASETS, *WEIGHTS) if one.name.startswith(incomplete)]


def download(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="The data set or the weights; without one, the list of all.",
            autocompletion=complete_name,
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Agree to the size and the licence without being asked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch a public data set, which a job then names as `download:NAME`, or the weights of a network that others
    trained, which features find by themselves. Size and licence are shown first.

    Without a network, its files can be put by hand where the message says; they are checked when they are used.
    """
    from gan_dist.data.downloads import DATASETS, WEIGHTS, find_download

    if name is None:
        _list((*DATASETS, *WEIGHTS), as_json)
        return
    found = find_download(name)
    if found.missing:
        _describe(found, aside=as_json)
        if not yes and not sys.stdin.isatty():
            raise UsageError(f"nobody can be asked here whether to fetch {name} under its licence; say --yes")
        if not confirm(f"Fetch {size(sum(file.size for file in found.missing))}?", yes):
            raise typer.Exit(1)
    _fetch(found)
    if as_json:
        emit(_record(found))
        return
    for line in _how_used(found):
        say(line)


def _how_used(found: PublicDataset | PretrainedWeights) -> list[str]:
    from gan_dist.data.downloads import PretrainedWeights

    if isinstance(found, PretrainedWeights):
        return [f"here       {found.path(found.files[0])}", f"in a job   {found.use}"]
    return [f"here       {found.folder}", f"in a job   data: {found.data}", f"or now     gan-dist submit {found.job}"]


def _list(found: Sequence[PublicDataset | PretrainedWeights], as_json: bool) -> None:
    if as_json:
        emit([_record(one) for one in found])
        return
    rows = [[one.name, size(one.size), "no" if one.missing else "yes", one.licence, one.about] for one in found]
    table(["NAME", "SIZE", "HERE", "LICENCE", "WHAT"], rows)
    say("\ngan-dist download NAME fetches one; without any: sources digits, manual and oracle are always there")


def _record(dataset: PublicDataset | PretrainedWeights) -> dict[str, object]:
    from gan_dist.data.downloads import PretrainedWeights

    how = {"use": dataset.use} if isinstance(dataset, PretrainedWeights) else {"data": dataset.data}
    return {
        "name": dataset.name,
        "about": dataset.about,
        "licence": dataset.licence,
        "page": dataset.page,
        "bytes": dataset.size,
        "files": {file.name: file.url for file in dataset.files},
        "folder": str(dataset.folder),
        "here": not dataset.missing,
        **how,
    }


def _describe(dataset: PublicDataset | PretrainedWeights, aside: bool) -> None:
    from gan_dist.data.downloads import checksum_name

    say(f"{dataset.name}: {dataset.about}", aside)
    say(f"licence    {dataset.licence}", aside)
    say(f"page       {dataset.page}", aside)
    for file in dataset.missing:
        kind = file.checksum.partition(":")[0]
        whole = "its" if file.exact else "the first digits of its"
        checked = f"with {whole} {checksum_name(kind)}" if kind else "no checksum is published"
        about = "" if file.exact else "about "
        say(f"file       {file.name}, {about}{size(file.size)} ({checked}), {file.url}", aside)
    say(f"into       {dataset.folder}", aside)


def _fetch(dataset: PublicDataset | PretrainedWeights) -> None:
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
