"""The model card of an exported generator: what it is, what it learnt from, how good it was found."""

from __future__ import annotations

from collections.abc import Mapping

from gan_dist.generation.model import Model
from gan_dist.runs.metric_history import MetricSummary

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
    spec, facts = model.spec, model.facts
    objectives = ", then ".join(" + ".join(one.use for one in stage.objective) for stage in spec.phases_plan)
    classes = f", {len(facts.classes)} classes: {', '.join(facts.classes[:20])}" if facts.classes else ""
    shown = f"![samples]({sheet})" if sheet.endswith(".png") else f"Samples are in [{sheet}]({sheet})."
    use = USES[form].replace("INPUTS", inputs)
    return f"""---
license: {license_name}
library_name: gan-dist
tags: [gan, {spec.data.modality}]
---

# {model.name}

Generator `{spec.generator.use}`, trained with `{objectives}` by gan-dist for {model.seen:,} samples; {weights} weights.
The whole job is in `config.json`.

{shown}

## Use

```python
{use}
```

## Data

`{spec.data.source}`: {facts.count:,} {facts.described}{classes}. Checksum `{facts.checksum}`.

## Metrics

{_metrics(courses)}
"""


def _metrics(courses: Mapping[str, MetricSummary]) -> str:
    if not courses:
        return "None were measured."
    rows = [f"| {name} | {course.last[0]:.6g} | {course.last[1]:,} |" for name, course in courses.items()]
    note = "A name says the protocol: gan-dist help metrics."
    return "\n".join(["| metric | value | after samples |", "| --- | --- | --- |", *rows, "", note])
