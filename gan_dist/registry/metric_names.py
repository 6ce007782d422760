"""What a metric's number is called, which says how it was measured; told from a job without importing anything heavy.

`fd_random_5k` is the Fréchet distance of 5000 generated samples to the whole training set by features `random`. Only
the features of 2015, 50,000 generated samples and the whole training set make a `fid`; `inception_score` is alike. How
images were resized for them follows: `fid_legacy`, `fid_clean`, `fd_inception-clean_10k`.
`bleu5_test_10k` is BLEU of 10,000 sentences against those of the test; what decides in training has `validation` there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from gan_dist.errors import UsageError
from gan_dist.registry.lookup import Roots, component_slots, resolve_target, signature
from gan_dist.registry.signatures import read_constant
from gan_dist.spec.check import Origins, problem_at
from gan_dist.spec.data import WITHOUT_CLASSES
from gan_dist.spec.fields import Held
from gan_dist.spec.job import JobSpec
from gan_dist.spec.problems import Keys, Problem, nearest_name
from gan_dist.spec.sections import FeaturesSpec, MetricSpec

_STRANGE = re.compile(r"[^A-Za-z0-9.-]+")
FULL = "50k"
DIGITS = 8
NEEDS = ("moments", "classes", "spread", "rows", "all", "logits", "generator", "pairs", "labelled", "latents")


def metric_value_names(
    metric: MetricSpec, roots: Roots = (), against: str = "", held: Held = "validation"
) -> dict[str, str]:
    """Exact name -> value, for every number a metric gives.

    Args:
        metric: the metric, its features and sample count.
        roots: folders with a user's own modules.
        against: what the samples are compared with, where that is not the training set.
        held: which held-out text is compared with; training's is for validation.

    Raises:
        ValueError: there is no such metric, or it does not say what it gives and gets.
    """
    target = resolve_target("metric", metric.use)
    values, needs = (read_constant(target, name, roots) for name in ("values", "needs"))
    if not isinstance(values, tuple | list) or not values or not all(isinstance(one, str) for one in values):
        raise UsageError(f"'{metric.use}' does not say what it gives; its class needs values = (\"name\", ...)")
    if needs not in NEEDS:
        known = ", ".join(f'"{one}"' for one in NEEDS)
        raise UsageError(f"'{metric.use}' does not say what it gets; its class needs needs = one of {known}")
    by_split = read_constant(target, "by_split", roots) or ()
    return {_name(value, metric, roots, against, held if value in by_split else ""): value for value in values}


def _name(value: str, metric: MetricSpec, roots: Roots, against: str, held: str) -> str:
    changed = list(_changed("metric", metric.use, metric.args, roots))
    features = metric_features(metric, roots)
    is_published = (features.use, str(metric.samples), against) == ("inception", FULL, "")
    if is_published and not changed and "checksum" not in features.args:
        published = read_constant(resolve_target("metric", metric.use), "published", roots) or {}
        if value in published:
            return "_".join([str(published[value]), *_said("extractor", features.use, features.args, roots)])
    by = [*_said("metric", metric.use, metric.args, roots), *([held] if held else [])]
    by += [] if _of_extractor(features, "in_name", roots) is False else [_label(features, roots)]
    by += _changed("extractor", features.use, features.args, roots)
    tail = [f"vs_{against}"] if against else []
    return "_".join([value, *by, str(metric.samples), *changed, *tail])


def metric_features(metric: MetricSpec, roots: Roots = ()) -> FeaturesSpec:
    """What samples are compared by: the metric's only features, with arguments where the job names these; or those
    that the job names."""
    own = read_constant(resolve_target("metric", metric.use), "features", roots)
    return FeaturesSpec(use=own) if isinstance(own, str) and metric.features.use != own else metric.features


def is_text_metric(metric: MetricSpec, roots: Roots = ()) -> bool:
    """Whether a metric is of sentences."""
    return bool(_of_extractor(metric_features(metric, roots), "of_text", roots))


def _of_extractor(features: FeaturesSpec, name: str, roots: Roots) -> Any:
    """A literal attribute of an extractor's class: `of_text`, and `in_name`, False where the metric says what it is
    by."""
    return read_constant(resolve_target("extractor", features.use), name, roots)


def _label(features: FeaturesSpec, roots: Roots) -> str:
    """The name, of a network from a folder that folder's; of weights that are not the published ones the beginning of
    their checksum; and what the extractor wants said."""
    if folder := features.args.get("folder"):
        return _STRANGE.sub("-", PurePath(str(folder)).name)
    name, checksum = features.use.rpartition(":")[2], features.args.get("checksum")
    own = [str(checksum)[:DIGITS]] if checksum else []
    return "-".join([name, *own, *_said("extractor", features.use, features.args, roots)])


def _said(kind: Any, use: str, args: Mapping[str, Any], roots: Roots) -> list[str]:
    """The values of the arguments that a metric or an extractor names in `in_label`, the default ones too."""
    target = resolve_target(kind, use)
    named = read_constant(target, "in_label", roots) or ()
    defaults = {one.name: one.default for one in signature(target, roots).params}
    return [str(args.get(name, defaults.get(name))) for name in named]


def _changed(kind: Any, use: str, args: Mapping[str, Any], roots: Roots) -> Iterator[str]:
    """Numbers among the arguments that are not the default, as `k3`: another protocol, another name."""
    defaults = {param.name: param.default for param in signature(resolve_target(kind, use), roots).params}
    for key, value in args.items():
        if isinstance(value, int | float) and value != defaults.get(key):
            yield f"{key}{value:g}" if not isinstance(value, bool) else f"{key}{value}"


def job_metric_names(job: JobSpec, roots: Roots = ()) -> dict[str, str]:
    """Exact name -> value, for all metrics of a job. Raises ValueError."""
    return {name: value for metric in job.metrics for name, value in metric_value_names(metric, roots).items()}


def resolve_metric(asked: str, names: Mapping[str, str]) -> str:
    """The exact name that a person means: itself, a value's (`fd`), or the only one that begins so.

    Raises:
        ValueError: there is none, with the nearest name, or there are several.
    """
    if asked in names:
        return asked
    found = [name for name, value in names.items() if value == asked]
    found = found or [name for name in names if name.startswith(f"{asked}_")]
    # Of a value and what is said of it, such as its standard error, the value is meant.
    plain = [name for name in found if all(names[other].startswith(names[name]) for other in found)]
    found = plain if len(plain) == 1 else found
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{asked!r} may be {' or '.join(found)}; give the whole name")
    near = nearest_name(asked, [*names, *names.values()])
    guess = f"; did you mean '{near}'?" if near else ""
    raise UsageError(f"unknown metric {asked!r}{guess} (allowed: {', '.join(names) or 'none'})")


def check_metrics(job: JobSpec, origins: Origins | None = None, roots: Roots = ()) -> list[Problem]:
    """Every problem with the metrics of a job whose components are there."""
    return [problem_at(origins or {}, keys, message) for keys, message in _problems(job, roots)]


def partial_features(job: JobSpec, roots: Roots = ()) -> set[str]:
    """Features that are no judge of the job's runs: those of a pretrained network that it trains by (its components'
    `backbone` or `teacher`), which such runs please more than people (Kynkaanniemi et al. 2023, arXiv 2203.06026). A
    component's `without_backbone` says by which arguments it has none: {"distance": "l1"}."""
    found = set()
    for slot in component_slots(job.model_dump(mode="json", by_alias=True)):
        try:
            target = resolve_target(slot.kind, slot.written["use"])
            params, without = signature(target, roots).params, read_constant(target, "without_backbone", roots) or {}
        except ValueError:
            continue
        named = {param.name: param.default for param in params} | slot.args
        if not any(named[key] == value for key, value in without.items()):
            found |= {str(named[key]) for key in TRAINS_BY if named.get(key) is not None}
    return found


