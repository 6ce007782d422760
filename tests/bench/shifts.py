"""How each metric moves when real digits are made worse in a known way: `python -m tests.bench.shifts`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gan_dist.data.facts import ImageFacts
from gan_dist.data.ingest import Memory
from gan_dist.measuring import Measuring
from gan_dist.runtime import LocalRun
from gan_dist.spec.job import MetricSpec
from gan_dist.storage import Folder
from tests.helpers import CPU, never, rows_of, small

HALF = 898
VALUES = ("fd", "kid", "precision", "recall", "density", "coverage")


def blurred(pixels: Tensor, labels: Tensor) -> Tensor:
    """Mean over 3x3 pixels."""
    padded = F.pad(pixels.float(), (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(padded, 3, stride=1).round().to(torch.uint8)


def noisy(pixels: Tensor, labels: Tensor) -> Tensor:
    """Normal noise of standard deviation 32."""
    noise = 32 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    return (pixels + noise).round().clamp(0, 255).to(torch.uint8)


def five_classes(pixels: Tensor, labels: Tensor) -> Tensor:
    """Only the digits 0 to 4, each twice at most."""
    kept = pixels[labels < 5]
    return torch.cat([kept, kept])[: len(pixels)]


def fifty_images(pixels: Tensor, labels: Tensor) -> Tensor:
    """Only 50 images, over and over."""
    return pixels[torch.arange(len(pixels)) % 50]


SHIFTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "the other half": lambda pixels, labels: pixels,
    "blurred (3x3)": blurred,
    "noise (32 of 255)": noisy,
    "digits 0-4 only": five_classes,
    "50 images repeated": fifty_images,
}


def shifts(features: str) -> dict[str, dict[str, float]]:
    """Shift -> value -> number: one half of the digits at 16 pixels, shifted, against the other half."""
    data = rows_of(small(data={"source": "digits", "size": 16, "labels": "source"}))
    order = np.random.RandomState(0).permutation(data.facts.count)
    (real, of_real), (fake, of_fake) = (data.rows(part) for part in (order[:HALF], order[HALF : 2 * HALF]))
    counts = tuple(of_real.bincount(minlength=10).tolist())
    facts = ImageFacts(
        count=HALF, size=16, channels=1, classes=data.facts.classes, class_counts=counts, checksum="half of the digits"
    )
    rows = Memory([real.numpy()], of_real.numpy(), facts, 0, 1)
    specs = [MetricSpec.model_validate({"use": use, "features": features, "samples": HALF}) for use in USED]
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        measuring = Measuring(specs, facts, Folder(cache), LocalRun(CPU, lambda event: None, never))
        for name, shift in SHIFTS.items():
            moved = shift(fake, of_fake)
            values = measuring.measure(lambda part, m=moved: m[part.start : part.stop], rows)
            found[name] = {measuring.names[exact]: value for exact, value in values.items()}
    return found


USED = ("frechet", "kid", "prdc")


def table(features: str) -> str:
    """The rows of `gan_dist/docs/metrics.md`."""
    lines = [f"| `{features}` | {' | '.join(VALUES)} |", "|---" * (len(VALUES) + 1) + "|"]
    for name, values in shifts(features).items():
        lines.append(f"| {name} | {' | '.join(f'{values[value]:.3g}' for value in VALUES)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(table("random"), table("classifier"), sep="\n\n")
