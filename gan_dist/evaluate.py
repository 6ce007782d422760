"""How far samples are from images: of a run, a checkpoint or a folder, against the run's data or another folder."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gan_dist.api import Model, load
from gan_dist.components import ALIASES, Roots, add_roots
from gan_dist.data.errors import DataError
from gan_dist.data.facts import DataFacts, ImageFacts
from gan_dist.data.files import list_folder
from gan_dist.data.ingest import Memory, in_memory
from gan_dist.data.prepare import here, prepared, settle
from gan_dist.data.sources import Row, read, source_of
from gan_dist.feed import class_shares
from gan_dist.measuring import Draw, Measuring
from gan_dist.metrics.names import names_of
from gan_dist.runs import RunFolder
from gan_dist.runtime import LocalRun
from gan_dist.samples import measured
from gan_dist.spec.amounts import Amount
from gan_dist.spec.errors import suggestion
from gan_dist.spec.job import FeaturesSpec, ImageData, MetricSpec
from gan_dist.storage import Folder
from gan_dist.wanted import SEED
from gan_dist.worker import pick_device


@dataclass(frozen=True)
class Question:
    """What is compared by which metrics; `n` samples and `features` in place of what the metrics say."""

    a: str
    b: str | None = None
    metrics: Sequence[str] = ()
    n: int | None = None
    features: str | None = None


@dataclass(frozen=True)
class Answer:
    """Every number by its exact name, what was compared, images of B, and samples that A's generator had seen."""

    values: dict[str, float]
    a: str
    b: str
    reals: int
    seen: int | None


@dataclass(frozen=True)
class Samples:
    """A. `most` is how many a folder holds; a generator makes any number. `metrics` are those of the run's job."""

    where: str
    facts: DataFacts
    draw: Draw
    cache: Folder
    most: int | None = None
    seen: int | None = None
    metrics: Sequence[MetricSpec] = ()
    roots: Roots = (".",)


def evaluate(question: Question) -> Answer:
    """Measure in this process.

    Raises:
        ValueError: a folder holds no images, or of several sizes; A and B differ in size or channels; there are too few
            samples; there is no such metric. NoSuchRun and CheckpointError for a run.
    """
    device = pick_device("auto")
    with tempfile.TemporaryDirectory() as scratch:
        if _holds_images(question.a):
            if question.b is None:
                raise ValueError(f"{question.a!r} is a folder of images; name a second one to compare it with")
            a, b = _of_folder(question.a, Folder(scratch)), images_of(question.b)
        else:
            model = load(question.a)
            a = _of_model(model, device)
            b = _training_data(model) if question.b is None else images_of(question.b)
        against = "" if question.b is None else Path(question.b).resolve().name
        where = question.b or f"the data of {a.where}"
        _check_same_shape(a.where, a.facts, where, b.facts)
        add_roots(a.roots)
        run = LocalRun(device, lambda event: None, lambda: False)
        measuring = Measuring(_asked(question, a), b.facts, a.cache, run, a.roots, against)
        if problems := measuring.problems():
            raise ValueError("\n".join(problems))
        return Answer(measuring.measure(a.draw, b), a.where, where, b.facts.count, a.seen)


def _holds_images(where: str) -> bool:
    """Whether it is a folder that is neither a run nor a checkpoint."""
    return Path(where).is_dir() and not any((Path(where) / name).exists() for name in ("request.json", "meta.json"))


def _of_model(model: Model, device: torch.device) -> Samples:
    """The very samples that the run's own metrics are of."""
    generator, shares = model.generator.to(device), class_shares(model.facts, device)

    def draw(part: range) -> torch.Tensor:
        return measured(generator, part, model.spec.seed, shares, device)

    roots = [model.spec.environment.code or "."]
    cache = _run_of(model).measured()
    return Samples(model.name, model.facts, draw, cache, None, model.seen, model.spec.metrics, roots)


def _run_of(model: Model) -> RunFolder:
    return RunFolder(Folder(model.uri.rsplit("/", 2)[0]))


