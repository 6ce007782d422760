"""`gan-dist export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gan_dist.cli import options
from gan_dist.cli.output import emit, say


def export(
    run: options.Run,
    out: Annotated[Path, typer.Option(help="Folder for the generator; made if it is not there.", metavar="DIR")],
    form: Annotated[
        str, typer.Option("--format", help="safetensors (for gan_dist.load), torch (torch.export) or onnx.")
    ] = "safetensors",
    weights: Annotated[str, typer.Option(help="ema (where there is one) or raw.")] = "ema",
    license_name: Annotated[str, typer.Option("--license", help="For the model card, such as apache-2.0.")] = "unknown",
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a run's generator, with a model card, into a folder that can be given away."""
    from gan_dist.generation.export import export as write

    written = write(run, out, form, weights, license_name, force)
    if as_json:
        emit({"folder": str(out), "format": form, "files": [str(path) for path in written]})
        return
    say(f"exported to {out}: {', '.join(path.name for path in written)}")
    if form == "safetensors":
        say(f"use it      gan_dist.load({str(out)!r}).sample(64)")
