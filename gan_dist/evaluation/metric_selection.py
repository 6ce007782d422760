"""What is asked of samples: by which metrics they are compared, with how many, and with which held-out text."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gan_dist.data.facts import DataFacts, TextFacts
from gan_dist.distributed.runtime import LocalRuntime
from gan_dist.errors import UsageError
from gan_dist.evaluation.inputs import EvaluationSamples
from gan_dist.evaluation.metric_runner import MetricRunner
from gan_dist.evaluation.query import EvaluationRequest
from gan_dist.registry.lookup import ALIASES, resolve_target
from gan_dist.registry.metric_names import is_text_metric, metric_value_names
from gan_dist.registry.signatures import read_constant
from gan_dist.spec.amounts import Amount
from gan_dist.spec.fields import HELD, Held
from gan_dist.spec.job import FeaturesSpec, MetricSpec
from gan_dist.spec.problems import suggestion


def select_metrics(question: EvaluationRequest, a: EvaluationSamples, facts: DataFacts) -> list[MetricSpec]:
    """The metrics that are meant: those named, or the job's own, or all of ours that go with B's data."""
    named = [_metric(name, a, question.split) for name in question.metrics]
    found = with_overrides(question, a, named or a.metrics or _ours(a))
    if not named and not a.metrics:
        found = [one for one in found if _fits(one, a, facts, question.split)]
    _check_split(found, a, facts, question.split)
    return [one for place, one in enumerate(found) if one not in found[:place]]


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
        changes["features"] = FeaturesSpec(use=question.features)
    if a.most is not None and (question.n or 0) > a.most:
        raise UsageError(f"--n {question.n}: {a.where!r} holds {a.most} samples")
    if (count := question.n or a.most) is not None:
        changes["samples"] = Amount(count)
    return [one.model_copy(update=changes) for one in metrics]


def _ours(a: EvaluationSamples) -> list[MetricSpec]:
    """The shipped metrics of A's kind of data."""
    shipped = [MetricSpec(use=use) for use in ALIASES["metric"]]
    return [one for one in shipped if is_text_metric(one) == a.of_text]


def _fits(spec: MetricSpec, a: EvaluationSamples, facts: DataFacts, held: Held) -> bool:
    """Whether A and B's data have what a metric asks for, samples enough of a rare class among that; and whether it is
    so cheap that nobody has to ask for it by name."""
    try:
        run = LocalRuntime(torch.device("cpu"), lambda event: None, lambda: False)
        found = MetricRunner([spec], facts, a.cache, run, held=held)
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


def _metric(name: str, a: EvaluationSamples, held: Held) -> MetricSpec:
    """A metric by its own name, by the name of one of its numbers, or by an exact name of the run's job."""
    if ":" in name:
        return MetricSpec(use=name)
    spellings: dict[str, MetricSpec] = {}
    for known in (*a.metrics, *_ours(a)):
        found = metric_value_names(known, a.roots, held=held)
        spellings = dict.fromkeys((known.use, *found.values(), *found), known) | spellings
    if name not in spellings:
        near, kind = suggestion(name, sorted(spellings)), "text" if a.of_text else "images"
        raise UsageError(f"unknown metric {name!r}{near}, or your own as 'module:Name'; {a.where} is of {kind}")
    return spellings[name]
