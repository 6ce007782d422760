"""The model card of an exported generator: what it is, what it learnt from, how good it was found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gan_dist.generation.model import Model
from gan_dist.runs.metric_history import MetricSummary
from gan_dist.spec.data import Modality

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

TEMPLATE = Path(__file__).with_name("model_card.md")
TASKS: dict[Modality, str] = {
    "image": "unconditional-image-generation",
    "pair": "image-to-image",
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
    form: str,
    weights: str,
    license_name: str,
    courses: Mapping[str, MetricSummary],
    inputs: str,
    sheet: str,
) -> str:
    """Markdown with the front matter that model hubs read.

    Args:
        form: of the export, a key of `USES`.
        weights: which were exported.
        courses: every metric that the run measured.
        inputs: the program's arguments with their shapes.
        sheet: name of the file with samples.
    """
    from huggingface_hub import ModelCard

    made = ModelCard.from_template(
        _front_matter(model, license_name, courses),
        template_path=str(TEMPLATE),
        model=model,
        facts=model.facts,
        objectives=", then ".join(" + ".join(one.use for one in stage.objective) for stage in model.spec.phases_plan),
        weights=weights,
        use=USES[form].replace("INPUTS", inputs),
        courses=courses,
        sheet=sheet,
    )
    return f"{made}\n"


def _front_matter(model: Model, license_name: str, courses: Mapping[str, MetricSummary]) -> ModelCardData:
    from huggingface_hub import EvalResult, ModelCardData

    data = model.spec.data
    task = TASKS[data.modality]
    results = [
        EvalResult(
            task_type=task,
            dataset_type=data.modality,
            dataset_name=data.source,
            metric_type=name,
            metric_value=course.last[0],
        )
        for name, course in courses.items()
    ]
    return ModelCardData(
        license=license_name,
        library_name="gan-dist",
        pipeline_tag=task,
        tags=["gan", data.modality],
        model_name=model.name if results else None,
        eval_results=results or None,
    )
