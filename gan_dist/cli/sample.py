"""`gan-dist sample` and `gan-dist export`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gan_dist.cli import options
from gan_dist.cli.output import console, emit, say
from gan_dist.errors import UsageError

if TYPE_CHECKING:
    from gan_dist.generation.model import Model
    from gan_dist.generation.sampling import SamplingPlan

ROW = 8
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
        help="The way between the seeds, or classes: line or sphere.",
        metavar="WAY",
        show_default=False,
    ),
]
Steps = Annotated[int, typer.Option(min=2, help="Pictures from each seed or class to the next.")]
Mix = Annotated[
    str | None, typer.Option(help="A table with the styles of these seeds in those of --seed.", metavar="SEEDS")
]
Layers = Annotated[str | None, typer.Option(help="Which styles --mix takes. Default: the first half.", metavar="0-3")]
Inputs = Annotated[
    str | None,
    typer.Option(help="Pairs only: a folder of pictures to translate.", metavar="FOLDER", show_default=False),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Draw with so many workers of a Ray cluster, which must see RUN and --out.")
]


def sample(
    run: options.Run,
    n: Number = None,
    out: Out = None,
    seed: Seeds = "0",
    weights: Annotated[str, typer.Option(help="ema (where there is one) or raw.")] = "ema",
    cls: Class = None,
    truncation: Truncation = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    prefix: Prefix = None,
    allow_unk: AllowUnk = False,
    prompt: Prompt = None,
    prompts: PromptFile = None,
    interpolate: Way = None,
    steps: Steps = ROW,
    mix: Mix = None,
    layers: Layers = None,
    inputs: Inputs = None,
    workers: Workers = None,
    address: options.Address = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Write into or over what is there.")] = False,
    trust_code: options.TrustCode = False,
    as_json: options.Json = False,
) -> None:
    """Draw samples from a run's generator: a grid, many files, or an interpolation; text samples are lines."""
    from gan_dist.generation.sampling import SamplingPlan, check_free, output_format, parse_seeds

    if out is not None:
        check_free(out, force)
    seeds, asked = parse_seeds(seed), _prompts_of(prompt, prompts)
    n = n or (len(asked) if prompts else 64 if len(seeds) == 1 else ROW)
    picture = interpolate is not None or mix is not None
    drawn = (weights, truncation, None if picture else cls, temperature, top_k, top_p, min_p, prefix, allow_unk, asked)
    _check_places(device, address, workers)
    # A cluster's workers have devices of their own.
    here = SamplingPlan(run, seeds, n, "png", *drawn, device if workers is None else "cpu", trust_code)
    model, shown = here.model(), f"{n * len(seeds)} samples"
    if inputs is not None:
        with here.drawing_of(model):
            shown, path = _remade(model, inputs, seeds, out, force)
    elif picture or out is None or out.suffix.lower() == ".png":
        _refuse_workers(workers)
        way: dict[str, Any] = {"way": interpolate, "steps": steps, "mix": mix, "layers": layers}
        stem = f"{model.name}-seed{seed}{here.differences(model)}"
        with here.drawing_of(model):
            content, path = _picture(model, seeds=seeds, n=n, cls=cls, prompts=asked, out=out, stem=stem, **way)
        _write(path, content, force, as_json)
        shown = "1 picture" if picture else shown
    else:
        sampling = SamplingPlan(model.uri, seeds, n, output_format(out, model.facts), *drawn, device, trust_code=True)
        path = _deliver(sampling, model=model, out=out, workers=workers, address=address, as_json=as_json)
    if as_json:
        one_seed = seeds[0] if len(seeds) == 1 else seeds
        emit({"samples": n * len(seeds), "seed": one_seed, "samples_seen": model.seen, "files": [str(path)]})
        return
    say(f"{shown} (seed {seed}, {_kind_of(weights, model)} weights after {model.seen:,} samples seen): {path}")


def _refuse_workers(workers: int | None) -> None:
    if workers is not None:
        raise UsageError("--workers is for samples that go to --out, not for one picture; leave it out")


def _kind_of(weights: str, model: Model) -> str:
    return weights if model.spec.ema is not None else "raw"


def _prompts_of(prompt: str | None, file: Path | None) -> list[str]:
    """The prompts that are given, by themselves or in a file. Raises UsageError, or DataError of the file."""
    if file is None:
        return [] if prompt is None else [prompt]
    if prompt is not None:
        raise UsageError("--prompt and --prompts both say what sentences follow; give one of them")
    from gan_dist.data.text.held_out import read_prompts

    return read_prompts(str(file.absolute()), "--prompts: ")


def _check_places(device: str, address: str | None, workers: int | None) -> None:
    options.check_address(address, workers)
    if device not in DEVICES:
        raise UsageError(f"--device {device!r}; allowed: {', '.join(DEVICES)}")


def _write(path: Path, content: bytes, force: bool, aside: bool = False) -> None:
    """Write a picture or sentences; the first of these are shown too."""
    from gan_dist.generation.sampling import check_free
    from gan_dist.runs.storage import Folder

    check_free(path, force)
    Folder.at(path.parent).write(path.name, content)
    lines = content.decode().splitlines() if path.suffix == ".txt" else []
    for line in lines[:LINES]:
        say(line, aside=aside)
    if len(lines) > LINES:
        say(f"... and {len(lines) - LINES} more", aside=aside)


