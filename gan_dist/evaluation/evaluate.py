"""How good samples are: of a run, a checkpoint or a folder, against the run's data or a folder of images."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from gan_dist.data.facts import DataFacts, TextFacts
from gan_dist.data.ingest import Ingest, Memory
from gan_dist.distributed.runtime import LocalRuntime, WorkerRuntime, pick_device
from gan_dist.errors import DataError, JobError, UsageError
from gan_dist.evaluation.inputs import (
    ChosenRows,
    EvaluationSamples,
    codec_for,
    file_as_data,
    file_samples,
    is_text_file,
    read_image_folder,
    read_sentence_file,
    samples_beside,
    samples_of_folder,
    samples_of_model,
)
from gan_dist.evaluation.metric_inputs import all_ranks, draw_real, extractor_key
from gan_dist.evaluation.metric_runner import MetricRunner
from gan_dist.evaluation.overlap import (
    LISTED,
    METRIC,
    CopiedText,
    HeldOutOverlap,
    NearestNeighbors,
    find_copied_texts,
    find_held_out_overlap,
    find_nearest_neighbors,
)
from gan_dist.evaluation.temperature_sweep import KNOWN, MODEL, TWIN, CurveAxes, Curves, curves_of
from gan_dist.evaluation.text_profile import TextProfile, profile_texts
from gan_dist.generation.exported_model import is_exported
from gan_dist.generation.modality import modality_of
from gan_dist.generation.model import load, names_in_training, prepared_beside, trained_on, training_data
from gan_dist.metrics.features.classifiers import SEED
from gan_dist.networks.text.autoregressive import SamplingOptions
from gan_dist.registry.lookup import ALIASES, Roots, add_import_roots, check_arguments, resolve_target, signature
from gan_dist.registry.metric_names import FULL, is_text_metric, metric_value_names, partial_judge
from gan_dist.registry.signatures import read_constant
from gan_dist.runs.run_folder import METRICS
from gan_dist.runs.storage import Folder
from gan_dist.spec.amounts import Amount
from gan_dist.spec.fields import HELD, Held
from gan_dist.spec.job import FeaturesSpec, MetricSpec
from gan_dist.spec.job_file import parse_value
from gan_dist.spec.problems import nearest_name
from gan_dist.spec.sections import EnvironmentSpec

Progress = Callable[[str], None]
Component = TypeVar("Component", FeaturesSpec, MetricSpec)


def evaluate(question: EvaluationRequest, progress: Progress = lambda text: None) -> EvaluationResult:
    """Measure in this process; nothing is trained. Raises what `evaluate_on_workers` raises."""
    with tempfile.TemporaryDirectory() as scratch:
        run = LocalRuntime(pick_device("auto"), lambda event: None, lambda: False)
        return evaluate_on_workers(question, run, Folder(scratch), progress)


def evaluate_on_workers(
    question: EvaluationRequest, run: WorkerRuntime, scratch: Folder, progress: Progress = lambda text: None
) -> EvaluationResult:
    """Measure with all workers of a run, every one of which calls this; nothing is trained.

    Args:
        progress: told, in words, which point of a grid of temperatures is measured next.
        scratch: for what is found of folders of images and files of sentences; seen by all workers.

    Raises:
        ValueError: a folder holds no images, or of several sizes; A and B differ in size or channels; there are too few
            samples; there is no such metric; a metric or an option does not apply to A.
        NoSuchRun, CheckpointError: for a run.
    """
    a, b = _sides_once(question, scratch, run)
    others = _others(question, a, run.device)
    against = _against(question)
    where = question.b or f"the data of {a.where}"
    _check_same_shape(a.where, a.facts, where, b.facts)
    add_import_roots(a.roots)
    measuring = MetricRunner(
        metrics=select_metrics(question, a, b.facts),
        facts=b.facts,
        cache=a.cache,
        run=run,
        roots=a.roots,
        against=against,
        held=question.split,
    )
    if problems := measuring.problems():
        raise UsageError("\n".join(problems))
    pairs = curves_of(measuring.names) if question.grid else ()
    curves = _measured(measuring, {MODEL: a, **others}, b, question.grid, progress)
    real = _of_real(measuring, a, b, question) if a.of_text else _of_halves(measuring, a, b)
    shown = curves if question.grid else {}
    first = {which: points[1.0] for which, points in curves.items()}
    twin = first.get(TWIN, {})
    near = _neighbours(question, a, b, run) if question.neighbours else None
    copies = _copies(question, a, b) if question.copies else ()
    profile = profile_texts(a, b, a.most or question.n or LISTED) if question.profile else None
    kept = None if is_text_file(question.b or "") else find_held_out_overlap(measuring, b, question.split)
    told = _remarks(measuring, {MODEL: a, **others}, real, b)
    warnings = (*a.warnings, *measuring.warnings(), *told, *(kept.warnings if kept else ()))
    return EvaluationResult(
        values=first[MODEL],
        a=a.where,
        b=where,
        reals=b.facts.count,
        seen=a.seen,
        real=real,
        twin=twin,
        curves=shown,
        pairs=pairs,
        neighbours=near,
        copies=copies,
        profile=profile,
        warnings=warnings,
        held=kept,
        widths={sigma: _of_width(measuring, question, sigma, run, b) for sigma in question.widths},
    )


def _of_width(
    measuring: MetricRunner, question: EvaluationRequest, sigma: float, run: WorkerRuntime, b: Ingest
) -> dict[str, float]:
    """Every number of the average of a width of A's generator."""
    model = load(question.a, weights=f"ema:{sigma:g}", trust_code=question.trust_code)
    one = samples_of_model(model, run.device)
    return measuring.measure(one.draw, b, one.generator, one.labels, one.wanted)


