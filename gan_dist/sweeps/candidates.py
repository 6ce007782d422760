"""A job with some of its keys changed, and whether every job that a space can make is valid: before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gan_dist.errors import JobError
from gan_dist.registry.lookup import Roots, check_job
from gan_dist.registry.metric_names import check_metrics, job_metric_names, resolve_metric
from gan_dist.spec.check import Origins, problem_at, try_job
from gan_dist.spec.job import JobSpec
from gan_dist.spec.job_file import Document, merge_documents, overrides_document
from gan_dist.spec.problems import Keys, Problem, show_value
from gan_dist.spec.sweep import SweepSpec, sweep_conflicts
from gan_dist.sweeps.sampler import describe_values, list_configurations_to_check, probe_space
from gan_dist.sweeps.trial_log import Values

PLACE: Keys = ("sweep", "space")


def make_trial_job(job: Mapping[str, Any], values: Values, roots: Roots = ()) -> JobSpec:
    """The job of one trial: the base with `values` laid on it, and no sweep.

    Raises:
        JobError: it is no valid job.
    """
    spec, problems = _try_values(Document(dict(job), {}), values, roots)
    if spec is None or problems:
        raise JobError(problems)
    return spec


def reseed_job(spec: JobSpec, repetition: int) -> JobSpec:
    """The same job from another seed."""
    return spec.model_copy(update={"seed": spec.seed + repetition})


def check_sweep(spec: JobSpec, document: Document, roots: Roots = ()) -> list[Problem]:
    """Everything wrong with the `sweep` of a job that is valid without it. Each end of each range and each choice is
    really tried, as is every configuration that is known beforehand."""
    sweep, origins = spec.sweep, document.origins
    assert sweep is not None
    found = [problem_at(origins, _split_key(key), text) for key, text in sweep_conflicts(sweep)]
    texts = [text for metric in sweep.metrics if (text := check_metric(spec, metric, roots))]
    tags = [] if texts else [find_tag(spec, metric, roots) for metric in sweep.metrics]
    if again := [tag for place, tag in enumerate(tags) if tag in tags[:place]]:
        texts.append(f"names {again[0].removeprefix('metric/')} twice; give different metrics")
    found += [problem_at(origins, ("sweep", "metric"), text) for text in texts]
    if any(problem.key.startswith("sweep.space") for problem in found):
        return found
    base = Document({key: value for key, value in document.value.items() if key != "sweep"}, {})
    found += _check_ends(sweep, base, origins, roots)
    return found or list(_check_combinations(sweep, base, origins, roots))


def check_metric(spec: JobSpec, metric: str, roots: Roots = ()) -> str | None:
    """What is wrong with the name of the metric, as far as it shows before networks are built."""
    try:
        find_tag(spec, metric, roots)
    except ValueError as error:
        return str(error) if spec.metrics else f"{error}; the job has no `metrics`"
    return None


def find_tag(spec: JobSpec, metric: str, roots: Roots = ()) -> str:
    """The tag under which a job's reports carry a metric.

    Raises:
        ValueError: the job has no such metric, or it may be several.
    """
    if "/" in metric and not metric.startswith("metric/"):
        return metric
    return f"metric/{resolve_metric(metric.removeprefix('metric/'), job_metric_names(spec, roots))}"


def _check_ends(sweep: SweepSpec, base: Document, origins: Origins, roots: Roots) -> list[Problem]:
    found: dict[tuple[str, str], Problem] = {}
    clean = {one.message for one in _try_values(base, {}, roots)[1]}
    for key, values in probe_space(sweep.space):
        for problem in _try_values(base, values, roots)[1]:
            if problem.message not in clean and _concerns(problem.key, key):
                text = f"with {show_value(values.get(key))}: {_describe_beside(problem, key)}"
                found.setdefault((key, problem.message), problem_at(origins, (*PLACE, key), text))
    return list(found.values())


def _check_combinations(sweep: SweepSpec, base: Document, origins: Origins, roots: Roots) -> Iterator[Problem]:
    """The first configuration that is no valid job; what is wrong with one is mostly wrong with many."""
    for values in list_configurations_to_check(sweep):
        if problems := _try_values(base, values, roots)[1]:
            for problem in problems:
                yield problem_at(origins, PLACE, f"with {describe_values(values)}: {_describe_beside(problem, '')}")
            return


def _try_values(base: Document, values: Values, roots: Roots) -> tuple[JobSpec | None, list[Problem]]:
    """The job with values laid on it, and everything wrong with it."""
    try:
        document = merge_documents(base, overrides_document(values))
    except JobError as error:
        return None, list(error.problems)
    document.value.pop("sweep", None)
    spec, problems = try_job(document)
    problems += check_job(document.value, document.origins, roots)
    if spec is not None and not problems:
        problems += check_metrics(spec, document.origins, roots)
    return spec, problems


def _concerns(named: str, key: str) -> bool:
    """Whether a problem at one key (`penalties[0].gamma`) is that of another (`penalties.0.gamma`), or near it."""
    one, other = named.replace("[", ".").replace("]", "").split("."), key.split(".")
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]


def _describe_beside(problem: Problem, key: str) -> str:
    at = problem.key.replace("[", ".").replace("]", "")
    return problem.message if at == key else f"{problem.key}: {problem.message}"


def _split_key(key: str) -> Keys:
    head, _, rest = key.partition(".")
    return ("sweep", head, rest) if rest else ("sweep", head)
