"""`gan-dist explore`: a page on which trained models are tried."""

from __future__ import annotations

from threading import Event
from typing import Annotated

import typer

from gan_dist.cli import options
from gan_dist.cli.output import say


def explore(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Runs, checkpoints or exported models.", metavar="RUN...", autocompletion=options.complete_run
        ),
    ],
    weights: options.Weights = "ema",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Its port. Default: a free one from 7860 on.")
    ] = None,
    browse: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    trust_code: options.TrustCode = False,
) -> None:
    """Try trained models on a page of this machine, several side by side; Ctrl-C ends it."""
    from gan_dist.distributed.runtime import pick_device
    from gan_dist.generation.explore import Explorer
    from gan_dist.generation.explore_page import check_gradio, serve_page
    from gan_dist.generation.model import load

    check_gradio()
    models = [load(run, device=pick_device(device), weights=weights, trust_code=trust_code) for run in runs]
    page, url = serve_page(Explorer(models), port, browse=browse)
    say(f"{url}  (this machine alone; Ctrl-C ends it)")
    try:
        Event().wait()
    finally:
        page.close(verbose=False)
