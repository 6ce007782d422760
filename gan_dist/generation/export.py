"""The generator of a run as a folder that can be given away: weights with a model card, or a program that runs without
gan-dist (torch.export's, or ONNX).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gan_dist.runs.run_folder import MetricSummary
from gan_dist.spec.data import Modality

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

import io
import json
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten_with_path, tree_leaves, tree_map

from gan_dist.data.facts import ImageFacts
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.errors import UsageError
from gan_dist.generation import exported_model
from gan_dist.generation.chosen_weights import RAW
from gan_dist.generation.model import Model, load, trained_on
from gan_dist.generation.samples import Sheet, render_sheet, save_sheet
from gan_dist.runs.checkpoint import EMA
from gan_dist.runs.run_folder import RunFolder, summarize_metrics
from gan_dist.runs.storage import Folder
from gan_dist.spec.problems import suggestion

Form = Literal["safetensors", "torch", "onnx"]
FILES: dict[str, str] = {"safetensors": exported_model.WEIGHTS, "torch": "model.pt2", "onnx": "model.onnx"}
SHOWN, LEAST_SHOWN, SHOWN_PIXELS = 64, 4, 1 << 20


def export(
    run: str,
    out: Path,
    *,
    form: str = "safetensors",
    weights: str = "ema",
    license_name: str = "unknown",
    force: bool = False,
    trust_code: bool = False,
) -> list[Path]:
    """Write the generator of a run or checkpoint into a folder, whole or not at all; the files' paths.

    Args:
        form: safetensors (weights and config, for `gan_dist.load`), torch (a `torch.export` program) or onnx.
        weights: ema, where there is one, raw, or ema:SIGMA (see `gan_dist.load`).
        license_name: for the model card.
        force: whether a folder that is not empty may be written into.
        trust_code: whether a generator class of somebody else's may be imported and run.

    Raises:
        ValueError: the folder is not empty, there is no such form, or the generator cannot be put in it.
        NoSuchRun, CheckpointError: of the run.
    """
    if form not in get_args(Form):
        raise UsageError(f"--format: unknown form {form!r}{suggestion(form, get_args(Form))}")
    _check_empty(out, force)
    if exported_model.is_exported(run):
        raise UsageError(f"{run!r} is exported already; name the run or checkpoint it came from")
    model = load(run, weights=weights, trust_code=trust_code)
    return export_model(model, out, form=form, weights=weights, license_name=license_name, force=force)


def export_model(
    model: Model, out: Path, *, form: str = "safetensors", weights: str = "ema", license_name: str, force: bool
) -> list[Path]:
    """Write a model's generator into a folder, as `export` does; `weights` says which ones it has."""
    _check_empty(out, force)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as scratch:
        written = _written(model, Path(scratch), form=form, weights=weights, license_name=license_name)
        out.mkdir(exist_ok=True)
        for path in written:
            os.replace(path, out / path.name)
    return [out / path.name for path in written]


def _check_empty(out: Path, force: bool) -> None:
    if not force and out.is_dir() and any(out.iterdir()):
        raise UsageError(f"--out {str(out)!r} is not empty; choose another folder, or --force")


def _written(model: Model, folder: Path, *, form: str, weights: str, license_name: str) -> list[Path]:
    path = folder / FILES[form]
    if form == "torch":
        write_torch(model, path)
    elif form == "onnx":
        write_onnx(model, path)
    else:
        # Tied tensors are stored once for each name, so that any reader gets them all.
        state = model.network.state_dict()
        path.write_bytes(save({name: tensor.clone().contiguous() for name, tensor in state.items()}))
    average = weights != RAW and model.spec.ema is not None
    named = EMA + weights.removeprefix("ema").replace(":", "_") if average else "generator"
    config = exported_model.config_of(
        model.name, spec=model.spec, facts=model.facts, seen=model.seen, weights=named, file=path
    )
    (folder / exported_model.CONFIG).write_text(json.dumps(config, indent=1) + "\n")
    shown = save_sheet(_shown(model), folder / "samples")
    found = summarize_metrics([one for one in _run_of(model).reports() if one["seen"] <= model.seen])
    text = card(
        model,
        form=form,
        weights=named,
        license_name=license_name,
        metrics=found,
        inputs=described_inputs(model),
        sheet=shown.name,
    )
    (folder / "README.md").write_text(text)
    return [path, folder / exported_model.CONFIG, folder / "README.md", shown]


