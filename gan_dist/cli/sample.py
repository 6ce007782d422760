"""`gan-dist sample` and `gan-dist export`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gan_dist.cli import options
from gan_dist.cli.output import check_free, console, emit, say
from gan_dist.cli.pictures import ROW, PictureOptions, make_picture, parse_layers
from gan_dist.errors import UsageError

if TYPE_CHECKING:
    from gan_dist.generation.model import Model
    from gan_dist.generation.sampling import SamplingPlan

LINES = 64
DEVICES = ("auto", "cpu", "cuda")
Number = Annotated[
    int | None, typer.Option("--n", min=1, help="How many samples of each seed. Default: 64; of several seeds, 8.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="A folder, or a file .zip, .parquet, .txt, or .png for one grid, as without it. Interrupted, it goes on.",
        metavar="PATH",
    ),
]
Seeds = Annotated[str, typer.Option(help="Same seed, same samples; also 1-4 or 1,5,7-9.", metavar="SEEDS")]
Class = Annotated[
    str | None,
    typer.Option(
        "--class",
        help="Only this class, by name or number, or this vector: 0.5,1. On a way: several, 3,7; vectors: 0,1;1,0.",
    ),
]
Truncation = Annotated[
    float | None, typer.Option(min=0, max=1, help="Less is safer and more alike; for generators that have it.")
]
TruncationLayers = Annotated[
    str | None,
    typer.Option(help="Layers that --truncation counts for. Default: all.", metavar="0-3", show_default=False),
]
Temperature = Annotated[
    float | None, typer.Option(min=0.01, help="Text only: below 1, sentences are likelier and more alike.")
]
TopK = Annotated[int | None, typer.Option(min=1, help="Text only: draw the K likeliest tokens alone.")]
TopP = Annotated[
    float | None,
    typer.Option(min=0.01, max=1, help="Text only: draw the likeliest tokens that make up this probability."),
]
MinP = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Text only: draw tokens with at least this share of the likeliest's probability."),
]
Prefix = Annotated[str | None, typer.Option(help="Text only: what every sentence begins with.")]
Prompt = Annotated[
    str | None, typer.Option(help="Text only: what every sentence follows, of a job with `data.prompt`.")
]
PromptFile = Annotated[
    Path | None,
    typer.Option("--prompts", help="Text only: a file of prompts, one a line or a table of them.", metavar="FILE"),
]
AllowUnk = Annotated[
    bool, typer.Option("--allow-unk", help="Text only: `<unk>`, a word outside the vocabulary, may be written.")
]
Way = Annotated[
    str | None,
    typer.Option(
        "--interpolate",
        help="The way between the seeds, or classes: line, sphere, or spline through styles. --out walk.mp4 is a film.",
        metavar="WAY",
        show_default=False,
    ),
]
Steps = Annotated[
    int | None, typer.Option(min=2, help="Pictures from each seed or class to the next (8), or along --direction (7).")
]
Mix = Annotated[
    str | None, typer.Option(help="A table with the styles of these seeds in those of --seed.", metavar="SEEDS")
]
Layers = Annotated[str | None, typer.Option(help="Which styles --mix takes. Default: the first half.", metavar="0-3")]
Direction = Annotated[
    str | None,
    typer.Option(help="Along this direction of `gan-dist latents directions`, a row for each seed.", metavar="FILE:N"),
]
Strength = Annotated[str, typer.Option(help="How far along --direction: a range, or one number.", metavar="A..B")]
LatentsIn = Annotated[
    Path | None,
    typer.Option("--latents", help="Pictures of the latents in a file, .safetensors or .npz.", metavar="FILE"),
]
LatentsOut = Annotated[
    Path | None, typer.Option(help="Write the latents of what is shown, one of each seed.", metavar="FILE")
]
Loop = Annotated[bool, typer.Option("--loop", help="Films only: lead back to the first place.")]
Ease = Annotated[bool, typer.Option("--ease", help="Films only: slow at each place.")]
Grid = Annotated[
    str | None,
    typer.Option(help="Films only: several walks side by side, of as many seeds each.", metavar="ROWSxCOLUMNS"),
]
Fps = Annotated[float, typer.Option(min=1, max=120, help="Films only: pictures a second.")]
Inputs = Annotated[
    str | None,
    typer.Option(help="Pairs and domains only: pictures to translate.", metavar="FOLDER", show_default=False),
]
Backward = Annotated[bool, typer.Option("--backward", help="With --inputs: from the target to the source (cyclegan).")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Draw with so many workers of a Ray cluster, which must see RUN and --out.")
]


def sample(
    run: options.Run,
    n: Number = None,
    out: Out = None,
    seed: Seeds = "0",
    weights: options.Weights = "ema",
    cls: Class = None,
    truncation: Truncation = None,
    truncation_layers: TruncationLayers = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    prefix: Prefix = None,
    allow_unk: AllowUnk = False,
    prompt: Prompt = None,
    prompts: PromptFile = None,
    interpolate: Way = None,
    steps: Steps = None,
    mix: Mix = None,
    layers: Layers = None,
    direction: Direction = None,
    strength: Strength = "-3..3",
    latents: LatentsIn = None,
    latents_out: LatentsOut = None,
    loop: Loop = False,
    ease: Ease = False,
    grid: Grid = None,
    fps: Fps = 30.0,
    inputs: Inputs = None,
    backward: Backward = False,
    workers: Workers = None,
    address: options.Address = None,
    device: Device = "auto",
    force: options.Force = False,
    trust_code: options.TrustCode = False,
    as_json: options.Json = False,
) -> None:
    """Draw samples from a run's generator: a grid, many files, or an interpolation; text samples are lines."""
    from gan_dist.generation.sampling import SamplingPlan, parse_seeds

    _check_places(device, address, workers, out, force)
    given = {name: value for name, value in locals().items() if name in PictureOptions.__dataclass_fields__}
    asked, seeds = PictureOptions(**given | {"prompts": _prompts_of(prompt, prompts)}).checked(out), parse_seeds(seed)
    n = _count(n, asked, len(asked.prompts) if prompts else 64 if len(seeds) == 1 else ROW)
    decoding = (temperature, top_k, top_p, min_p, prefix, allow_unk, asked.prompts)
    drawn = (weights, truncation, None if asked.alone else cls, *decoding)
    # A cluster's workers have devices of their own.
    where_and_how = ("cpu" if workers else device, trust_code, backward, _truncated(truncation, truncation_layers))
    here = SamplingPlan(run, seeds, n, "png", *drawn, *where_and_how)
    model = here.model()
    where: dict[str, Any] = {"out": out, "force": force, "as_json": as_json}
    whose: dict[str, Any] = {"device": device, "workers": workers, "address": address}
    shown, path = _made(model, here, asked, inputs=inputs, seed=seed, cls=cls, whose=whose, where=where)
    if as_json:
        one_seed = seeds[0] if len(seeds) == 1 else seeds
        emit({"samples": n * len(seeds), "seed": one_seed, "samples_seen": model.seen, "files": [str(path)]})
    else:
        kind = weights if model.spec.ema is not None else "raw"
        say(f"{shown} (seed {seed}, {kind} weights after {model.seen:,} samples seen): {path}")


