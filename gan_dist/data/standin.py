"""Random images in the shape of a job's data, for a rehearsal where the data are not at hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gan_dist.data.source import Found, Label, Listing, Part, state_of
from gan_dist.spec.job import DataSpec

CLASSES = 10


def list_noise(data: DataSpec, count: int) -> Listing:
    """`count` random images; ten classes where the job has labels."""
    labels: list[Label] = [number % CLASSES for number in range(count)] if data.labels != "none" else []
    names = [f"stand-in {number}" for number in range(count)]
    return Listing("noise", data.source, state_of(["noise", count]), "", names, labels)


def read_noise(part: Part) -> Iterator[Found]:
    shape = (part.look.size, part.look.size, part.look.channels)
    for name, place, label in part.rows():
        yield Found(name, np.random.default_rng(place).integers(0, 256, shape, np.uint8), label)
