"""Sources without files of the user: the digits that come with scikit-learn, `torchvision:NAME`, and random
stand-ins."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.codec import SPECIAL, Codec, Splitting
from gan_dist.data.image_decoding import ImageForm
from gan_dist.data.labels import Label, Vector
from gan_dist.data.prompts import PROMPT_END, PromptForm
from gan_dist.data.source import Contents, Counted, Listing, Part, Parts, RawSample, Source, conditions_of, state_of
from gan_dist.data.sources.domains import DomainParts
from gan_dist.errors import DataError, DataNotFound
from gan_dist.runs.storage import home
from gan_dist.spec.data import DataSpec, ImageData, PairData, PictureData, UnpairedData
from gan_dist.spec.image_size import sides
from gan_dist.spec.problems import nearest_name


def list_digits(data: ImageData) -> Listing:
    if data.labels == "folders":
        raise DataError("data.labels: 'folders' needs a folder of images; for digits use 'source' or 'none'")
    _, shown = load_digits()
    names = Counted("digit", len(shown))
    labels = [int(label) for label in shown] if data.reads_labels else []
    return Listing(kind="digits", where="digits", state=state_of(["digits"]), root="", names=names, labels=labels)


def read_digits(part: Part) -> Iterator[RawSample]:
    greys, _ = load_digits()
    for name, place, label in part.rows():
        yield RawSample(name, np.rint(greys[place] * (255 / 16)).astype(np.uint8), label)


def load_digits() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Grey pictures [1797, 8, 8] from 0 to 16, and the digits they show [1797].

    Only the file is read: importing scikit-learn takes two seconds.
    """
    package: Any = find_spec("sklearn")
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1]


SCHEME = "torchvision:"


def list_torchvision(data: ImageData) -> Listing:
    """The training part of a data set, downloaded where it is not yet."""
    if data.labels == "folders":
        raise DataError("data.labels: 'folders' needs a folder of images; for torchvision use 'source' or 'none'")
    name = data.source.removeprefix(SCHEME)
    found = _data_set(name, download=True)
    names = Counted(name, len(found))
    labels: list[Label] = _labels(found, name) if data.reads_labels else []
    return Listing(
        kind="torchvision", where=data.source, state=state_of([name, len(found)]), root=name, names=names, labels=labels
    )


def read_torchvision(part: Part) -> Iterator[RawSample]:
    found = _data_set(part.root, download=False)
    for name, place, label in part.rows():
        yield RawSample(name, found[place][0], label)


@lru_cache(maxsize=1)
def _data_set(name: str, download: bool) -> Any:
    import torchvision.datasets as sets

    if name not in sets.__all__:
        near = nearest_name(name, sets.__all__)
        hint = f"; did you mean {SCHEME}{near}?" if near else ""
        raise DataError(f"data.source: torchvision has no data set {name!r}{hint}")
    kind: Any = getattr(sets, name)
    root = home() / "torchvision"
    takes = inspect.signature(kind).parameters
    arguments: dict[str, Any] = {"root": str(root)} if "root" in takes else {}
    if "train" in takes:
        arguments["train"] = True
    if "download" in takes:
        arguments["download"] = download
    try:
        return kind(**arguments)
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        raise DataNotFound(
            f"data.source: torchvision could not make {name}: {error}; without a network, put the files it downloads "
            f"into {root / name if 'MNIST' in name else root} (they are named on torchvision's page of {name})"
        ) from error


def _labels(found: Any, name: str) -> list[Label]:
    for attribute in ("targets", "labels", "_labels"):
        values = getattr(found, attribute, None)
        if values is not None and len(values) == len(found):
            classes = [str(one) for one in getattr(found, "classes", [])]
            numbers = [int(value) for value in values]
            return [f"{n:04d} {classes[n]}" for n in numbers] if max(numbers) < len(classes) else list(numbers)
    raise DataError(f"data.labels: 'source', but torchvision's {name} has no list of classes; use 'none'")


CLASSES = 10
WORDS = 1000


def stand_in(data: DataSpec, count: int) -> Source:
    """`count` random images or sentences, of two domains so many of each; ten classes or vectors where the job has
    labels."""
    labels: list[Label] = [number % CLASSES for number in range(count)] if data.labels != "none" else []
    if data.labels == "vectors":
        labels = [Vector(tuple(map(float, row))) for row in np.eye(CLASSES)[np.arange(count) % CLASSES]]
    names, notes = Counted("stand-in", count), dict[str, Any]()
    if isinstance(data, PictureData):
        channels = data.channels if data.channels != "auto" else 3
        form: ImageForm | Codec = ImageForm(data.size, channels, pair="left" if isinstance(data, PairData) else "")
    else:
        words = [f"word{number}" for number in range((data.vocabulary or WORDS) - len(SPECIAL))]
        prompt = None if data.prompt is None else PromptForm(data.prompt_length or data.length)
        notes |= {} if prompt is None else {"prompts": tuple(words[:1])}
        form = Codec(data.length, Splitting("blanks"), (*SPECIAL, *words), prompt=prompt)
    listing = Listing(kind="noise", where=data.source, state="", root="", names=names, labels=labels)
    given = conditions_of(listing, data.labels)
    parts: Sequence[Part] = Parts(listing, form, given.numbers)
    if unpaired := isinstance(data, UnpairedData):
        parts = DomainParts([parts, parts])
    contents = Contents(parts, given.classes, form, vectors=given.vectors, notes=notes, domains=unpaired)
    return Source(data.source, state_of(["noise", count, form, given.classes, given.state, unpaired]), lambda: contents)


def read_noise(part: Part) -> Iterator[RawSample]:
    for name, place, label in part.rows():
        random = np.random.default_rng(place)
        if isinstance(part.form, Codec):
            words = random.integers(len(SPECIAL), len(part.form.vocabulary), random.integers(1, part.form.length + 1))
            yield RawSample(name, _after_a_prompt(words, part.form) if part.form.prompt else words, label)
        else:
            height, width = sides(part.form.size)
            shape = (height, width * (2 if part.form.pair else 1), part.form.channels)
            yield RawSample(name, random.integers(0, 256, shape, np.uint8), label)


def _after_a_prompt(words: NDArray[np.int64], codec: Codec) -> str:
    """Random words as a text, after a prompt of one of them."""
    first, *rest = (codec.vocabulary[word] for word in (words[0], *words))
    return f"{first}{PROMPT_END}{' '.join(rest)}"