def _count(n: int | None, asked: PictureOptions, usual: int) -> int:
    """How many samples of each seed. Raises UsageError where a number of them makes no difference."""
    if n is not None and asked.alone:
        raise UsageError(f"--n {n}: a picture of each seed is shown here; --seed 0-{max(1, n - 1)} names more of them")
    return n or usual


def _made(
    model: Model,
    plan: SamplingPlan,
    asked: PictureOptions,
    *,
    inputs: str | None,
    seed: str,
    cls: str | None,
    whose: Mapping[str, Any],
    where: Mapping[str, Any],
) -> tuple[str, Path]:
    """Write what is asked for; what there is then, and its path.

    Args:
        whose: device, workers and address: who makes files of samples.
        where: out, force and as_json: where it goes, and what is said.
    """
    out = where["out"]
    if inputs is not None:
        with plan.drawing_of(model):
            return _remade(model, inputs, list(plan.seeds), out, where["force"], backward=plan.backward)
    if asked.alone or out is None or out.suffix.lower() == ".png":
        return _one_picture(model, plan, asked, seed=seed, cls=cls, workers=whose["workers"], **where)
    return _into_files(model, plan, **whose, **where)


def _truncated(truncation: float | None, layers: str | None) -> list[int] | None:
    """Numbers of the layers that are truncated; None for all. Raises UsageError."""
    if layers is None:
        return None
    if truncation is None:
        raise UsageError("--truncation-layers says where --truncation counts; give both")
    return list(parse_layers(layers, "--truncation-layers") or ())