def partial_judge(metric: MetricSpec, partial: Collection[str], roots: Roots = ()) -> str | None:
    """The network by which a metric judges and a run has trained; None where there is none.

    Args:
        metric: the metric, whose features may name the network that looks as `net`.
        partial: of `partial_features`.
        roots: folders with a user's own modules.
    """
    features = metric_features(metric, roots)
    params = signature(resolve_target("extractor", features.use), roots).params
    named = {param.name: param.default for param in params} | dict(features.args)
    return next((one for one in (features.use, str(named.get("net"))) if one in partial), None)


TRAINS_BY = ("backbone", "teacher")


def _partial_judges(job: JobSpec, names: Mapping[str, str], judges: Mapping[str, str]) -> Iterator[tuple[Keys, str]]:
    """What decides which checkpoint is best, or when a run ends, by a network that the run trains by.

    Args:
        job: the job.
        names: exact name -> value of its metrics.
        judges: exact name -> network, of what is measured by such a network.
    """
    deciding = {("keep", "metric"): job.keep.metric if job.keep.best else None}
    deciding[("stop_when", "metric")] = job.stop_when.metric if job.stop_when else None
    for keys, asked in deciding.items():
        try:
            judge = judges.get(resolve_metric((asked or "").removeprefix("metric/"), names))
        except UsageError:
            continue  # told where names are looked up
        if judge is not None:
            yield keys, f"{asked} is by {judge}, which this job trains by, and no judge of it; choose other features"


