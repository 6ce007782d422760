"""`gan-dist latents`: directions in a generator's latents, and photographs brought into them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gan_dist.cli import options
from gan_dist.cli.output import check_free, console, emit, say
from gan_dist.cli.pictures import parse_layers
from gan_dist.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="What a generator's pictures are made of: directions, and photographs.")
Class = Annotated[str | None, typer.Option("--class", help="Only this class, by name or number.")]
Out = Annotated[Path | None, typer.Option(help="The file; a sheet of pictures goes beside it.", metavar="FILE")]
Having = Annotated[
    Path | None,
    typer.Option("--with", help="Latents of pictures that have something: a file, or a folder.", metavar="LATENTS"),
]
Lacking = Annotated[Path | None, typer.Option("--without", help="Latents of pictures that lack it.", metavar="LATENTS")]


@app.command()
def directions(
    run: options.Run,
    method: Annotated[str, typer.Option(help="sefa, in closed form, or pca, of styles.")] = "sefa",
    layers: Annotated[str | None, typer.Option(help="Which layers are changed. Default: all.", metavar="0-4")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many, the strongest first.")] = 8,
    reach: Annotated[float, typer.Option("--range", min=0.1, help="The sheet goes from minus this to this.")] = 3.0,
    having: Having = None,
    lacking: Lacking = None,
    seed: Annotated[int, typer.Option(min=0, help="Whose picture the sheet shows.")] = 0,
    cls: Class = None,
    out: Out = None,
    weights: options.Weights = "ema",
    force: options.Force = False,
    trust_code: options.TrustCode = False,
    as_json: options.Json = False,
) -> None:
    """Find directions along which a generator's pictures change in one way; for `gan-dist sample --direction`."""
    from gan_dist.data.encoding import image
    from gan_dist.generation.directions import direction_between, direction_sheet, find_directions
    from gan_dist.generation.model import load
    from gan_dist.runs.storage import Folder

    if (having is None) != (lacking is None):
        raise UsageError("--with and --without name latents of two kinds of pictures; give both, or neither")
    model = load(run, weights=weights, trust_code=trust_code)
    path = out or Path(f"{model.name}-directions.safetensors")
    if path.suffix != ".safetensors":
        raise UsageError(f"--out {str(path)!r}: directions are written into a file of .safetensors")
    sheet = path.with_suffix(".png")
    for one in (path, sheet):
        check_free(one, force)
    if having is not None and lacking is not None:
        found = direction_between(model, having, lacking)
    else:
        found = find_directions(model, method, parse_layers(layers), count, cls)
    Folder.at(path.parent).write(path.name, found.content())
    shown = direction_sheet(model, found, seed, reach, cls)
    Folder.at(sheet.parent).write(sheet.name, image.encode_png(shown))
    values = found.values.tolist()
    if as_json:
        emit({"method": found.method, "layers": list(found.layers), "values": values, "files": [str(path), str(sheet)]})
        return
    say(f"{len(values)} directions ({found.method}): {path}, shown in {sheet}")
    say(f"go along    gan-dist sample {model.name} --direction {path}:1 --strength -{reach:g}..{reach:g} --seed 0-3")


@app.command()
def project(
    run: options.Run,
    inputs: Annotated[list[str], typer.Argument(help="Pictures, or folders of them.", metavar="PICTURE...")],
    space: Annotated[
        str, typer.Option(help="w, w+ (a style for each layer), or z. Default: w if there are styles.")
    ] = "auto",
    steps: Annotated[int, typer.Option(min=1, help="Of the search.")] = 1000,
    noise: Annotated[str, typer.Option(help="on: maps of noise are sought too; off: they stay.")] = "on",
    features: Annotated[
        str,
        typer.Option(
            help="What pictures are compared by beside pixels: efficientnet_lite0, vgg16, resnet50, none, or auto."
        ),
    ] = "auto",
    film: Annotated[str | None, typer.Option(help="Also a film of the way: mp4, webm or gif.", metavar="KIND")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search's noise.")] = 0,
    cls: Class = None,
    out: Annotated[Path, typer.Option(help="Folder for the results; interrupted, it goes on.", metavar="DIR")] = Path(
        "projected"
    ),
    weights: options.Weights = "ema",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    force: options.Force = False,
    trust_code: options.TrustCode = False,
    as_json: options.Json = False,
) -> None:
    """Find the latents whose pictures are nearest to photographs, which must look like the training data."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from gan_dist.distributed.runtime import pick_device
    from gan_dist.generation.model import load
    from gan_dist.generation.projection import ProjectionPlan, project_all

    plan = ProjectionPlan(space=space, steps=steps, noise=noise, features=features, film=film, seed=seed, cls=cls)
    plan.check()
    model = load(run, device=pick_device(device), weights=weights, trust_code=trust_code)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(aside=True), transient=True) as bar:
        task = bar.add_task("projecting", total=None)
        found = project_all(
            model,
            inputs,
            plan,
            out,
            lambda name, done, total: bar.update(task, description=name, completed=done, total=total),
            force=force,
            warn=lambda text: say(f"warning: {text}", aside=True),
        )
    if as_json:
        emit({"projected": [one.plain() for one in found], "folder": str(out)})
        return
    for one in found:
        say(f"{one.name}: distance {one.distance:.4f}, {one.latents}, beside its picture in {one.picture}")
    say(f"use it      gan-dist sample {model.name} --latents {found[0].latents}")