def _prompts_of(prompt: str | None, file: Path | None) -> list[str]:
    """The prompts that are given, by themselves or in a file. Raises UsageError, or DataError of the file."""
    if file is None:
        return [] if prompt is None else [prompt]
    if prompt is not None:
        raise UsageError("--prompt and --prompts both say what sentences follow; give one of them")
    from gan_dist.data.text.held_out import read_prompts

    return read_prompts(str(file.absolute()), "--prompts: ")


def _one_picture(
    model: Model,
    plan: SamplingPlan,
    asked: PictureOptions,
    *,
    seed: str,
    cls: str | None,
    workers: int | None,
    out: Path | None,
    force: bool,
    as_json: bool,
) -> tuple[str, Path]:
    """Write the one file that is asked for; what there is then, and its path."""
    from gan_dist.generation.films import is_film

    if workers is not None:
        raise UsageError("--workers is for samples that go to --out, not for one picture; leave it out")
    stem = f"{model.name}-seed{seed}{plan.differences(model)}"
    with plan.drawing_of(model):
        content, path = make_picture(model, asked, seeds=list(plan.seeds), n=plan.n, cls=cls, out=out, stem=stem)
    _write(path, content, force, as_json)
    if not asked.alone:
        return f"{plan.n * len(plan.seeds)} samples", path
    return "1 film" if is_film(path) else "1 picture", path


def _into_files(
    model: Model,
    plan: SamplingPlan,
    *,
    device: str,
    workers: int | None,
    address: str | None,
    out: Path,
    force: bool,
    as_json: bool,
) -> tuple[str, Path]:
    """Write samples into a folder or archive; what there is then, and its path."""
    from gan_dist.generation.sampling import output_format

    form = output_format(out, model.facts)
    sampling = replace(plan, checkpoint=model.uri, form=form, device=device, trust_code=True)
    path = _deliver(sampling, model=model, out=out, workers=workers, address=address, as_json=as_json)
    return f"{plan.n * len(plan.seeds)} samples", path


def _check_places(device: str, address: str | None, workers: int | None, out: Path | None, force: bool) -> None:

    if out is not None:
        if out.is_file() and not out.suffix:
            raise UsageError(f"--out {str(out)!r} is a file, where a folder is to be; choose another name")
        check_free(out, force)
    options.check_address(address, workers)
    if device not in DEVICES:
        raise UsageError(f"--device {device!r}; allowed: {', '.join(DEVICES)}")


def _write(path: Path, content: bytes, force: bool, aside: bool = False) -> None:
    """Write a picture or sentences; the first of these are shown too."""
    from gan_dist.runs.storage import Folder

    check_free(path, force)
    Folder.at(path.parent).write(path.name, content)
    lines = content.decode().splitlines() if path.suffix == ".txt" else []
    for line in lines[:LINES]:
        say(line, aside=aside)
    if len(lines) > LINES:
        say(f"... and {len(lines) - LINES} more", aside=aside)


def _remade(
    model: Model, inputs: str, seeds: list[int], out: Path | None, force: bool, *, backward: bool
) -> tuple[str, Path]:
    """What is made of a person's own pictures: files in a folder, or one sheet; what there is, and its path."""
    from gan_dist.data.encoding import image
    from gan_dist.generation.translation import translation_sheet, write_images

    if len(seeds) > 1:
        raise UsageError("--inputs takes one --seed, not several")
    if out is None:
        path = Path(f"{model.name}-seed{seeds[0]}-made{'-back' if backward else ''}.png")
        _write(path, image.encode_png(translation_sheet(model, inputs, seeds[0])), force)
        return "pictures beside their inputs", path
    if out.suffix:
        raise UsageError(f"--out {str(out)!r}: --inputs writes into a folder")
    return f"{write_images(model, inputs, seeds[0], out)} pictures", out


