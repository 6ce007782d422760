"""`gan-dist compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gan_dist.cli import options
from gan_dist.cli.output import emit, say, table


def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Two runs or more.", metavar="RUN...", autocompletion=options.complete_run)
    ],
    scalar: Annotated[
        str | None, typer.Option(help="Logged number of the curve, such as loss/G. Default: a metric.", metavar="TAG")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise that samples are made of.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the curve goes.", metavar="FILE.png")] = Path("compare.png"),
    report: Annotated[
        Path | None,
        typer.Option(help="All of it, with samples, in a file that needs no network.", metavar="FILE.html"),
    ] = None,
    storage: options.Storage = None,
    as_json: options.Json = False,
) -> None:
    """Put runs beside each other: jobs, results, a curve, and samples of the same noise."""
    from gan_dist.evaluation.reports.compare import compare as beside
    from gan_dist.evaluation.reports.compare import html
    from gan_dist.runs.index import find_run, storage_root

    root = storage_root(storage, None)
    found = beside([find_run(run, root) for run in runs], scalar, seed)
    out.write_bytes(found.curve)
    written = [str(out)]
    if report is not None:
        report.write_text(html(found))
        written.append(str(report))
    if as_json:
        emit({"runs": found.runs, "jobs": found.jobs, "results": found.results, "files": written})
        return
    table(("job", *found.runs), [(key, *values) for key, values in found.jobs.items()])
    say("")
    table(("result", *found.runs), [(key, *values) for key, values in found.results.items()])
    say(f"written: {', '.join(written)}")