def _shown(model: Model) -> Sheet:
    """Samples for the model card; of pairs, made of inputs that it was trained on."""
    if model.modality.needs_data:
        return model.modality.sheet(model.generator, trained_on(model), model.spec.seed, torch.device("cpu"))[0]
    shown = SHOWN
    facts = model.modality.real_facts
    if isinstance(facts, ImageFacts):
        # Large pictures take seconds each on a CPU, and a card needs no more than a page of them.
        shown = min(SHOWN, max(LEAST_SHOWN, SHOWN_PIXELS // math.prod(facts.shape[1:])))
    return render_sheet(next(model.sample_chunks(shown)), model.facts, model.conditions_of(shown))


def _run_of(model: Model) -> RunFolder:
    return RunFolder(Folder(model.uri.rsplit("/", 2)[0]))


def described_inputs(model: Model) -> str:
    """A program's inputs with their shapes: `noise [B, 128], classes [B]`."""
    leaves: list[tuple[Any, Tensor]] = tree_flatten_with_path(example_inputs(model, 2))[0]
    found = []
    for path, tensor in leaves:
        name = ".".join(str(getattr(key, "key", getattr(key, "idx", ""))) for key in path)
        found.append(f"{name} [{', '.join(['B', *map(str, tensor.shape[1:])])}]")
    return ", ".join(found)


TRACED, TRIED = 4, 3
TOLERANCE = 1e-4


class Program(nn.Module):
    """From noise, and classes [B], vectors [B, K], pictures [B, C, H, W] or prompts [B, P] where there are some, to
    float images [B, C, H, W] in [-1, 1] or token ids [B, T]."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(
        self,
        noise: Any,
        classes: Tensor | None = None,
        vectors: Tensor | None = None,
        pictures: Tensor | None = None,
        prompts: Tensor | None = None,
    ) -> Tensor:
        given = [one for one in (classes, vectors, pictures, prompts) if one is not None]
        made: Tensor = self.generator(noise, given[0] if given else None)
        return made


def example_inputs(model: Model, n: int) -> dict[str, Any]:
    """Noise as the generator draws it, and classes, vectors, pictures or prompts where it has some, for n samples."""
    generator: Any = model.generator
    device, dtype = torch.device("cpu"), next(generator.parameters()).dtype
    rng = single_lane_rng(("export", n), n, device, dtype)
    noise = generator.draw(n, rng)
    conditions = model.modality.example_conditions(n, rng)
    if conditions is None:
        return {"noise": noise}
    return {"noise": noise, model.modality.condition: conditions}


def write_torch(model: Model, path: Path) -> None:
    """The `torch.export` program of a generator, for any batch.

    Raises:
        ValueError: the generator cannot be traced, or what was traced makes other samples.
    """
    with _refused(model, "torch"):
        torch.export.save(_traced(model), path)
        program = torch.export.load(path).module()
    tried = example_inputs(model, TRIED)
    _check(model, "torch", program(**tried), tried)


def write_onnx(model: Model, path: Path) -> None:
    """The ONNX program of a generator, for any batch, whose samples were compared by onnxruntime.

    Raises:
        ValueError: packages are missing, the generator cannot be put in ONNX, or its samples differ by more than 1e-4.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(f"--format onnx needs {error.name}: pip install 'gan-dist[onnx]'") from None
    with _refused(model, "onnx"):
        given = example_inputs(model, TRACED)
        torch.onnx.export(_traced(model), (), path, kwargs=given, dynamo=True, external_data=False, verbose=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        tried = example_inputs(model, TRIED)
        leaves = [leaf.numpy() for leaf in tree_leaves(tried)]
        named = dict(zip((one.name for one in session.get_inputs()), leaves, strict=True))
        made = torch.from_numpy(session.run(None, named)[0])
    _check(model, "onnx", made, tried)


def _traced(model: Model) -> torch.export.ExportedProgram:
    """The generator traced with a batch that may be any number."""
    given, batch = example_inputs(model, TRACED), torch.export.Dim("batch")
    shapes: dict[str, Any] = tree_map(lambda leaf: {0: batch}, given)
    # Only a strict trace follows `len(noise)`; the other kind takes the batch for a constant.
    return torch.export.export(Program(model.generator), (), given, dynamic_shapes=shapes, strict=True)


def _check(model: Model, form: str, made: Tensor, tried: dict[str, Any]) -> None:
    with torch.no_grad():
        wanted = Program(model.generator)(**tried)
    apart = (made.double() - wanted.double()).abs().max().item()
    if apart > TOLERANCE:
        raise UsageError(f"--format {form}: its samples differ from the run's by {apart:.2g}, more than {TOLERANCE:g}")


@contextmanager
def _refused(model: Model, form: str) -> Iterator[None]:
    """Whatever a tracer says against a generator, in one line; it is a person's own code as often as not."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # torch and onnxruntime raise many kinds
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        lines = [line.strip() for line in str(first).splitlines() if line.strip()]
        raise UsageError(
            f"--format {form}: the generator {model.spec.generator.use!r} cannot be exported: {type(first).__name__}: "
            f"{lines[0] if lines else 'no reason given'}; --format safetensors always can"
        ) from error


TEMPLATE = Path(__file__).with_name("model_card.md")
TASKS: dict[Modality, str] = {
    "image": "unconditional-image-generation",
    "pair": "image-to-image",
    "unpaired": "image-to-image",
    "text": "text-generation",
}
USES = {
    "safetensors": """import gan_dist

samples = gan_dist.load(".").sample(64, seed=0)""",
    "torch": """import torch

program = torch.export.load("model.pt2").module()
samples = program(...)  # by name: INPUTS""",
    "onnx": """import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
samples = session.run(None, {...})[0]  # in this order: INPUTS""",
}


def card(
    model: Model,
    *,
    form: str,
    weights: str,
    license_name: str,
    metrics: Mapping[str, MetricSummary],
    inputs: str,
    sheet: str,
) -> str:
    """Markdown with the front matter that model hubs read.

    Args:
        form: of the export, a key of `USES`.
        weights: which were exported.
        metrics: every metric that the run measured.
        inputs: the program's arguments with their shapes.
        sheet: name of the file with samples.
    """
    from huggingface_hub import ModelCard

    made = ModelCard.from_template(
        _front_matter(model, license_name, metrics),
        template_path=str(TEMPLATE),
        model=model,
        facts=model.facts,
        objectives=", then ".join(" + ".join(one.use for one in stage.objective) for stage in model.spec.phases_plan),
        weights=weights,
        use=USES[form].replace("INPUTS", inputs),
        metrics=metrics,
        sheet=sheet,
    )
    return f"{made}\n"


def _front_matter(model: Model, license_name: str, metrics: Mapping[str, MetricSummary]) -> ModelCardData:
    from huggingface_hub import EvalResult, ModelCardData

    data = model.spec.data
    task = TASKS[data.modality]
    results = [
        EvalResult(
            task_type=task,
            dataset_type=data.modality,
            dataset_name=PurePath(data.source).name or data.source,  # where it lies is nobody's business
            metric_type=name,
            metric_value=summary.last[0],
        )
        for name, summary in metrics.items()
    ]
    return ModelCardData(
        license=license_name,
        library_name="gan-dist",
        pipeline_tag=task,
        tags=["gan", data.modality],
        model_name=model.name if results else None,
        eval_results=results or None,
    )
