"""Commands about job files and components: `validate`, `schema`, `catalog`, `init`, `check`, `help TOPIC`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from gan_dist.cli import options
from gan_dist.cli.options import Json, Set, complete_job
from gan_dist.cli.output import emit, say, table
from gan_dist.errors import UsageError

WRONG = 2


def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Job files.", autocompletion=complete_job)],
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Check job files, all problems at once, without running anything. Exit code 2 when one is wrong."""
    from gan_dist.errors import JobError
    from gan_dist.launch.load_job import load_job

    reports = []
    for file in files:
        try:
            load_job(file, overrides or ())
            problems = []
        except JobError as error:
            problems = [problem.record() for problem in error.problems]
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
    from gan_dist.registry.job_schema import job_schema

    emit(job_schema())


def catalog(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only this component, or this kind, with all arguments.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List what a job can name: networks, objectives, penalties, augmentations, metrics, with paper and job."""
    from gan_dist.registry.catalog import catalog as entries

    found = entries(name)
    if as_json:
        emit([entry.plain() for entry in found])
    elif name is None:
        rows = [[one.kind, one.name, ", ".join(one.jobs[:2]) or "-", one.paper or "-"] for one in found]
        table(["KIND", "NAME", "JOBS", "PAPER"], rows)
        say("\ngan-dist catalog NAME shows the arguments of one")
    else:
        for one in found:
            say(f"{one.kind} {one.name}: {one.summary}")
            say(f"  paper {one.paper or '-'}; jobs {', '.join(one.jobs) or '-'}; {one.target}")
            for param in one.params:
                say(f"  {param.name} = {'required' if param.required else param.default}: {param.doc}")


def init(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", help="What `data.source` may name: a folder of images, an archive, a text, 'digits'."
        ),
    ],
    size: Annotated[
        str | None,
        typer.Option(
            metavar="N|HxW",
            help="Pixels to train at, 64 or 64x96 (height x width), instead of what fits the images.",
        ),
    ] = None,
    lasts: Annotated[
        str | None,
        typer.Option("--for", metavar="TIME", help="How long the run may take on this machine: 20m, 2h, 3d."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="dcgan, fastgan, projected, stylegan2 or r3gan, instead of what fits best."),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="Of a table of text: the column that holds it, where more than one is text.", metavar="NAME"),
    ] = None,
    overrides: Set = None,
) -> None:
    """Look at images or sentences and print a job that fits them and this machine: gan-dist init SRC > job.yaml"""
    from gan_dist.launch.init.images import write_job
    from gan_dist.launch.init.timing import seconds_per_image_here
    from gan_dist.spec.image_size import parse_size_text

    wanted, laid = None if size is None else parse_size_text(size), overrides or ()
    told = {"lasts": lasts, "recipe": recipe, "column": column}
    sys.stdout.write(write_job(source, wanted, **told, overrides=laid, measure=seconds_per_image_here))


def check(
    use: Annotated[str, typer.Argument(help="Your own package.module:Name, or a shipped name.")],
    kind: Annotated[
        str | None,
        typer.Option(
            help="generator, discriminator, objective, penalty, augment, optimizer, dataset or "
            "autoencoder; guessed if left out."
        ),
    ] = None,
    sets: options.Set = None,
    code: Annotated[Path, typer.Option(help="Folder with your modules.", metavar="DIR")] = Path("."),
    as_json: options.Json = False,
) -> None:
    """Say what is wrong with your own network, objective, optimiser, data set, ..., in one call."""
    from gan_dist.spec.job_file import overrides_document
    from gan_dist.testing.checks import guess_kind, parse_kind, problems

    arguments = overrides_document(sets or []).value
    settled = guess_kind(use, [code]) if kind is None else parse_kind(kind)
    found = problems(use, settled, [code], **arguments)
    if as_json:
        emit({"use": use, "kind": settled, "problems": found})
    for text in found:
        say(f"{use}: {text}", aside=True)
    if found:
        raise typer.Exit(1)
    if not as_json:
        say(f"{use}: {'an' if settled[0] in 'aeiou' else 'a'} {settled}, ok")


def help_topic(
    topic: Annotated[
        str | None, typer.Argument(help="A topic; without one, the list of topics.", metavar="TOPIC")
    ] = None,
) -> None:
    """Read the manual, offline."""
    pages = {path.stem: path for path in sorted((Path(__file__).parents[1] / "docs").glob("*.md"))}
    if topic is None:
        for name, path in pages.items():
            say(f"{name:14} {path.read_text().splitlines()[0].lstrip('# ')}")
        return
    if topic not in pages:
        from gan_dist.spec.problems import suggestion

        raise UsageError(f"no topic {topic!r}{suggestion(topic, sorted(pages))}")
    text = re.sub(r"\[([^]]+)\]\((\w+)\.md(?:#[\w-]*)?\)", _offline, pages[topic].read_text())
    if not sys.stdout.isatty():
        say(text)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))


def _offline(link: re.Match[str]) -> str:
    """A link to another page as the command that shows it."""
    shown, page = link[1], f"`gan-dist help {link[2]}`"
    return page if shown == link[2] else f"{shown} ({page})"