def to_portable_request(question: EvaluationRequest) -> tuple[EvaluationRequest, EnvironmentSpec | None]:
    """The same question with names that any machine understands, and what code its first run wants, if it has one.

    Raises:
        ValueError: there is no such run, or no such metric.
    """
    named = {key: where for key in ("a", "b") if (where := getattr(question, key)) is not None}
    lists = {key: [_portable(one, question) for one in getattr(question, key)] for key in ("twins", "seeds")}
    files = {key: where for key, where in named.items() if is_text_file(where) or _holds_images(where)}
    runs = {key: load(where, trust_code=question.trust_code) for key, where in named.items() if key not in files}
    places: dict[str, Any] = {key: Folder.at(where).uri for key, where in files.items()}
    places |= {key: Folder.at(run.uri).uri for key, run in runs.items()}
    if (model := runs.get("a")) is not None:
        known = _KnownMetrics(
            model.spec.metrics, isinstance(model.facts, TextFacts), (model.spec.environment.code or ".",), model.name
        )
        for name in question.metrics:
            known.named(name, question.split)
    # What was looked at here needs no further word where it is computed.
    places |= lists
    return replace(question, **places, trust_code=True), next((run.spec.environment for run in runs.values()), None)


def _portable(run: str, question: EvaluationRequest) -> str:
    return Folder.at(load(run, trust_code=question.trust_code).uri).uri


def _others(question: EvaluationRequest, a: EvaluationSamples, device: torch.device) -> dict[str, EvaluationSamples]:
    """Further runs beside A by the names of their curves: `twin`, `twin 2`, and `model 2` for A's other seeds."""
    found = {}
    for side, option, runs, first in ((TWIN, "--twin", question.twins, 1), (MODEL, "--seed-run", question.seeds, 2)):
        for number, run in enumerate(runs, first):
            which = side if number == 1 else f"{side} {number}"
            found[which] = samples_beside(run, a, device, option=option, trust_code=question.trust_code)
    return found


def _remarks(
    measuring: MetricRunner, sides: Mapping[str, EvaluationSamples], real: Mapping[str, float], b: Ingest
) -> list[str]:
    """What is to be known of the numbers by which runs and data they are of."""
    a = sides[MODEL]
    lacking = _without_real(measuring, real, b) if a.of_text else []
    return [*_repeated_seeds(sides), *_partial(measuring, a), *lacking]


