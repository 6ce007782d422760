"""How good samples are: of a run, a checkpoint or a folder, against the run's data or a folder of images."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan_dist.api import load
from gan_dist.components import ALIASES, add_roots
from gan_dist.data.errors import DataError
from gan_dist.data.facts import DataFacts
from gan_dist.exported import is_exported
from gan_dist.feed import Rows
from gan_dist.fitted import everywhere
from gan_dist.image_folder import images_of
from gan_dist.measuring import Measuring
from gan_dist.metrics.fitting import SEED
from gan_dist.metrics.names import is_of_text, names_of
from gan_dist.neighbours import METRIC, Neighbours, neighbours
from gan_dist.networks.autoregressive import Drawing
from gan_dist.question import Answer, Question
from gan_dist.runtime import LocalRun, Run
from gan_dist.spec.amounts import Amount
from gan_dist.spec.errors import suggestion
from gan_dist.spec.job import FeaturesSpec, MetricSpec
from gan_dist.spec.sections import EnvironmentSpec
from gan_dist.storage import Folder
from gan_dist.subjects import Samples, of_folder, of_model, training_data, twin_of
from gan_dist.temperatures import pairs_of
from gan_dist.worker import pick_device


def evaluate(question: Question) -> Answer:
    """Measure in this process; nothing is trained. Raises what `answer` raises."""
    with tempfile.TemporaryDirectory() as scratch:
        run = LocalRun(pick_device("auto"), lambda event: None, lambda: False)
        return answer(question, run, Folder(scratch))


def answer(question: Question, run: Run, scratch: Folder) -> Answer:
    """Measure with all workers of a run, every one of which calls this; nothing is trained.

    Args:
        scratch: for what is found of folders of images; seen by all workers.

    Raises:
        ValueError: a folder holds no images, or of several sizes; A and B differ in size or channels; there are too few
            samples; there is no such metric; what is asked makes no sense of A.
        NoSuchRun, CheckpointError: for a run.
    """
    a, b = _sides_once(question, scratch, run)
    others = {} if question.twin is None else {"twin": twin_of(question.twin, a, run.device)}
    against = "" if question.b is None else Path(question.b).resolve().name
    where = question.b or f"the data of {a.where}"
    _check_same_shape(a.where, a.facts, where, b.facts)
    add_roots(a.roots)
    measuring = Measuring(_asked(question, a, b.facts), b.facts, a.cache, run, a.roots, against)
    if problems := measuring.problems():
        raise ValueError("\n".join(problems))
    pairs = pairs_of(measuring.names) if question.grid else ()
    curves = {
        which: {inverse: _at(measuring, one, b, inverse) for inverse in sorted({1.0, *question.grid})}
        for which, one in {"model": a, **others}.items()
    }
    real = _of_real(measuring, a, b) if a.of_text else {}
    shown = curves if question.grid else {}
    first = {which: points[1.0] for which, points in curves.items()}
    twin = first.get("twin", {})
    near = _neighbours(question, a, b, run) if question.neighbours else None
    warnings = tuple(measuring.warnings())
    return Answer(first["model"], a.where, where, b.facts.count, a.seen, real, twin, shown, pairs, near, warnings)


def portable(question: Question) -> tuple[Question, EnvironmentSpec | None]:
    """The same question with names that any machine understands, and what code A's run wants, if A is one.

    Raises:
        ValueError: there is no such run.
    """
    known = None if _holds_images(question.a) else load(question.a)
    a = Folder.at(question.a if known is None else known.uri).uri
    b = question.b and Folder.at(question.b).uri
    twin = question.twin and load(question.twin).uri
    return replace(question, a=a, b=b, twin=twin), None if known is None else known.spec.environment


def _sides_once(question: Question, scratch: Folder, run: Run) -> tuple[Samples, Rows]:
    """The same on each worker, errors too. The first decodes what is not prepared, before the others look."""
    if run.rank > 0:
        everywhere(run, True)
        return _sides(question, scratch, run.device)
    try:
        return _sides(question, scratch, run.device)
    finally:
        everywhere(run, True)


def _neighbours(question: Question, a: Samples, b: Rows, run: Run) -> Neighbours:
    asked = _changed(question, a, [MetricSpec(use=METRIC)])
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


def _of_real(measuring: Measuring, a: Samples, b: Rows) -> dict[str, float]:
    """The numbers of real sentences in place of generated ones, where no generator is asked and there are enough; of
    those that were held out from features that were trained on the data."""
    found, known = measuring.of_held_out(b), [one for one in measuring.built if one.metric.needs != "generator"]
    built = [one for one in known if not one.held_out and one.samples <= b.facts.count]
    if not built:
        return found
    shuffled = np.random.RandomState(SEED).permutation(b.facts.count)
    of_real = Measuring([one.spec for one in built], b.facts, a.cache, measuring.run, a.roots)
    return found | of_real.measure(lambda part: b.rows(shuffled[part.start : part.stop])[0], b)


def _holds_images(where: str) -> bool:
    """Whether it is a folder that is neither a run, nor a checkpoint, nor an exported generator."""
    of_runs = ("request.json", "meta.json")
    return Path(where).is_dir() and not is_exported(where) and not any((Path(where) / one).exists() for one in of_runs)


def _check_same_shape(a: str, ours: DataFacts, b: str, theirs: DataFacts) -> None:
    if ours.shape != theirs.shape:
        raise DataError(f"{a} and {b} cannot be compared: {ours.described} and {theirs.described}")


def _asked(question: Question, a: Samples, facts: DataFacts) -> list[MetricSpec]:
    """The metrics that are meant: those named, or the job's own, or all of ours that go with B's data."""
    named = [_metric(name, a) for name in question.metrics]
    found = _changed(question, a, named or a.metrics or _ours(a))
    if not named and not a.metrics:
        found = [one for one in found if _fits(one, a, facts)]
    return [one for place, one in enumerate(found) if one not in found[:place]]


def _changed(question: Question, a: Samples, metrics: Sequence[MetricSpec]) -> list[MetricSpec]:
    """Metrics with the samples and features that the question names."""
    changes: dict[str, object] = {}
    if question.features is not None:
        changes["features"] = FeaturesSpec(use=question.features)
    if a.most is not None and (question.n or 0) > a.most:
        raise ValueError(f"--n {question.n}: {a.where!r} holds {a.most} images")
    if (count := question.n or a.most) is not None:
        changes["samples"] = Amount(count)
    return [one.model_copy(update=changes) for one in metrics]


def _ours(a: Samples) -> list[MetricSpec]:
    """The shipped metrics of A's kind of data."""
    shipped = [MetricSpec(use=use) for use in ALIASES["metric"]]
    return [one for one in shipped if is_of_text(one) == a.of_text]


