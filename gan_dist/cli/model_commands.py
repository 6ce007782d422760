"""Commands about networks: `sample` a trained one, `check` your own; and `help TOPIC`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gan_dist.cli import options
from gan_dist.cli.output import emit, say


def sample(
    run: options.Run,
    n: Annotated[int, typer.Option("--n", min=1, help="How many samples.")] = 64,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for one PNG file each, or a text file; without it, one grid.", metavar="DIR"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same samples.")] = 0,
    weights: Annotated[str, typer.Option(help="ema (where there is one) or raw.")] = "ema",
    cls: Annotated[
        str | None, typer.Option("--class", help="Only this class, by name or number.", metavar="CLASS")
    ] = None,
    truncation: Annotated[
        float | None, typer.Option(min=0, max=1, help="Less is safer and more alike; for generators that have it.")
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0.01, help="Of text: below 1 sentences are likelier and more alike.")
    ] = 1.0,
    top_k: Annotated[int | None, typer.Option(min=1, help="Of text: only the K likeliest tokens are drawn.")] = None,
    top_p: Annotated[
        float, typer.Option(min=0.01, max=1, help="Of text: only the likeliest tokens of this probability are drawn.")
    ] = 1.0,
    prefix: Annotated[str, typer.Option(help="Of text: what every sentence begins with.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    as_json: options.Json = False,
) -> None:
    """Draw samples from a run's generator: a grid, or N files; of text, lines."""
    if out is not None and not force and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"--out {str(out)!r} is not empty; choose another folder, or --force")
    from gan_dist.api import load
    from gan_dist.samples import save_files, save_sheet, sheet

    model = load(run, weights, truncation)
    if (temperature, top_k, top_p, prefix) != (1.0, None, 1.0, ""):
        model.draw_with(temperature, top_k, top_p, prefix)
    if out is None:
        written = [save_sheet(sheet(model.sample(n, seed, cls), model.facts), Path(f"{model.name}-seed{seed}"))]
    else:
        written = save_files(model.sample_chunks(n, seed, cls), model.facts, out)
    document = {"samples": n, "seed": seed, "samples_seen": model.seen, "files": [str(path) for path in written]}
    if as_json:
        emit(document)
        return
    where = written[0] if out is None else f"{len(written)} files in {out}"
    say(f"{n} samples (seed {seed}, {weights} weights after {model.seen:,} samples seen): {where}")


def check(
    use: Annotated[str, typer.Argument(help="Your own package.module:Name, or a shipped name.")],
    kind: Annotated[
        str | None, typer.Option(help="generator, discriminator, objective or penalty; guessed if left out.")
    ] = None,
    sets: options.Set = None,
    code: Annotated[Path, typer.Option(help="Folder with your modules.", metavar="DIR")] = Path("."),
    as_json: options.Json = False,
) -> None:
    """Say what is wrong with your own network, objective or penalty, in one call."""
    from gan_dist.spec.merge import overrides_document
    from gan_dist.testing import guess_kind, kind_of, problems

    arguments = overrides_document(sets or []).value
    settled = guess_kind(use, [code]) if kind is None else kind_of(kind)
    found = problems(use, settled, [code], **arguments)
    if as_json:
        emit({"use": use, "kind": settled, "problems": found})
    for text in found:
        say(f"{use}: {text}", aside=True)
    if found:
        raise typer.Exit(1)
    if not as_json:
        say(f"{use}: a {settled}, ok")


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
        from gan_dist.spec.errors import suggestion

        raise ValueError(f"no topic {topic!r}{suggestion(topic, sorted(pages))}")
    text = pages[topic].read_text()
    if not sys.stdout.isatty():
        say(text)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))