def _repeated_seeds(sides: Mapping[str, EvaluationSamples]) -> list[str]:
    """Which seeds a side has several times: a second run tells nothing of the spread over seeds, and narrows its
    interval."""
    counts = Counter((which.partition(" ")[0], one.seed) for which, one in sides.items())
    return [
        f"{count} runs of the {side} have seed {seed} and count as {count} seeds; leave all but one out"
        for (side, seed), count in counts.items()
        if count > 1
    ]


def _sides_once(question: EvaluationRequest, scratch: Folder, run: WorkerRuntime) -> tuple[EvaluationSamples, Ingest]:
    """The same on each worker, errors too. The first decodes what is not prepared, before the others look."""
    if run.rank > 0:
        all_ranks(run, True)
        return _sides(question, scratch, run.device)
    try:
        return _sides(question, scratch, run.device)
    finally:
        all_ranks(run, True)


def _neighbours(question: EvaluationRequest, a: EvaluationSamples, b: Ingest, run: WorkerRuntime) -> NearestNeighbors:
    asked = with_overrides(question, a, [MetricSpec(use=METRIC)])
    return find_nearest_neighbors(
        MetricRunner(metrics=asked, facts=b.facts, cache=a.cache, run=run, roots=a.roots), a, b
    )


def _copies(question: EvaluationRequest, a: EvaluationSamples, b: Ingest) -> tuple[CopiedText, ...]:
    """Passages of A that stand in B; of a run's own data with the names of the sentences there."""
    found = find_copied_texts(a, b, a.most or question.n or LISTED)
    run = question.a if question.b is None else question.b
    if is_text_file(run):
        return tuple(found)
    names = names_in_training(load(run, trust_code=question.trust_code), [one.stands for one in found])
    return tuple(one._replace(name=name) for one, name in zip(found, names, strict=True))


def _sides(question: EvaluationRequest, scratch: Folder, device: torch.device) -> tuple[EvaluationSamples, Ingest]:
    """A and B, if what is asked of them can be answered."""
    if (question.widths or question.weights != "ema") and (is_text_file(question.a) or _holds_images(question.a)):
        option = "--ema-grid" if question.widths else "--weights"
        raise UsageError(f"{option} is for runs, and {question.a!r} holds samples; leave it out")
    if is_text_file(question.a):
        return _file_against(question, scratch)
    if _holds_images(question.a):
        if question.b is None:
            raise UsageError(f"{question.a!r} is a folder of images; name a second one to compare it with")
        _check_options(question, question.a, of_text=False)
        return samples_of_folder(question.a, scratch), read_image_folder(question.b)
    model = load(question.a, weights=question.weights, trust_code=question.trust_code)
    a = samples_of_model(model, device)
    for sigma in question.widths:  # all before anything is measured
        load(question.a, weights=f"ema:{sigma:g}", trust_code=question.trust_code)
    _check_options(question, a.where, a.of_text)
    if question.grid:
        _check_temperature(a, "--temperature-grid")
    if question.b is None:
        return a, training_data(model)
    if not isinstance(a.facts, TextFacts):
        return a, read_image_folder(question.b)
    _check_unprompted(a.facts, a.where, question.b)
    found = read_sentence_file(question.b, a.facts.codec)
    return replace(a, warnings=found.warnings), file_as_data(found)


def _file_against(question: EvaluationRequest, scratch: Folder) -> tuple[EvaluationSamples, Ingest]:
    """Sentences of a file, and the data of a run or those of another file."""
    if question.b is None:
        raise UsageError(f"{question.a!r} is a file of sentences; name a run or a second file to compare it with")
    if question.grid or question.twins or question.seeds:
        raise UsageError(f"--temperature-grid and --twin are for runs, and {question.a!r} is a file; leave them out")
    _check_options(question, question.a, of_text=True)
    if is_text_file(question.b):
        first = read_sentence_file(question.a, codec_for([question.a, question.b], question.tokens, question.lower))
        second = read_sentence_file(question.b, first.codec)
        b = file_as_data(second)
        assert isinstance(b.facts, TextFacts)
        return file_samples(replace(first, codec=second.codec), b.facts, scratch), b
    model = load(question.b, trust_code=question.trust_code)
    learnt = trained_on(model)
    if not isinstance(learnt.facts, TextFacts):
        raise UsageError(f"{question.a!r} is a file of sentences, and {question.b} is of images")
    found = read_sentence_file(question.a, learnt.facts.codec)
    facts = replace(learnt.facts, codec=found.codec)
    a = file_samples(found, facts, prepared_beside(model).child(METRICS))
    return replace(a, warnings=found.warnings), modality_of(facts).real_rows(
        Memory(blocks=learnt.blocks, labels=learnt.labels, facts=facts, seed=0, batch=1, vectors=learnt.vectors)
    )