def _problems(job: JobSpec, roots: Roots) -> Iterator[tuple[Keys, str]]:
    names: dict[str, str] = {}
    judges: dict[str, str] = {}
    partial = partial_features(job, roots)
    for index, metric in enumerate(job.metrics):
        try:
            found = metric_value_names(metric, roots)
        except ValueError as error:
            yield ("metrics", index, "use"), str(error)
            continue
        if again := sorted(found.keys() & names.keys()):
            yield ("metrics", index), f"measures {', '.join(again)} once more; remove one of the two"
        if is_text_metric(metric, roots) != (job.data.modality == "text"):
            made = "images" if job.data.modality == "text" else "text"
            yield ("metrics", index, "use"), f"'{metric.use}' is for {made}, but data.modality is {job.data.modality}"
        needs = read_constant(resolve_target("metric", metric.use), "needs", roots)
        if needs == "pairs" and job.data.modality in ("image", "unpaired"):
            told = f"'{metric.use}' is for pairs of images, but data.modality is {job.data.modality}"
            yield ("metrics", index, "use"), told
        if needs in ("classes", "labelled") and job.data.labels in WITHOUT_CLASSES:
            yield ("metrics", index, "use"), f"'{metric.use}' compares class by class; set data.labels"
        if needs == "latents" and (job.data.modality in ("pair", "unpaired") or job.data.labels == "vectors"):
            yield ("metrics", index, "use"), f"'{metric.use}' is for images by noise and classes alone; remove it"
        if needs == "generator" and job.data.labels != "none":
            yield (
                ("metrics", index, "use"),
                f"'{metric.use}' asks about sentences without classes; remove it or data.labels",
            )
        if metric.features.use == "classifier" and job.data.labels in WITHOUT_CLASSES:
            yield ("metrics", index, "features"), "'classifier' learns from classes; set data.labels, or use random"
        names |= found
        if (judge := partial_judge(metric, partial, roots)) is not None:
            judges |= dict.fromkeys(found, judge)
    yield from _partial_judges(job, names, judges)
    asked: Sequence[tuple[Keys, str | None]] = [
        (("stop_when", "metric"), job.stop_when.metric if job.stop_when else None),
        # Any logged number may decide what is kept; their tags have a slash.
        (("keep", "metric"), None if "/" in (job.keep.metric or "/") else job.keep.metric),
    ]
    for keys, name in asked:
        try:
            if name is not None:
                resolve_metric(name, names)
        except ValueError as error:
            yield keys, str(error) if names else f"{error}; the job has no `metrics`"