def _training_data(model: Model) -> Memory:
    """What the run was trained on, as it was prepared for it, or prepared now.

    Raises:
        DataError: it is no longer there, or has changed.
    """
    data = settle(model.spec.data, _run_of(model).prepared(), here, lambda done, total: None)
    if data.facts.checksum != model.facts.checksum:
        raise DataError(f"data.source: {model.spec.data.source!r} is not what {model.name} was trained on; name B")
    return in_memory(data, 0, 1)


def _of_folder(where: str, cache: Folder) -> Samples:
    ours = images_of(where)
    shuffled = np.random.RandomState(SEED).permutation(ours.facts.count)
    return Samples(where, ours.facts, lambda part: ours.rows(shuffled[part.start : part.stop])[0], cache, len(shuffled))


def images_of(where: str) -> Memory:
    """The images of a folder, or of prepared data, as they are: nothing is resized.

    Raises:
        DataError: there are none, one cannot be read, or they are not all squares of one size.
    """
    if not Path(where).is_dir():
        raise DataError(f"{where!r} is no folder of images")
    if (found := prepared(Folder.at(where))) is not None:
        return in_memory(found, 0, 1)
    rows = list(_rows(Path(where)))
    pixels = np.stack([row.sample for row in rows if row.sample is not None])
    count, channels, size, _ = pixels.shape
    checksum = hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest()
    facts = ImageFacts(count=count, size=size, channels=channels, checksum=checksum)
    return Memory([pixels], np.zeros(count, np.int64), facts, 0, 1)


def _rows(root: Path) -> Iterator[Row]:
    listing = list_folder(ImageData(source=str(root), size=64), Folder.at(root))
    if listing is None:
        raise DataError(f"no images in {str(root)!r}")
    names = listing.names
    (width, height), first = _size(root / names[0]), names[0]
    for name in names:
        if _size(root / name) != (width, width):
            raise DataError(
                f"{str(root)!r} holds images of several sizes, or no squares: {first} is {width}x{height}, {name} is "
                f"{'x'.join(map(str, _size(root / name)))}; resize them first, for how it is done moves every metric"
            )
    for part in source_of(ImageData(source=str(root), size=width), listing).parts:
        for row in read(part):
            if row.sample is None:
                raise DataError(f"{str(root)!r}: {row.name} cannot be read: {row.reason}")
            yield row


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {error}") from error


def _check_same_shape(a: str, ours: DataFacts, b: str, theirs: DataFacts) -> None:
    if ours.shape != theirs.shape:
        raise DataError(f"{a} and {b} cannot be compared: {ours.described} and {theirs.described}")


def _asked(question: Question, a: Samples) -> list[MetricSpec]:
    """The metrics that are meant: those named, or the job's own, or all of ours."""
    named = [_metric(name, a) for name in question.metrics]
    chosen = named or list(a.metrics) or [MetricSpec(use=use) for use in ALIASES["metric"]]
    changes: dict[str, object] = {}
    if question.features is not None:
        changes["features"] = FeaturesSpec(use=question.features)
    if a.most is not None and (question.n or 0) > a.most:
        raise ValueError(f"--n {question.n}: {a.where!r} holds {a.most} images")
    if (count := question.n or a.most) is not None:
        changes["samples"] = Amount(count)
    found = [one.model_copy(update=changes) for one in chosen]
    return [one for place, one in enumerate(found) if one not in found[:place]]


def _metric(name: str, a: Samples) -> MetricSpec:
    """A metric by its own name, by the name of one of its numbers, or by an exact name of the run's job."""
    if ":" in name:
        return MetricSpec(use=name)
    spellings: dict[str, MetricSpec] = {}
    for known in (*a.metrics, *(MetricSpec(use=use) for use in ALIASES["metric"])):
        found = names_of(known, a.roots)
        spellings = dict.fromkeys((known.use, *found.values(), *found), known) | spellings
    if name not in spellings:
        raise ValueError(f"unknown metric {name!r}{suggestion(name, sorted(spellings))}, or your own as 'module:Name'")
    return spellings[name]