def _check_unprompted(facts: TextFacts, where: str, file: str) -> None:
    if facts.codec.prompt is not None:
        raise UsageError(
            f"{where} answers prompts, and {file!r} says of no sentence which one it follows; give the job held-out "
            f"prompts with what follows them (data.test) and evaluate the run alone: gan-dist evaluate {where}; or "
            f"measure the file as if it were samples: gan-dist evaluate {file} {where}"
        )


def _check_options(question: EvaluationRequest, where: str, of_text: bool) -> None:
    """Raises ValueError where an option is of the other kind of data."""
    wrong: list[tuple[str, object, str]]
    if of_text:
        b = None if is_text_file(question.a) or is_text_file(question.b or "") else question.b
        wrong = [("B", b, "name no B, or a file of sentences")]
        encoder = "leave it out; --metric frechet, kid and prdc compare sentences by a pretrained encoder"
        wrong.append(("--features", question.features, encoder))
        wrong.append(("--neighbours", question.neighbours, "leave it out; `copies` counts known sentences"))
        kinds = ("images", "writes sentences, which are compared with the run's own data")
    else:
        wrong = [("--copies", question.copies, "leave it out; --neighbours shows what is nearest")]
        wrong.append(("--profile", question.profile, "leave it out"))
        wrong += [("--temperature-grid", question.grid, "leave it out"), ("--twin", question.twins, "leave it out")]
        wrong.append(("--seed-run", question.seeds, "leave it out"))
        kinds = ("text", "is of images, which no temperature is drawn at")
    for option, value, remedy in wrong:
        if value:
            raise UsageError(f"{option} is for {kinds[0]}, but {where} {kinds[1]}; {remedy}")


def _check_temperature(one: EvaluationSamples, option: str) -> None:
    if not hasattr(one.generator, "drawing"):
        raise UsageError(
            f"{option}: the generator of {one.where} has no temperature, for it does not write token by token; "
            "leave the option out, or evaluate a run of lstm, rmc or transformer"
        )


def _measured(
    measuring: MetricRunner,
    sides: Mapping[str, EvaluationSamples],
    b: Ingest,
    grid: Sequence[float],
    progress: Progress,
) -> dict[str, dict[float, dict[str, float]]]:
    """Every number of each side at each inverse temperature, 1 among them."""
    found: dict[str, dict[float, dict[str, float]]] = {which: {} for which in sides}
    points = [(which, inverse) for which in sides for inverse in sorted({1.0, *grid})]
    for number, (which, inverse) in enumerate(points, 1):
        if grid:
            progress(f"point {number} of {len(points)}: {which} at 1/temperature {inverse:g}")
        found[which][inverse] = _at(measuring, sides[which], b, inverse)
    return found


def _at(measuring: MetricRunner, one: EvaluationSamples, b: Ingest, inverse: float) -> dict[str, float]:
    """Every number of samples that are drawn at an inverse temperature."""
    if inverse != 1:
        _check_temperature(one, "--temperature-grid")
        generator: Any = one.generator
        generator.drawing = SamplingOptions(1 / inverse)
    try:
        return measuring.measure(one.draw, b, one.generator, one.labels, one.wanted)
    finally:
        if inverse != 1:
            generator.drawing = SamplingOptions()


