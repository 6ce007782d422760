"""Random images in the shape of a job's data, for a rehearsal where the data are not at hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gan_dist.data.source import Part, Row, Source, cuts, rows_of_a_part, state_of
from gan_dist.spec.job import DataSpec

CLASSES = 10


def stand_in(data: DataSpec, count: int) -> Source:
    """`count` random images; ten classes where the job has labels."""
    channels = 3 if data.channels == "auto" else data.channels
    classes = tuple(str(label) for label in range(CLASSES)) if data.labels != "none" else ()
    parts = tuple(
        Part("noise", rows.start, len(rows), data.size, channels, labels="yes" if classes else "")
        for rows in cuts(count, rows_of_a_part(data.size, channels))
    )
    return Source(data.source, state_of(["noise", count]), parts, classes, channels, channels_given=True)


def read_noise(part: Part) -> Iterator[Row]:
    for number in range(part.first, part.first + part.count):
        random = np.random.default_rng(number)
        pixels = random.integers(0, 256, (part.channels, part.size, part.size), np.uint8)
        yield Row(f"stand-in {number}", pixels, number % CLASSES if part.labels else 0, part.channels)
