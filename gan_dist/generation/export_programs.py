"""A generator as a program that runs without gan-dist: torch.export's, or ONNX."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from gan_dist.data.facts import PairFacts
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.errors import UsageError
from gan_dist.generation.model import Model

TRACED, TRIED = 4, 3
TOLERANCE = 1e-4


class Program(nn.Module):
    """From noise, and classes [B] or pictures [B, C, H, W] where there are some, to float images [B, C, H, W] in
    [-1, 1] or token ids [B, T]."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Any, classes: Tensor | None = None, pictures: Tensor | None = None) -> Tensor:
        made: Tensor = self.generator(noise, classes if pictures is None else pictures)
        return made


def example_inputs(model: Model, n: int) -> dict[str, Any]:
    """Noise as the generator draws it, and classes or pictures where it has some, for n samples."""
    generator: Any = model.generator
    device, dtype = torch.device("cpu"), next(generator.parameters()).dtype
    rng = single_lane_rng(("export", n), n, device, dtype)
    noise = generator.draw(n, rng)
    if isinstance(model.facts, PairFacts):
        return {"noise": noise, "pictures": rng.normal(model.facts.input_channels, model.facts.size, model.facts.size)}
    return {"noise": noise, **({"classes": torch.arange(n) % len(model.classes)} if model.classes else {})}


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
