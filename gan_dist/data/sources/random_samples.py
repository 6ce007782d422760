"""Random samples in the shape of a job's data, for a rehearsal where the data are not at hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gan_dist.data.codec import SPECIAL, Codec, Splitting
from gan_dist.data.image_decoding import ImageForm
from gan_dist.data.source import Contents, Counted, Label, Listing, Part, Parts, RawSample, Source, numbered, state_of
from gan_dist.spec.data import DataSpec, PairData, PictureData

CLASSES = 10
WORDS = 1000


def stand_in(data: DataSpec, count: int) -> Source:
    """`count` random images or sentences; ten classes where the job has labels."""
    labels: list[Label] = [number % CLASSES for number in range(count)] if data.labels != "none" else []
    names = Counted("stand-in", count)
    if isinstance(data, PictureData):
        channels = data.channels if data.channels != "auto" else 3
        form: ImageForm | Codec = ImageForm(data.size, channels, pair="left" if isinstance(data, PairData) else "")
    else:
        words = [f"word{number}" for number in range((data.vocabulary or WORDS) - len(SPECIAL))]
        form = Codec(data.length, Splitting("blanks"), (*SPECIAL, *words))
    listing = Listing("noise", data.source, "", "", names, labels)
    classes, numbers = numbered(labels, names)
    contents = Contents(Parts(listing, form, numbers), classes, form)
    return Source(data.source, state_of(["noise", count, form, classes]), lambda: contents)


def read_noise(part: Part) -> Iterator[RawSample]:
    for name, place, label in part.rows():
        random = np.random.default_rng(place)
        if isinstance(part.form, Codec):
            words = random.integers(len(SPECIAL), len(part.form.vocabulary), random.integers(1, part.form.length + 1))
            yield RawSample(name, words, label)
        else:
            shape = (part.form.size, part.form.size * (2 if part.form.pair else 1), part.form.channels)
            yield RawSample(name, random.integers(0, 256, shape, np.uint8), label)
