"""How each metric moves when real digits are made worse in a known way: `python -m benchmarks.shifts`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gan_dist.data.facts import ImageFacts
from gan_dist.data.ingest import Memory
from gan_dist.distributed.runtime import LocalRuntime
from gan_dist.evaluation.metric_runner import MetricRunner
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import MetricSpec
from tests.helpers import CPU, never, rows_of, small

HALF = 898
VALUES = ("fd", "kid_all_pairs", "precision", "recall", "density", "coverage")
MORE = ("class_fd", "memorised", "nearest", "diversity", "class_score")
Part = tuple[Tensor, Tensor]


def blurred(fake: Part, real: Part) -> Part:
    """Mean over 3x3 pixels."""
    padded = F.pad(fake[0].float(), (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(padded, 3, stride=1).round().to(torch.uint8), fake[1]


def noisy(fake: Part, real: Part) -> Part:
    """Normal noise of standard deviation 32."""
    noise = 32 * torch.randn(fake[0].shape, generator=torch.Generator().manual_seed(0))
    return (fake[0] + noise).round().clamp(0, 255).to(torch.uint8), fake[1]


def five_classes(fake: Part, real: Part) -> Part:
    """Only the digits 0 to 4, each twice at most."""
    kept = torch.cat([torch.nonzero(fake[1] < 5).flatten()] * 2)[: len(fake[1])]
    return fake[0][kept], fake[1][kept]


def fifty_images(fake: Part, real: Part) -> Part:
    """Only 50 images, over and over."""
    kept = torch.arange(len(fake[1])) % 50
    return fake[0][kept], fake[1][kept]


def exchanged(fake: Part, real: Part) -> Part:
    """Each image as one of the next class."""
    return fake[0], (fake[1] + 1) % 10


def copied(fake: Part, real: Part) -> Part:
    """What they are compared with."""
    return real


SHIFTS: dict[str, Callable[[Part, Part], Part]] = {
    "the other half": lambda fake, real: fake,
    "blurred (3x3)": blurred,
    "noise (32 of 255)": noisy,
    "digits 0-4 only": five_classes,
    "50 images repeated": fifty_images,
    "classes exchanged": exchanged,
    "the data copied": copied,
}


def shifts(features: str) -> dict[str, dict[str, float]]:
    """Shift -> value -> number: one half of the digits at 16 pixels, shifted, against the other half."""
    data = rows_of(small(data={"source": "digits", "size": 16, "labels": "source"}))
    order = np.random.RandomState(0).permutation(data.facts.count)
    real, fake = (data.rows(part) for part in (order[:HALF], order[HALF : 2 * HALF]))
    counts = tuple(real[1].bincount(minlength=10).tolist())
    facts = ImageFacts(
        count=HALF, size=16, channels=1, classes=data.facts.classes, class_counts=counts, checksum="half of the digits"
    )
    rows = Memory(blocks=[real[0].numpy()], labels=real[1].numpy(), facts=facts, seed=0, batch=1)
    used = [*USED, "class_score"] if features == "classifier" else USED
    specs = [MetricSpec.model_validate({"use": use, "features": features, "samples": HALF}) for use in used]
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        measuring = MetricRunner(
            metrics=specs, facts=facts, cache=Folder(cache), run=LocalRuntime(CPU, lambda event: None, never)
        )
        for name, shift in SHIFTS.items():
            pixels, labels = shift(fake, real)
            values = measuring.measure(
                lambda part, x=pixels: x[part.start : part.stop],
                rows,
                labels=lambda part, y=labels: y[part.start : part.stop],
            )
            found[name] = {measuring.names[exact]: value for exact, value in values.items()}
    return found


USED = ["frechet", "kid", "prdc", "class_frechet", "memorised", "diversity"]


def tables(features: str) -> str:
    """The rows of `gan_dist/docs/metrics.md`."""
    found, lines = shifts(features), []
    for values in (VALUES, MORE):
        shown = [value for value in values if value in found["the other half"]]
        lines += [f"| `{features}` | {' | '.join(shown)} |", "|---" * (len(shown) + 1) + "|"]
        lines += [f"| {name} | {' | '.join(f'{of[value]:.3g}' for value in shown)} |" for name, of in found.items()]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(tables("random"), tables("classifier"), sep="\n")