def _remade(model: Model, inputs: str, seeds: list[int], out: Path | None, force: bool) -> tuple[str, Path]:
    """What is made of a person's own pictures: files in a folder, or one sheet; what there is, and its path."""
    from gan_dist.data.encoding import image
    from gan_dist.generation.translation import translation_sheet, write_images

    if len(seeds) > 1:
        raise UsageError("--inputs takes one --seed, not several")
    if out is None:
        path = Path(f"{model.name}-seed{seeds[0]}-made.png")
        _write(path, image.encode_png(translation_sheet(model, inputs, seeds[0])), force)
        return "pictures beside their inputs", path
    if out.suffix:
        raise UsageError(f"--out {str(out)!r}: --inputs writes into a folder")
    return f"{write_images(model, inputs, seeds[0], out)} pictures", out


def _picture(
    model: Model,
    *,
    seeds: list[int],
    n: int,
    cls: str | None,
    prompts: Sequence[str],
    way: str | None,
    steps: int,
    mix: str | None,
    layers: str | None,
    out: Path | None,
    stem: str,
) -> tuple[bytes, Path]:
    """One picture, or one text: a grid, a way or a table, as a file's content; and its path."""
    from gan_dist.data.encoding import image

    if layers is not None and mix is None:
        raise UsageError("--layers says which styles --mix takes; add --mix")
    if way is None and mix is None:
        content, ending = _grid(model, seeds, n, cls, prompts)
        path = out or Path(f"{stem}{ending}")
        if path.suffix.lower() != ending:
            raise UsageError(
                f"--out {str(path)!r}: {model.facts.described} are written into a folder, or a file of .txt"
            )
    elif mix is None:
        path = out or Path(f"{stem}-{way}.png")
        _check_ending(path, "--interpolate", (".png", ".gif"))
        frames = _way(model, seeds=seeds, cls=cls, way=str(way), steps=steps)
        content = (
            image.encode_gif(frames)
            if path.suffix == ".gif"
            else image.encode_png(image.enlarge(image.make_grid(frames, steps)))
        )
    else:
        from gan_dist.generation.interpolation import style_mix
        from gan_dist.generation.sampling import parse_seeds

        if way is not None:
            raise UsageError("--interpolate and --mix are two pictures; ask for one of them")
        path, columns = out or Path(f"{stem}-mix{mix}.png"), parse_seeds(mix)
        _check_ending(path, "--mix", (".png",))
        table = style_mix(model, seeds, columns, _layers(layers), cls)
        content = image.encode_png(image.enlarge(image.make_grid(table, len(columns) + 1)))
    return content, path


def _grid(model: Model, seeds: list[int], n: int, cls: str | None, prompts: Sequence[str]) -> tuple[bytes, str]:
    """Samples as people look at them, a row for each seed if there are several; and the file's ending."""
    import torch

    from gan_dist.data.encoding import image
    from gan_dist.generation.samples import render_sheet

    asked: Any = {"class_label": cls, "prompt": prompts or None}
    samples = torch.cat([chunk for seed in seeds for chunk in model.sample_chunks(n, seed=seed, **asked)])
    given = model.conditions_of(n, **asked) if model.modality.condition == "prompts" else None
    shown: Any = render_sheet(samples, model.facts, None if given is None else given.repeat(len(seeds), 1))
    if isinstance(shown, list):
        return "".join(f"{line}\n" for line in shown).encode(), ".txt"
    return image.encode_png(image.enlarge(image.make_grid(samples, n)) if len(seeds) > 1 else shown), ".png"


def _way(model: Model, *, seeds: list[int], cls: str | None, way: str, steps: int) -> Any:
    from gan_dist.generation.interpolation import WAYS, interpolate, parse_keyframes
    from gan_dist.spec.problems import suggestion

    if way not in WAYS:
        raise UsageError(f"--interpolate {way!r}{suggestion(way, WAYS)}")
    classes = [] if cls is None else [one.strip() for one in cls.split(";" if model.facts.vectors else ",")]
    return interpolate(model, parse_keyframes(seeds, classes), steps, way)


def _layers(written: str | None) -> range | None:
    if written is None:
        return None
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", written)
    if match is None:
        raise UsageError(f"--layers {written!r} must be a number or a range, such as 0-3")
    return range(int(match[1]), int(match[2] or match[1]) + 1)


def _check_ending(path: Path, option: str, endings: tuple[str, ...]) -> None:
    if path.suffix not in endings:
        raise UsageError(f"--out {str(path)!r}: {option} makes a file of {' or '.join(endings)}")


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
    weights: Annotated[str, typer.Option(help="ema (where there is one) or raw.")] = "ema",
    license_name: Annotated[str, typer.Option("--license", help="For the model card, such as apache-2.0.")] = "unknown",
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    trust_code: options.TrustCode = False,
    as_json: options.Json = False,
) -> None:
    """Write a run's generator, with a model card, into a folder that can be given away."""
    from gan_dist.generation.export import export as write

    written = write(run, out, form=form, weights=weights, license_name=license_name, force=force, trust_code=trust_code)
    if as_json:
        emit({"folder": str(out), "format": form, "files": [str(path) for path in written]})
        return
    say(f"exported to {out}: {', '.join(path.name for path in written)}")
    if form == "safetensors":
        say(f"use it      gan_dist.load({str(out)!r}).sample(64)")


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
