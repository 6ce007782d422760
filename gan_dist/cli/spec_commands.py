"""Commands about the job file itself: `validate`, `schema`, `init`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gan_dist.cli.options import Json, Set, complete_job
from gan_dist.cli.output import emit, say

WRONG = 2


def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Job files.", autocompletion=complete_job)],
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Check job files, all problems at once, without running anything. Exit code 2 when one is wrong."""
    from gan_dist.jobfile import load_job
    from gan_dist.spec.errors import JobError

    reports = []
    for file in files:
        try:
            load_job(file, overrides or ())
            problems = []
        except JobError as error:
            problems = [problem._asdict() for problem in error.problems]
            if not as_json:
                say(str(error), aside=True)
        reports.append({"file": str(file), "ok": not problems, "problems": problems})
        if not problems and not as_json:
            say(f"{file}: ok")
    if as_json:
        emit(reports)
    if not all(report["ok"] for report in reports):
        raise typer.Exit(WRONG)


def schema() -> None:
    """Print the JSON Schema of the job file, for editors."""
    from gan_dist.job_schema import job_schema

    emit(job_schema())


def init(
    source: Annotated[
        str,
        typer.Argument(metavar="SRC", help="What `data.source` may name: a folder of images, an archive, 'digits'."),
    ],
    size: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", help="Height and width to train at, instead of what fits the images."),
    ] = None,
) -> None:
    """Look at images and print a job that fits them and this machine: gan-dist init SRC > job.yaml"""
    from gan_dist.recipes import write_job

    sys.stdout.write(write_job(source, size))
