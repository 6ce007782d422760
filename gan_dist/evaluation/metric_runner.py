"""Metrics of a generator: workers embed generated and real samples, each its share, and what they find is compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from gan_dist.data.facts import DataFacts
from gan_dist.data.ingest import Ingest
from gan_dist.distributed.runtime import WorkerRuntime
from gan_dist.errors import UsageError
from gan_dist.evaluation.metric_inputs import (
    KINDS,
    BoundMetric,
    Collected,
    FeatureRequest,
    all_ranks,
    build_extractor,
    build_metric,
    cache_file_name,
    check_logits,
    compute_metric,
    draw_real,
    empty_accumulator,
    extractor_key,
    fit_or_load_extractor,
    labels_at,
    make_contiguous,
    sum_log_likelihood,
    sum_paired_scores,
    sum_path_lengths,
)
from gan_dist.generation.modality import Draw
from gan_dist.metrics.features.classifiers import SEED
from gan_dist.metrics.statistics import ClassMoments, FeatureRows, LabelledRows
from gan_dist.registry import lookup
from gan_dist.registry.metric_names import resolve_metric
from gan_dist.runs.storage import Folder
from gan_dist.spec.fields import Held
from gan_dist.spec.job import MetricSpec

CHUNK = 64  # samples that are drawn and embedded at a time, whatever the number of workers


class MetricRunner:
    """The metrics of a job, or of one question.

    Args:
        metrics: what is measured.
        facts: of the data that samples are compared with.
        cache: folder where what was found of the data is kept for every run.
        run: whose workers take part.
        roots: folders with a user's own modules.
        against: name of what the samples are compared with, where that is not the training set.
        held: which sentences that nothing is learnt from are compared with; training's own metrics take no others.

    Raises:
        ValueError: a metric or an extractor cannot be built.
    """

    def __init__(
        self,
        *,
        metrics: Sequence[MetricSpec],
        facts: DataFacts,
        cache: Folder,
        run: WorkerRuntime,
        roots: lookup.Roots = (),
        against: str = "",
        held: Held = "validation",
    ) -> None:
        self.facts, self.cache, self.run = facts, cache, run
        self.built = [build_metric(spec, facts, roots, against, held) for spec in metrics]
        self.extractors = {extractor_key(spec): build_extractor(spec, facts, run.device) for spec in metrics}
        self._real: dict[FeatureRequest, Collected] = {}
        check_logits(self.built, self.extractors)

    @property
    def names(self) -> dict[str, str]:
        """Exact name -> value, in the job's order."""
        return {name: value for one in self.built for value, name in one.names.items()}

    def resolve(self, asked: str) -> str:
        """The exact name that is meant. Raises ValueError."""
        return resolve_metric(asked, self.names)

    def problems(self) -> list[str]:
        """Which metrics have too few samples to compare."""
        found = []
        for one in self.built:
            for count, what in ((one.samples, "generated"), (self.facts.count, "real")):
                if count < one.least and (one.compares or what == "generated"):
                    text = f"needs at least {one.least} {what} samples, and there are {count}"
                    found.append(f"metrics: {one.title} {text}")
        return found

    def warnings(self) -> list[str]:
        """Which distances are of fewer samples than features: their covariance has no full rank."""
        found = []
        for one in self.built:
            if one.metric.needs != "moments":
                continue
            dim = self._shape(extractor_key(one.spec))[0]
            for count, what in ((one.samples, ""), (self.facts.count, "real ")):
                if count <= dim:
                    told = f"{count} {what}samples are too few for {dim} features; it is far too high"
                    found.append(f"{one.title}: {told}; --metric kid has no such bias")
        return found

    def try_out(self, one: BoundMetric) -> None:
        """Compare noise with itself. Raises what the metric or its extractor raises."""
        shape = (max(one.least, CHUNK), *self.facts.shape)
        noise = torch.randint(256, shape, generator=torch.Generator().manual_seed(SEED)).to(torch.uint8)
        with torch.no_grad():
            features = self.extractors[extractor_key(one.spec)](noise.to(self.run.device))
        if one.metric.needs == "latents":
            return  # there is no generator yet; whether it will do is known by its methods
        if (features.ndim != 2 and one.metric.needs != "labelled") or len(features) != len(noise):
            raise UsageError(f"features of {len(noise)} images are {list(features.shape)}, where [B, d] is wanted")
        both = self._empty(one.fake()._replace(samples=len(noise)))
        if isinstance(both, ClassMoments | LabelledRows):
            both.add(0, features, torch.arange(len(noise)) % len(self.facts.classes))
        else:
            both.add(0, features)
        compute_metric(one, both if one.compares else None, self._prepared_for(one, both))

    def measure(
        self,
        draw: Draw,
        rows: Ingest,
        generator: nn.Module | None = None,
        labels: Draw | None = None,
        wanted: Draw | None = None,
    ) -> dict[str, float]:
        """Every number by its exact name, equal on all workers. Every worker must call this.

        Args:
            draw: uint8 pixels [n, C, H, W] of the samples with these numbers; it is asked for whole chunks.
            rows: the data that samples are compared with.
            generator: what drew the samples, for metrics that ask it.
            labels: classes [n] of the samples with these numbers, for metrics that want them.
            wanted: of pairs, what the samples with these numbers should be.

        Raises:
            ValueError: a metric asks the generator, or for classes, and there is none.
        """
        real = self._reference(rows)
        fake = self._collect(draw, {one.fake() for one in self.built if one.collects}, labels)
        asked = {place: self._asked(one, fake, generator, draw, wanted, labels) for place, one in enumerate(self.built)}
        values = torch.zeros(len(self.names), dtype=torch.float64, device=self.run.device)
        if self.run.rank == 0:
            found: list[float] = []
            for place, one in enumerate(self.built):
                known = real[one.real(self.facts.count)] if one.compares else None
                found += compute_metric(one, known, asked[place] or self._prepared_for(one, fake[one.fake()]))
            values += torch.tensor(found, dtype=torch.float64).to(values.device)
        return dict(zip(self.names, self.run.sum(values).tolist(), strict=True))

    def of_held_out(self, rows: Ingest) -> dict[str, float]:
        """The numbers of held-out samples in place of generated ones, for metrics that compare with these."""
        found: dict[str, float] = {}
        for one in self.built:
            if one.held_out:
                known = self._reference(rows)[one.real(self.facts.count)]
                found |= zip(one.names.values(), compute_metric(one, known, known), strict=True)
        return found

    @torch.no_grad()
    def _prepared_for(self, one: BoundMetric, found: Collected) -> Collected:
        """What a metric gets of samples: what was collected of them, or what their features say of classes."""
        if one.metric.needs != "logits":
            return found
        extractor: Any = self.extractors[extractor_key(one.spec)]
        assert isinstance(found, FeatureRows)
        return FeatureRows(extractor.logits(found.rows))

    def features(self, draw: Draw, rows: Ingest) -> tuple[Tensor, Tensor]:
        """Features [N, d] of all real samples in canonical order, and of generated ones, for the first metric, which is
        one that needs "all"."""
        (one, *_), real = self.built, self._reference(rows)
        known, found = real[one.real(self.facts.count)], self._collect(draw, {one.fake()})[one.fake()]
        assert isinstance(known, FeatureRows) and isinstance(found, FeatureRows)
        return known.rows, found.rows

    def _asked(
        self,
        one: BoundMetric,
        fakes: Mapping[FeatureRequest, Collected],
        generator: nn.Module | None,
        draw: Draw,
        wanted: Draw | None,
        labels: Draw | None,
    ) -> FeatureRows | None:
        """What is summed over workers in another way than by collecting features, for a metric that wants it."""
        if one.metric.needs == "generator":
            return sum_log_likelihood(generator, one, fakes[one.fake()], self.run)
        if one.metric.needs == "latents":
            extractor = self.extractors[extractor_key(one.spec)]
            return sum_path_lengths(generator, one, extractor=extractor, labels=labels, chunk=CHUNK, run=self.run)
        if one.metric.needs != "pairs":
            return None
        if wanted is None:
            raise UsageError(f"metrics: '{one.spec.use}' needs pairs, of which one picture should be the other")
        return sum_paired_scores(
            one.metric,
            extractor=self.extractors[extractor_key(one.spec)],
            draw=draw,
            wanted=wanted,
            samples=one.samples,
            chunk=CHUNK,
            run=self.run,
        )

    def _reference(self, rows: Ingest) -> dict[FeatureRequest, Collected]:
        """What is known of the data: found once, and kept for this and every later run."""
        if self._real:
            return self._real
        for key, extractor in self.extractors.items():
            if hasattr(extractor, "fit"):
                fit_or_load_extractor(extractor, key, rows, self.cache, self.run)
        missing = set()
        for wanted in sorted({one.real(self.facts.count) for one in self.built if one.compares}):
            file = cache_file_name(wanted, self.facts, self.extractors[wanted.features])
            if file is not None and all_ranks(self.run, self.cache.exists(file)):
                kind = KINDS[wanted.needs]
                self._real[wanted] = kind.from_state(load(self.cache.read(file)), self.run.device)
            else:
                missing.add(wanted)
        for samples in sorted({wanted.samples for wanted in missing}):
            # Whoever needs fewer than all gets a fair choice, read in canonical order: a stream reads whole shards.
            chosen = np.sort(np.random.RandomState(SEED).permutation(self.facts.count)[:samples])
            asked = [one for one in missing if one.samples == samples]
            found = self._collect(draw_real(rows, chosen), asked, labels_at(rows, chosen))
            self._real |= found
            for wanted, known in found.items() if self.run.rank == 0 else ():
                if (file := cache_file_name(wanted, self.facts, self.extractors[wanted.features])) is not None:
                    self.cache.write(file, save(make_contiguous(known.state())))
        return self._real

    @torch.no_grad()
    def _collect(
        self, draw: Draw, wanted: Iterable[FeatureRequest], labels: Draw | None = None
    ) -> dict[FeatureRequest, Collected]:
        """Features of samples, from all workers; each embeds every `world`-th chunk."""
        found: dict[FeatureRequest, Any] = {
            one: self._empty(one) for one in sorted(wanted)
        }  # all workers sum in one order
        most = max((one.samples for one in found), default=0)
        for start in range(CHUNK * self.run.rank, most, CHUNK * self.run.world):
            pixels = draw(range(start, start + CHUNK)).to(self.run.device)
            embedded: dict[str, Tensor] = {}
            for one, collected in found.items():
                if one.samples > start:
                    if one.features not in embedded:
                        embedded[one.features] = self.extractors[one.features](pixels)
                    features = embedded[one.features][: one.samples - start]
                    if one.needs in ("classes", "labelled"):
                        if labels is None:
                            raise UsageError("metrics: what compares class by class needs samples of known classes")
                        collected.add(start, features, labels(range(start, start + CHUNK))[: len(features)])
                    else:
                        collected.add(start, features)
        return {one: collected.summed(self.run.sum) for one, collected in found.items()}

    def _empty(self, wanted: FeatureRequest) -> Collected:
        return empty_accumulator(wanted, self._shape(wanted.features), len(self.facts.classes), self.run.device)

    @torch.no_grad()
    def _shape(self, features: str) -> Sequence[int]:
        probe = torch.zeros((1, *self.facts.shape), dtype=torch.uint8, device=self.run.device)
        return tuple(self.extractors[features](probe).shape[1:])