def _fits(spec: MetricSpec, a: Samples, facts: DataFacts) -> bool:
    """Whether A and B's data have what a metric asks for, samples enough of a rare class among that; and whether it is
    so cheap that nobody has to ask for it by name."""
    try:
        found = Measuring([spec], facts, a.cache, LocalRun(torch.device("cpu"), lambda event: None, lambda: False))
    except ValueError:
        return False
    needs = found.built[0].metric.needs
    if getattr(found.built[0].metric, "costly", False):
        return False
    if needs == "pairs":
        return a.wanted is not None
    if needs == "classes":
        return a.labels is not None and not found.problems()
    return needs != "generator" or hasattr(a.generator, "log_prob")


def _metric(name: str, a: Samples) -> MetricSpec:
    """A metric by its own name, by the name of one of its numbers, or by an exact name of the run's job."""
    if ":" in name:
        return MetricSpec(use=name)
    spellings: dict[str, MetricSpec] = {}
    for known in (*a.metrics, *_ours(a)):
        found = names_of(known, a.roots)
        spellings = dict.fromkeys((known.use, *found.values(), *found), known) | spellings
    if name not in spellings:
        near, kind = suggestion(name, sorted(spellings)), "text" if a.of_text else "images"
        raise ValueError(f"unknown metric {name!r}{near}, or your own as 'module:Name'; {a.where} is of {kind}")
    return spellings[name]
