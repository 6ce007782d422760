"""Commands about networks: `sample` a trained one, `check` your own; and `help TOPIC`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gan_dist.cli import options
from gan_dist.cli.output import emit, say
from gan_dist.errors import UsageError


def check(
    use: Annotated[str, typer.Argument(help="Your own package.module:Name, or a shipped name.")],
    kind: Annotated[
        str | None,
        typer.Option(
            help="generator, discriminator, objective, penalty, augment, optimizer or dataset; guessed if left out."
        ),
    ] = None,
    sets: options.Set = None,
    code: Annotated[Path, typer.Option(help="Folder with your modules.", metavar="DIR")] = Path("."),
    as_json: options.Json = False,
) -> None:
    """Say what is wrong with your own network, objective, optimiser, data set, ..., in one call."""
    from gan_dist.spec.merge import overrides_document
    from gan_dist.testing.checks import problems
    from gan_dist.testing.kinds import guess_kind, kind_of

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
        from gan_dist.spec.problems import suggestion

        raise UsageError(f"no topic {topic!r}{suggestion(topic, sorted(pages))}")
    text = pages[topic].read_text()
    if not sys.stdout.isatty():
        say(text)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))
