"""The generator of a run as a folder that can be given away."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save
from torch import Tensor
from torch.utils._pytree import tree_flatten_with_path

from gan_dist.data.facts import PairFacts
from gan_dist.errors import UsageError
from gan_dist.generation import exported_model
from gan_dist.generation.export_programs import example_inputs, write_onnx, write_torch
from gan_dist.generation.model import Model, load
from gan_dist.generation.model_card import card
from gan_dist.generation.run_grids import SampleGrids
from gan_dist.generation.samples import Sheet, render_sheet, save_sheet
from gan_dist.generation.training_data import trained_on
from gan_dist.runs.metric_history import summarize_metrics
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.problems import suggestion

Form = Literal["safetensors", "torch", "onnx"]
FILES: dict[str, str] = {"safetensors": exported_model.WEIGHTS, "torch": "model.pt2", "onnx": "model.onnx"}
SHOWN = 64


def export(
    run: str,
    out: Path,
    form: str = "safetensors",
    weights: str = "ema",
    license_name: str = "unknown",
    force: bool = False,
) -> list[Path]:
    """Write the generator of a run or checkpoint into a folder, whole or not at all; the files' paths.

    Args:
        form: safetensors (weights and config, for `gan_dist.load`), torch (a `torch.export` program) or onnx.
        weights: ema, where there is one, or raw.
        license_name: for the model card.
        force: whether a folder that is not empty may be written into.

    Raises:
        ValueError: the folder is not empty, there is no such form, or the generator cannot be put in it.
        NoSuchRun, CheckpointError: of the run.
    """
    if form not in get_args(Form):
        raise UsageError(f"--format: unknown form {form!r}{suggestion(form, get_args(Form))}")
    if not force and out.is_dir() and any(out.iterdir()):
        raise UsageError(f"--out {str(out)!r} is not empty; choose another folder, or --force")
    if exported_model.is_exported(run):
        raise UsageError(f"{run!r} is exported already; name the run or checkpoint it came from")
    model = load(run, weights)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as scratch:
        written = _written(model, Path(scratch), form, weights, license_name)
        out.mkdir(exist_ok=True)
        for path in written:
            os.replace(path, out / path.name)
    return [out / path.name for path in written]


def _written(model: Model, folder: Path, form: str, weights: str, license_name: str) -> list[Path]:
    path = folder / FILES[form]
    if form == "torch":
        write_torch(model, path)
    elif form == "onnx":
        write_onnx(model, path)
    else:
        # Tied tensors are stored once for each name, so that any reader gets them all.
        state = model.generator.state_dict()
        path.write_bytes(save({name: tensor.clone().contiguous() for name, tensor in state.items()}))
    named = "generator_ema" if weights == "ema" and model.spec.ema is not None else "generator"
    config = exported_model.config_of(model.name, model.spec, model.facts, model.seen, named, path)
    (folder / exported_model.CONFIG).write_text(json.dumps(config, indent=1) + "\n")
    shown = save_sheet(_shown(model), folder / "samples")
    found = summarize_metrics([one for one in _run_of(model).reports() if one["seen"] <= model.seen])
    text = card(model, form, named, license_name, found, described_inputs(model), shown.name)
    (folder / "README.md").write_text(text)
    return [path, folder / exported_model.CONFIG, folder / "README.md", shown]


def _shown(model: Model) -> Sheet:
    """Samples for the model card; of pairs, made of inputs that it was trained on."""
    if isinstance(model.facts, PairFacts):
        return SampleGrids(trained_on(model), model.spec.seed, torch.device("cpu")).draw(model.generator)[0]
    cond = torch.arange(SHOWN) % len(model.classes) if model.classes else None
    return render_sheet(model.sample(SHOWN), model.facts, cond)


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