def _of_real(measuring: MetricRunner, a: EvaluationSamples, b: Ingest, question: EvaluationRequest) -> dict[str, float]:
    """The numbers of real sentences in place of generated ones, where no generator is asked and there are enough; of
    those that were held out from features that were trained on the data."""
    found, known = measuring.of_held_out(b), [one for one in measuring.built if one.metric.needs != "generator"]
    built = [one for one in known if not one.held_out and one.samples <= b.facts.count]
    if is_text_file(question.b or ""):  # held-out sentences are the same as the real ones
        built = [one for one in built if not getattr(one.metric, "by_split", ())]
    if not built:
        return found
    # From the end of the order by which the others are chosen that they are compared with: while there are twice as
    # many, these are not the same ones.
    shuffled = np.random.RandomState(SEED).permutation(b.facts.count)[::-1]
    specs, against = [one.spec for one in built], _against(question)
    of_real = MetricRunner(
        metrics=specs,
        facts=b.facts,
        cache=a.cache,
        run=measuring.run,
        roots=a.roots,
        against=against,
        held=question.split,
    )
    return found | of_real.measure(lambda part: b.rows(shuffled[part.start : part.stop].copy())[0], b)


def _without_real(measuring: MetricRunner, real: Mapping[str, float], b: Ingest) -> list[str]:
    """Why some numbers have none of real sentences beside them."""
    large = [one for one in measuring.built if one.metric.needs != "generator" and one.samples > b.facts.count]
    lacking = [name for one in large for name in one.names.values() if name not in real]
    if not lacking:
        return []
    most = max(one.samples for one in large)
    return [
        f"{', '.join(lacking)}: no real sentences beside, as {most:,} are measured and the data have "
        f"{b.facts.count:,}; --n {b.facts.count} measures as many"
    ]


def _partial(measuring: MetricRunner, a: EvaluationSamples) -> list[str]:
    """Which numbers are by features that the run trained by."""
    return [
        f"{', '.join(one.names.values())}: by {judge}, which this run trained by; no judge of it"
        for one in measuring.built
        if (judge := partial_judge(one.spec, a.partial, a.roots)) is not None
    ]


def _of_halves(measuring: MetricRunner, a: EvaluationSamples, b: Ingest) -> dict[str, float]:
    """The numbers of one half of the real images against the other, of at most as many samples: what a generator that
    had learnt the data would have. Without metrics of classes and of pairs, and features that are trained on the
    data."""
    half = b.facts.count // 2
    asked = [
        one
        for one in measuring.built
        if one.metric.needs not in ("classes", "labelled", "pairs", "generator", "latents")
        and half >= one.least
        and not hasattr(measuring.extractors[extractor_key(one.spec)], "fit")
    ]
    specs = [one.spec.model_copy(update={"samples": Amount(min(one.samples, half))}) for one in asked]
    unique = [one for place, one in enumerate(specs) if one not in specs[:place]]
    shuffled = np.random.RandomState(SEED).permutation(b.facts.count)
    facts = replace(b.facts, count=half, checksum=f"{b.facts.checksum}-half", classes=(), class_counts=(), vectors=())
    of_half = MetricRunner(metrics=unique, facts=facts, cache=a.cache, run=measuring.run, roots=a.roots)
    found = of_half.measure(draw_real(b, shuffled[half:]), ChosenRows(b, shuffled[:half], facts)) if unique else {}
    names = [of_half.built[unique.index(spec)].names for spec in specs]
    return {
        name: found[known[value]] for one, known in zip(asked, names, strict=True) for value, name in one.names.items()
    }


def _against(question: EvaluationRequest) -> str:
    """What the samples are compared with, for the names of numbers; nothing where that is a run's data."""
    if question.b is None or (is_text_file(question.a) and not is_text_file(question.b)):
        return ""
    return Path(question.b).resolve().name


def _holds_images(where: str) -> bool:
    """Whether it is a folder that is neither a run, nor a checkpoint, nor an exported generator."""
    of_runs = ("request.json", "meta.json")
    return Path(where).is_dir() and not is_exported(where) and not any((Path(where) / one).exists() for one in of_runs)


