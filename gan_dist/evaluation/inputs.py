"""What is evaluated: samples of a run, a checkpoint or a folder, and the data they are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from gan_dist.data.facts import DataFacts, PairFacts, TextFacts
from gan_dist.errors import UsageError
from gan_dist.evaluation.image_folder import read_image_folder
from gan_dist.evaluation.metric_inputs import Draw, Labels
from gan_dist.evaluation.sample_draws import generator_draw, generator_labels, paired_generator_draw, target_draw
from gan_dist.generation.model import Model, load
from gan_dist.generation.paired_samples import real_rows
from gan_dist.generation.training_data import prepared_beside, trained_on
from gan_dist.metrics.features.fit import SEED
from gan_dist.registry.lookup import Roots
from gan_dist.runs.run_folder import METRICS
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import MetricSpec


@dataclass(frozen=True)
class EvaluationSamples:
    """A. `most` is how many a folder or file holds; a generator makes any number. `metrics` are those of the run's job,
    `warnings` what is to be known of the samples."""

    where: str
    facts: DataFacts
    draw: Draw
    cache: Folder
    labels: Labels | None = None
    most: int | None = None
    seen: int | None = None
    metrics: Sequence[MetricSpec] = ()
    roots: Roots = (".",)
    generator: nn.Module | None = None
    wanted: Draw | None = None
    warnings: Sequence[str] = ()

    @property
    def of_text(self) -> bool:
        return isinstance(self.facts, TextFacts)


def samples_of_model(model: Model, device: torch.device) -> EvaluationSamples:
    """The very samples that the run's own metrics are of; of pairs, made of the inputs that the run was trained on."""
    generator, facts, seed = model.generator.to(device), model.facts, model.spec.seed
    rows = trained_on(model) if isinstance(facts, PairFacts) else None
    return EvaluationSamples(
        model.name,
        facts if rows is None else real_rows(rows).facts,
        generator_draw(generator, facts, seed, device)
        if rows is None
        else paired_generator_draw(rows, generator, seed, device),
        prepared_beside(model).child(METRICS),
        generator_labels(generator, facts, seed, device),
        seen=model.seen,
        metrics=model.spec.metrics,
        roots=[model.spec.environment.code or "."],
        generator=generator,
        wanted=None if rows is None else target_draw(rows, seed),
    )


def samples_of_folder(where: str, cache: Folder) -> EvaluationSamples:
    ours = read_image_folder(where)
    shuffled = np.random.RandomState(SEED).permutation(ours.facts.count)

    def draw(part: range) -> torch.Tensor:
        return ours.rows(shuffled[part.start : part.stop])[0]

    return EvaluationSamples(where, ours.facts, draw, cache, most=len(shuffled))


def samples_of_twin(ref: str, a: EvaluationSamples, device: torch.device) -> EvaluationSamples:
    """The run beside A.

    Raises:
        ValueError: it learnt from other data.
    """
    twin = samples_of_model(load(ref), device)
    ours, theirs = a.facts, twin.facts
    same = isinstance(ours, TextFacts) and isinstance(theirs, TextFacts) and ours.codec == theirs.codec
    if not same or ours.checksum != theirs.checksum:
        raise UsageError(
            f"--twin: {twin.where} learnt from other data than {a.where} ({theirs.described} and {ours.described}; "
            f"checksums {theirs.checksum[:8]} and {ours.checksum[:8]}); gan-dist submit JOB --mle-twin trains one"
        )
    return twin
