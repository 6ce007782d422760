"""Random images in the shape of a job's data, for a rehearsal where the data are not at hand."""

from __future__ import annotations

import numpy as np

from gan_dist.data.read import Columns
from gan_dist.data.sources import Part, Source
from gan_dist.spec.job import DataSpec

CLASSES = 10


def stand_in(data: DataSpec, count: int) -> tuple[Source, list[Columns]]:
    """`count` random images as the one block of a source; ten classes where the job has labels."""
    channels = 3 if data.channels == "auto" else data.channels
    classes = tuple(str(label) for label in range(CLASSES)) if data.labels != "none" else ()
    random = np.random.default_rng(0)
    block = {
        "index": np.arange(count),
        "name": np.array([f"stand-in {number}" for number in range(count)], dtype=object),
        "label": np.arange(count) % CLASSES if classes else np.zeros(count, np.int64),
        "native": np.full(count, channels),
        "digest": np.zeros(count, np.int64),
        "reason": np.array([""] * count, dtype=object),
        "image": random.integers(0, 256, (count, channels, data.size, data.size), np.uint8),
    }
    part = Part("stand-in", 0, count, data.size, channels)
    return Source(data.source, (part,), classes, channels, channels_given=True), [block]