def _check_same_shape(a: str, ours: DataFacts, b: str, theirs: DataFacts) -> None:
    if ours.shape != theirs.shape:
        raise DataError(f"{a} and {b} cannot be compared: {ours.described} and {theirs.described}")


@dataclass(frozen=True)
class EvaluationRequest:
    """What is compared by which metrics.

    Attributes:
        a, b: run, checkpoint, exported generator, folder of images or file of sentences; b is a folder or file in place
            of the run's data, or of a file the run whose data it is compared with.
        metrics: their names; none for those of the job, or else all of ours that the data allow.
        n, features: samples of A, and what images are compared by, in place of what the metrics say.
        grid: inverse temperatures at which a run of text is measured beside 1.
        twins: other runs of the same text, measured beside A: its twins by likelihood.
        seeds: runs of A's job with other seeds, whose spread says how sure the comparison with the twins is.
        neighbours: whether samples are shown beside the real ones that are nearest.
        copies: whether passages of generated sentences that stand in the training text are listed.
        profile: whether lengths and new tokens of sentences are given as curves, beside real ones.
        split: which sentences that nothing was learnt from text is compared with.
        tokens, lower: of two files of sentences, what a token is, and whether text becomes lower case.
        trust_code: whether code that a model of somebody else's names may be imported and run.
        weights: of A's generator, as in `gan_dist.load`.
        widths: averages of A's generator that are measured beside, by sigma.
    """

    a: str
    b: str | None = None
    metrics: Sequence[str] = ()
    n: int | None = None
    features: str | None = None
    grid: Sequence[float] = ()
    twins: Sequence[str] = ()
    seeds: Sequence[str] = ()
    neighbours: bool = False
    copies: bool = False
    profile: bool = False
    split: Held = "test"
    tokens: str = "treebank"
    lower: bool = False
    trust_code: bool = False
    weights: str = "ema"
    widths: Sequence[float] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> EvaluationRequest:
        return cls(**json.loads(text))


@dataclass(kw_only=True, frozen=True)
class EvaluationResult:
    """Every number by its exact name, what was compared, samples in B, and samples that A's generator had seen.

    Attributes:
        real: the same numbers of what is real, where they make sense of it and it is enough: of text those of real
            sentences, of images those of one half of the data against the other.
        twin: those of the first twin.
        curves: all of them at each temperature, by `model`, `twin`, and `model 2` and so on; empty without a grid.
        pairs: names that make a curve of quality against diversity.
        neighbours: the nearest neighbours of A's samples in B, where they were asked for.
        widths: all of them of each average that was asked for, by sigma.
        copies: passages of A's sentences that stand in B, where they were asked for.
        profile: lengths and new tokens of A's sentences beside B's, where they were asked for.
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
    pairs: tuple[CurveAxes, ...]
    neighbours: NearestNeighbors | None
    copies: tuple[CopiedText, ...]
    profile: TextProfile | None
    warnings: tuple[str, ...]
    held: HeldOutOverlap | None
    widths: dict[float, dict[str, float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them; without the picture of neighbours."""
        curves = {which: list(points.items()) for which, points in self.curves.items()}
        widths = list(self.widths.items())
        plain = {"curves": curves, "widths": widths, "neighbours": None, "held": self.held and asdict(self.held)}
        return {**vars(self), **plain}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> EvaluationResult:
        curves = {which: {inverse: values for inverse, values in points} for which, points in plain["curves"].items()}
        pairs = tuple(CurveAxes(*pair) for pair in plain["pairs"])
        held = plain["held"] and HeldOutOverlap(**plain["held"])
        copies = tuple(CopiedText(*one) for one in plain["copies"])
        lists = {"curves": curves, "pairs": pairs, "warnings": tuple(plain["warnings"]), "copies": copies}
        profile = plain["profile"] and TextProfile(*plain["profile"])
        return cls(**plain | lists | {"held": held, "profile": profile, "widths": dict(plain["widths"])})


