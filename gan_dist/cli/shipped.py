"""`gan-dist jobs`: the job files that come with gan-dist, in a checkout or not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from gan_dist.cli import options
from gan_dist.cli.output import emit, say, table
from gan_dist.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="The jobs that come with gan-dist: list them, show one, or copy it.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="A job's name, as `gan-dist jobs list` has it.")]


@app.command("list")
def list_jobs(as_json: options.Json = False) -> None:
    """List the jobs that come with gan-dist, with what each is about."""
    rows = [{"name": name, "about": _about(path), "file": str(path)} for name, path in _known().items()]
    if as_json:
        emit(rows)
    else:
        table(("JOB", "ABOUT"), ((row["name"], row["about"]) for row in rows))


@app.command()
def show(name: Name) -> None:
    """Print a job."""
    say(_found(name).read_text().rstrip("\n"))


@app.command()
def copy(
    name: Name,
    target: Annotated[Path, typer.Argument(metavar="[TARGET]", help="A file or a folder.")] = Path("."),
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
) -> None:
    """Copy a job to a file of your own, and beside it the jobs that it extends."""
    from gan_dist.runs.hints import command

    source = _found(name)
    path = target / source.name if target.is_dir() else target
    texts = {path: _text_of(source, path)}
    while (base := _base_of(source)) is not None:
        source = base
        texts[path.parent / base.name] = _text_of(base, path.parent / base.name)
    for one, text in texts.items():
        if one.exists() and not force and one.read_text() != text:
            raise UsageError(f"{one} is there already; choose another place, or --force")
    path.parent.mkdir(parents=True, exist_ok=True)
    for one, text in texts.items():
        one.write_text(text)
        say(str(one))
    say(f"run it      {command('submit', path)}")


def _known() -> dict[str, Path]:
    """Every job by its name: those of published scale after the small ones."""
    from gan_dist.registry.catalog import published_jobs, shipped_jobs

    published = {f"published/{path.stem}": path for path in published_jobs()}
    return {path.stem: path for path in shipped_jobs()} | published


def _found(name: str) -> Path:
    from gan_dist.spec.problems import suggestion

    known = _known()
    wanted = name.removeprefix("jobs/").removesuffix(".yaml")
    if wanted not in known:
        raise UsageError(f"no job {name!r}{suggestion(wanted, sorted(known))}")
    return known[wanted]


def _base_of(job: Path) -> Path | None:
    """The job that a shipped one extends."""
    found = re.search(r"^extends: (\S+)", job.read_text(), re.MULTILINE)
    return job.parent / found[1] if found else None


def _text_of(source: Path, target: Path) -> str:
    """A job whose commands name the copy; the schema is not beside it."""
    from gan_dist.runs.hints import command

    own = rf"gan-dist submit jobs/(published/)?{re.escape(source.name)}"
    text = re.sub(own, lambda _: command("submit", target), source.read_text())
    return re.sub(r"^# yaml-language-server:.*\n", "", text, flags=re.MULTILINE)


def _about(path: Path) -> str:
    """The first sentence of a job's leading comment, after the command and the schema."""
    words: list[str] = []
    for line in path.read_text().splitlines()[1:]:
        if not line.startswith("#"):
            break
        if not line.startswith("# yaml-language-server:"):
            words += line.lstrip("# ").split()
    return re.split(r"(?<!et al)\. ", " ".join(words))[0].rstrip(".")