def _deliver(
    sampling: SamplingPlan, *, model: Model, out: Path, workers: int | None, address: str | None, as_json: bool
) -> Path:
    """Write samples into files, here or by a cluster's workers; the path of what there is then."""
    if workers is not None:
        _on_cluster(sampling, model=model, out=out, workers=workers, address=address, as_json=as_json)
        return out
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from gan_dist.generation.sampling import sample_in_process, write_samples

    columns = (TextColumn("sampling"), BarColumn(), MofNCompleteColumn(), TextColumn("parts"), TimeRemainingColumn())
    with Progress(*columns, console=console(aside=True), transient=True) as bar:
        task = bar.add_task("parts", total=None)
        return write_samples(
            sampling,
            model,
            out,
            executor=sample_in_process,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _on_cluster(
    sampling: SamplingPlan, *, model: Model, out: Path, workers: int, address: str | None, as_json: bool
) -> None:
    """The same by a Ray job, followed to its end; raises ValueError where it fails."""
    from gan_dist.cli.cluster import run_on_cluster

    model.conditions_of(1, sampling.cls, prompt=sampling.prompts or None)
    what = {"sampling": sampling.to_json(), "out": os.path.abspath(out), "workers": workers}
    run_on_cluster("sample", what, environment=model.spec.environment, address=address, to_stderr=as_json)


def export(
    run: options.Run,
    out: Annotated[Path, typer.Option(help="Folder for the generator; made if it is not there.", metavar="DIR")],
    form: Annotated[
        str, typer.Option("--format", help="safetensors (for gan_dist.load), torch (torch.export) or onnx.")
    ] = "safetensors",
    weights: options.Weights = "ema",
    license_name: Annotated[str, typer.Option("--license", help="For the model card, such as apache-2.0.")] = "unknown",
    push: Annotated[
        str | None, typer.Option(help="Put it on a hub too, as hf://USER/MODEL; a new one is private.", metavar="HUB")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    trust_code: options.TrustCode = False,
    as_json: options.Json = False,
) -> None:
    """Write a run's generator, with a model card, into a folder that can be given away, and on a hub."""
    from gan_dist.generation.export import export as write
    from gan_dist.generation.hub import parse_hub, push_model

    if push is not None:
        parse_hub(push)  # a slip is told before anything is written
    written = write(run, out, form=form, weights=weights, license_name=license_name, force=force, trust_code=trust_code)
    page = push_model(push, written, f"gan-dist export {run}") if push is not None else None
    if as_json:
        at = {} if page is None else {"page": page}
        emit({"folder": str(out), "format": form, "files": [str(path) for path in written], **at})
        return
    say(f"exported to {out}: {', '.join(path.name for path in written)}")
    if page is not None:
        say(f"on the hub  {page}")
    if form == "safetensors":
        say(f"use it      gan_dist.load({(push or str(out))!r}).sample(64)")


def import_model(
    file: Annotated[Path, typer.Argument(help="A published pickle: StyleGAN2 of NVIDIA's, or R3GAN.", metavar="FILE")],
    out: Annotated[Path, typer.Argument(help="Folder for the generator; made if it is not there.", metavar="OUT")],
    weights: Annotated[str, typer.Option(help="ema (where there is one) or raw.")] = "ema",
    license_name: Annotated[str, typer.Option("--license", help="The one that the file came with.")] = "unknown",
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    as_json: options.Json = False,
) -> None:
    """Read a model that others published, running nothing in it, and write its generator as `export` does."""
    from gan_dist.generation.export import export_model
    from gan_dist.generation.published_models import imported_model, read_published

    found = read_published(file)
    written = export_model(imported_model(found, weights), out, weights=weights, license_name=license_name, force=force)
    if as_json:
        networks = {name: {"use": found.use, **args} for name, args in found.arguments.items()}
        files = [str(path) for path in written]
        emit({"folder": str(out), "files": files, "networks": networks, "left_out": found.left_out})
        return
    for text in found.left_out:
        say(f"warning: {text}", aside=True)
    say(f"imported to {out}: {', '.join(path.name for path in written)}")
    say(f"use it      gan_dist.load({str(out)!r}).sample(64)")
    say(f"train on    gan-dist submit JOB.yaml --from {file}, with these networks:")
    for name, arguments in found.arguments.items():
        told = ", ".join(f"{key}: {value}" for key, value in {"use": found.use, **arguments}.items())
        say(f"            {name}: {{{told}}}")