def select_metrics(question: EvaluationRequest, a: EvaluationSamples, facts: DataFacts) -> list[MetricSpec]:
    """The metrics that are meant: those named, or the job's own, or all of ours that go with B's data."""
    known = _KnownMetrics(a.metrics, a.of_text, a.roots, a.where)
    named = [known.named(name, question.split) for name in question.metrics]
    if question.grid and question.twins and not named:
        named = _of_axes(question, a, facts)
    found = with_overrides(question, a, named or a.metrics or _ours(a.of_text))
    if not named and not a.metrics:
        found = [one for one in found if _fits(one, a, facts, question.split)]
    _check_split(found, a, facts, question.split)
    return [one for place, one in enumerate(found) if one not in found[:place]]


def _of_axes(question: EvaluationRequest, a: EvaluationSamples, facts: DataFacts) -> list[MetricSpec]:
    """The metrics of every axis that model and twin can be compared by: those the data and what is installed allow."""
    shipped = {value: spec for spec in _ours(a.of_text) for value in metric_value_names(spec, a.roots).values()}
    shipped["fd"] = _by_encoder()[0]
    found: list[MetricSpec] = []
    for axis in KNOWN:
        if all(value in shipped and _builds(shipped[value], a, facts, question.split) for value in axis):
            found += [shipped[value] for value in axis]
    return with_overrides(question, a, found)


def _builds(spec: MetricSpec, a: EvaluationSamples, facts: DataFacts, held: Held) -> bool:
    run = LocalRuntime(torch.device("cpu"), lambda event: None, lambda: False)
    try:
        MetricRunner(metrics=[spec], facts=facts, cache=a.cache, run=run, held=held)
    except ValueError:
        return False
    return True


def _check_split(asked: Sequence[MetricSpec], a: EvaluationSamples, facts: DataFacts, held: Held) -> None:
    """Raises ValueError where a metric compares with held-out text of a kind that the data have not."""
    if not isinstance(facts, TextFacts):
        if held != HELD[0]:
            raise UsageError(f"--split {held}: of {a.where} nothing is held out, as its data are {facts.described}")
        return
    if getattr(facts, held) is not None:
        return
    wants = [one.use for one in asked if read_constant(resolve_target("metric", one.use), "by_split", a.roots)]
    other = next((key for key in HELD if getattr(facts, key) is not None), None)
    if wants and other is not None:
        raise UsageError(
            f"--split {held}: {a.where} has no {held} sentences for {wants[0]}, as its job names no data.{held}; "
            f"--split {other} takes those of data.{other}"
        )


def with_overrides(
    question: EvaluationRequest, a: EvaluationSamples, metrics: Sequence[MetricSpec]
) -> list[MetricSpec]:
    """Metrics with the samples and features that the question names."""
    changes: dict[str, object] = {}
    if question.features is not None:
        changes["features"] = parse_features(question.features, a.roots)
    if a.most is not None and (question.n or 0) > a.most:
        raise UsageError(f"--n {question.n}: {a.where!r} holds {a.most} samples")
    if (count := question.n or a.most) is not None:
        changes["samples"] = Amount(count)
    return [one.model_copy(update=changes) for one in metrics]


def parse_features(written: str, roots: Roots = ()) -> FeaturesSpec:
    """Features as a command names them: NAME, NAME:FILE of weights, or a mapping `{use: NAME, weights: FILE}`.

    Raises:
        UsageError: it is none of these, or they have no such argument.
    """
    name, _, file = written.partition(":")
    if written.lstrip().startswith("{"):
        told = f"--features {written!r} is no mapping with `use`"
        return _read_mapping(FeaturesSpec, written, "extractor", roots, option="--features", told=told)
    if file and name in ALIASES["extractor"]:
        takes = {param.name for param in signature(ALIASES["extractor"][name]).params}
        key = next((key for key in ("weights", "folder") if key in takes), None)
        if key is None:
            raise UsageError(f"--features {written!r}: {name} takes no file")
        return FeaturesSpec.model_validate({"use": name, key: file})
    return FeaturesSpec(use=written)


