"""How good samples are: of a run, a checkpoint or a folder, against the run's data or a folder of images."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan_dist.api import load
from gan_dist.asked import Question, asked_of, changed
from gan_dist.components import add_roots
from gan_dist.data.errors import DataError
from gan_dist.data.facts import DataFacts
from gan_dist.exported import is_exported
from gan_dist.feed import Rows
from gan_dist.held_back import HeldBack, held_back
from gan_dist.image_folder import images_of
from gan_dist.measuring import Measuring
from gan_dist.metrics.fitting import SEED
from gan_dist.neighbours import METRIC, Neighbours, neighbours
from gan_dist.networks.autoregressive import Drawing
from gan_dist.runtime import LocalRun
from gan_dist.spec.data_fields import Held
from gan_dist.spec.job import MetricSpec
from gan_dist.storage import Folder
from gan_dist.subjects import Samples, of_folder, of_model, training_data, twin_of
from gan_dist.temperatures import Curves, Pair, pairs_of
from gan_dist.worker import pick_device


@dataclass(frozen=True)
class Answer:
    """Every number by its exact name, what was compared, samples in B, and samples that A's generator had seen.

    Attributes:
        real: of text, the same numbers of real sentences, where they make sense of these and are enough of them.
        twin: those of the twin.
        curves: all of them at each temperature, by `model` and `twin`; empty without a grid.
        pairs: names that make a curve of quality against diversity.
        neighbours: the nearest neighbours of A's samples in B, where they were asked for.
        warnings: what is to be known of the numbers.
        held: the sentences that nothing was learnt from and that were compared with; None where none were.
    """

    values: dict[str, float]
    a: str
    b: str
    reals: int
    seen: int | None
    real: dict[str, float]
    twin: dict[str, float]
    curves: Curves
    pairs: tuple[Pair, ...]
    neighbours: Neighbours | None
    warnings: tuple[str, ...]
    held: HeldBack | None


def evaluate(question: Question) -> Answer:
    """Measure in this process; nothing is trained.

    Raises:
        ValueError: a folder holds no images, or of several sizes; A and B differ in size or channels; there are too few
            samples; there is no such metric; what is asked makes no sense of A.
        NoSuchRun, CheckpointError: for a run.
    """
    device = pick_device("auto")
    with tempfile.TemporaryDirectory() as scratch:
        a, b = _sides(question, Folder(scratch), device)
        others = {} if question.twin is None else {"twin": twin_of(question.twin, a, device)}
        against = "" if question.b is None else Path(question.b).resolve().name
        where = question.b or f"the data of {a.where}"
        _check_same_shape(a.where, a.facts, where, b.facts)
        add_roots(a.roots)
        run = LocalRun(device, lambda event: None, lambda: False)
        measuring = Measuring(asked_of(question, a, b.facts), b.facts, a.cache, run, a.roots, against, question.split)
        if problems := measuring.problems():
            raise ValueError("\n".join(problems))
        pairs = pairs_of(measuring.names) if question.grid else ()
        curves = {
            which: {inverse: _at(measuring, one, b, inverse) for inverse in sorted({1.0, *question.grid})}
            for which, one in {"model": a, **others}.items()
        }
        real = _of_real(measuring, a, b, question.split) if a.of_text else {}
        shown = curves if question.grid else {}
        first = {which: points[1.0] for which, points in curves.items()}
        twin = first.get("twin", {})
        near = _neighbours(question, a, b, run) if question.neighbours else None
        kept = held_back(measuring, b, question.split)
        warnings = (*measuring.warnings(), *(kept.warnings if kept else ()))
        count = b.facts.count
        return Answer(first["model"], a.where, where, count, a.seen, real, twin, shown, pairs, near, warnings, kept)


def _neighbours(question: Question, a: Samples, b: Rows, run: LocalRun) -> Neighbours:
    asked = changed(question, a, [MetricSpec(use=METRIC)])
    return neighbours(Measuring(asked, b.facts, a.cache, run, a.roots), a, b)


def _sides(question: Question, scratch: Folder, device: torch.device) -> tuple[Samples, Rows]:
    """A and B, if what is asked of them can be answered."""
    if _holds_images(question.a):
        if question.b is None:
            raise ValueError(f"{question.a!r} is a folder of images; name a second one to compare it with")
        _check_options(question, question.a, of_text=False)
        return of_folder(question.a, scratch), images_of(question.b)
    model = load(question.a)
    a = of_model(model, device)
    _check_options(question, a.where, a.of_text)
    if question.grid:
        _check_temperature(a, "--temperature-grid")
    return a, training_data(model) if question.b is None else images_of(question.b)


def _check_options(question: Question, where: str, of_text: bool) -> None:
    """Raises ValueError where an option is of the other kind of data."""
    wrong: list[tuple[str, object, str]]
    if of_text:
        wrong = [("B", question.b, "name no B"), ("--features", question.features, "leave it out")]
        wrong.append(("--neighbours", question.neighbours, "leave it out; `copies` counts known sentences"))
        kinds = ("images", "writes sentences, which are compared with the run's own data")
    else:
        wrong = [("--temperature-grid", question.grid, "leave it out"), ("--twin", question.twin, "leave it out")]
        kinds = ("text", "is of images, which no temperature is drawn at")
    for option, value, remedy in wrong:
        if value:
            raise ValueError(f"{option} is for {kinds[0]}, but {where} {kinds[1]}; {remedy}")


def _check_temperature(one: Samples, option: str) -> None:
    if not hasattr(one.generator, "drawing"):
        raise ValueError(
            f"{option}: the generator of {one.where} has no temperature, for it does not write token by token; "
            "leave the option out, or evaluate a run of lstm, rmc or transformer"
        )


def _at(measuring: Measuring, one: Samples, b: Rows, inverse: float) -> dict[str, float]:
    """Every number of samples that are drawn at an inverse temperature."""
    if inverse != 1:
        _check_temperature(one, "--temperature-grid")
        generator: Any = one.generator
        generator.drawing = Drawing(1 / inverse)
    try:
        return measuring.measure(one.draw, b, one.generator, one.labels, one.wanted)
    finally:
        if inverse != 1:
            generator.drawing = Drawing()


def _of_real(measuring: Measuring, a: Samples, b: Rows, held: Held) -> dict[str, float]:
    """The numbers of real sentences in place of generated ones, where no generator is asked and there are enough; of
    those that were held out from features that were trained on the data."""
    found, known = measuring.of_held_out(b), [one for one in measuring.built if one.metric.needs != "generator"]
    built = [one for one in known if not one.held_out and one.samples <= b.facts.count]
    if not built:
        return found
    shuffled = np.random.RandomState(SEED).permutation(b.facts.count)
    of_real = Measuring([one.spec for one in built], b.facts, a.cache, measuring.run, a.roots, held=held)
    return found | of_real.measure(lambda part: b.rows(shuffled[part.start : part.stop])[0], b)


def _holds_images(where: str) -> bool:
    """Whether it is a folder that is neither a run, nor a checkpoint, nor an exported generator."""
    of_runs = ("request.json", "meta.json")
    return Path(where).is_dir() and not is_exported(where) and not any((Path(where) / one).exists() for one in of_runs)


def _check_same_shape(a: str, ours: DataFacts, b: str, theirs: DataFacts) -> None:
    if ours.shape != theirs.shape:
        raise DataError(f"{a} and {b} cannot be compared: {ours.described} and {theirs.described}")