def _published() -> dict[str, MetricSpec]:
    """The metrics that papers quote by a name of their own, as their protocols have them: `fid_legacy`, `fid_clean` and
    the like; `fid` alone is the older one."""
    found: dict[str, MetricSpec] = {}
    for use in ALIASES["metric"]:
        short: dict[str, str] = read_constant(ALIASES["metric"][use], "published") or {}
        for resize in ("legacy", "clean") if short else ():
            features = {"use": "inception", "resize": resize}
            spec = MetricSpec.model_validate({"use": use, "features": features, "samples": FULL})
            found |= dict.fromkeys(metric_value_names(spec), spec)
            for name in short.values():
                found.setdefault(name, spec)
    return found


def _ours(of_text: bool) -> list[MetricSpec]:
    """The shipped metrics of a kind of data."""
    shipped = [MetricSpec(use=use) for use in ALIASES["metric"]]
    return [one for one in shipped if is_text_metric(one) == of_text]


def _by_encoder() -> list[MetricSpec]:
    """The metrics of features that text has too, by those of a pretrained encoder of sentences."""
    encoder = FeaturesSpec(use="sentence_encoder")
    return [MetricSpec(use=use, features=encoder) for use in ("frechet", "kid", "prdc")]


def _read_mapping(
    section: type[Component], written: str, kind: Any, roots: Roots, *, option: str, told: str
) -> Component:
    """A component as a job has it, `{use: frechet, features: sentence_encoder}`.

    Args:
        told: what is said of a text that is none.

    Raises:
        UsageError: it is none, or has no such argument.
    """
    try:
        found = section.model_validate(parse_value(written))
    except (ValueError, JobError) as error:
        raise UsageError(f"{told}: {error}") from error
    if wrong := check_arguments(kind, found.use, found.args, roots):
        raise UsageError("\n".join(f"{option}: {key}: {text}" for key, text in wrong))
    return found


def _fits(spec: MetricSpec, a: EvaluationSamples, facts: DataFacts, held: Held) -> bool:
    """Whether A and B's data have what a metric asks for, samples enough of a rare class among that; and whether it is
    so cheap that nobody has to ask for it by name."""
    try:
        run = LocalRuntime(torch.device("cpu"), lambda event: None, lambda: False)
        found = MetricRunner(metrics=[spec], facts=facts, cache=a.cache, run=run, held=held)
    except ValueError:
        return False
    needs = found.built[0].metric.needs
    if getattr(found.built[0].metric, "costly", False):
        return False
    if needs == "pairs":
        return a.wanted is not None
    if needs in ("classes", "labelled"):
        return a.labels is not None and not found.problems()
    return needs != "generator" or hasattr(a.generator, "log_prob")


@dataclass(frozen=True)
class _KnownMetrics:
    """The metrics that samples can be asked for: those of their job, and ours of their kind."""

    of_job: Sequence[MetricSpec]
    of_text: bool
    roots: Roots
    where: str

    def named(self, name: str, held: Held) -> MetricSpec:
        """A metric by its own name, by the name of one of its numbers, or by an exact name of the run's job.

        Raises:
            UsageError: there is none.
        """
        if name.lstrip().startswith("{"):
            told = f"--metric {name!r} is no metric as in a job, {{use: NAME, ...}}"
            return _read_mapping(MetricSpec, name, "metric", self.roots, option="--metric", told=told)
        if ":" in name:
            return MetricSpec(use=name)
        spellings: dict[str, MetricSpec] = {} if self.of_text else _published()
        ours = [*_ours(self.of_text), *(_by_encoder() if self.of_text else ())]
        for known in (*self.of_job, *ours):
            found = metric_value_names(known, self.roots, held=held)
            spellings = dict.fromkeys((known.use, *found.values(), *found), known) | spellings
        if name not in spellings:
            near = nearest_name(name, list(spellings))
            guess, kind = f"; did you mean {near!r}?" if near else "", "text" if self.of_text else "images"
            allowed = ", ".join(dict.fromkeys(one.use for one in ours))
            raise UsageError(
                f"unknown metric {name!r}{guess} (allowed: {allowed}, one of their numbers, or your own as "
                f"'module:Name'); {self.where} is of {kind}"
            )
        return spellings[name]
