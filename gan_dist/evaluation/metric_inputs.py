"""What metrics are given: features of real and generated samples, collected over workers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor, nn

from gan_dist.contracts import Metric, Needs
from gan_dist.data.facts import DataFacts
from gan_dist.data.ingest import Ingest
from gan_dist.data.source import state_of
from gan_dist.distributed.first_weights import first_weights
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.distributed.runtime import WorkerRuntime
from gan_dist.errors import UsageError
from gan_dist.generation.modality import Draw
from gan_dist.metrics.features.classifiers import SEED, tenth
from gan_dist.metrics.statistics import ClassMoments, FeatureRows, LabelledRows, Moments, PairwiseDistances
from gan_dist.registry import lookup
from gan_dist.registry.metric_names import metric_features, metric_value_names
from gan_dist.runs.storage import Folder
from gan_dist.spec.fields import Held
from gan_dist.spec.job import MetricSpec


@torch.no_grad()
def sum_paired_scores(
    metric: Any, *, extractor: Any, draw: Draw, wanted: Draw, samples: int, chunk: int, run: WorkerRuntime
) -> FeatureRows:
    """The sum of a metric's scores and their number, [2] in float64, over all workers, each of which takes every
    `world`-th chunk.

    Args:
        draw, wanted: uint8 pixels of what was made and of what it should be, by their numbers.
    """
    total = torch.zeros(2, dtype=torch.float64, device=run.device)
    for start in range(chunk * run.rank, samples, chunk * run.world):
        part, most = range(start, start + chunk), samples - start
        made, real = (extractor(one(part)[:most].to(run.device)) for one in (draw, wanted))
        scores = metric.scores(made, real).double()
        total += torch.stack([scores.sum(), torch.tensor(float(len(scores)), dtype=torch.float64, device=run.device)])
    return FeatureRows(run.sum(total))


@torch.no_grad()
def sum_path_lengths(
    generator: nn.Module | None,
    one: BoundMetric,
    *,
    extractor: nn.Module,
    labels: Draw | None,
    chunk: int,
    run: WorkerRuntime,
) -> FeatureRows:
    """What a metric measures between pairs of latents, [samples, 1] in float64, over all workers, each of which takes
    every `world`-th chunk.

    Args:
        labels: classes of the pairs with these numbers; None where there are none.

    Raises:
        UsageError: there is no generator, or not one that the metric can ask.
    """
    if generator is None:
        raise _samples_alone(one)
    metric: Any = one.metric
    found = torch.zeros(one.samples, 1, dtype=torch.float64, device=run.device)
    dtype = next(generator.parameters()).dtype
    for start in range(chunk * run.rank, one.samples, chunk * run.world):
        rng = single_lane_rng((SEED, "latents", start), chunk, run.device, dtype)
        cond = None if labels is None else labels(range(start, start + chunk)).to(run.device)
        lengths = metric.lengths(generator, extractor, rng, cond)
        found[start : start + chunk, 0] = lengths[: one.samples - start]
    return FeatureRows(run.sum(found))


@torch.no_grad()
def sum_log_likelihood(
    generator: nn.Module | None, one: BoundMetric, fake: Collected, run: WorkerRuntime
) -> FeatureRows:
    """What a generator says of samples, summed over workers.

    Raises:
        ValueError: it says nothing.
    """
    if generator is None:
        raise _samples_alone(one)
    if not hasattr(generator, "log_prob"):
        raise UsageError(f"metrics: '{one.spec.use}' needs a generator that gives log p of text (log_prob)")
    metric: Any = one.metric
    assert isinstance(fake, FeatureRows)
    return FeatureRows(run.sum(metric.sums(generator, fake.rows, run.rank, run.world)))


def _samples_alone(one: BoundMetric) -> UsageError:
    told = "asks the generator itself, and there are samples alone; leave it out, or evaluate a run"
    return UsageError(f"metrics: '{one.spec.use}' {told}")


FORMAT = 1
Collected = Moments | ClassMoments | PairwiseDistances | FeatureRows | LabelledRows
Kind = type[Moments] | type[ClassMoments] | type[PairwiseDistances] | type[FeatureRows] | type[LabelledRows]
KINDS: dict[Needs, Kind] = {
    "moments": Moments,
    "classes": ClassMoments,
    "spread": PairwiseDistances,
    "rows": FeatureRows,
    "all": FeatureRows,
    "logits": FeatureRows,
    "generator": FeatureRows,
    "pairs": FeatureRows,
    "labelled": LabelledRows,
    "latents": FeatureRows,
}


class FeatureRequest(NamedTuple):
    """What is collected of a set of samples: by which extractor, in which form, of how many."""

    features: str
    needs: Needs
    samples: int


@dataclass(frozen=True)
class BoundMetric:
    """A metric of the job, ready to compare. `names` are exact names by value."""

    spec: MetricSpec
    metric: Metric
    names: Mapping[str, str]

    @property
    def samples(self) -> int:
        return int(self.spec.samples.value)

    @property
    def least(self) -> int:
        return int(getattr(self.metric, "least", 2))

    def fake(self) -> FeatureRequest:
        return FeatureRequest(extractor_key(self.spec), self.metric.needs, self.samples)

    @property
    def title(self) -> str:
        """Its first exact name."""
        return next(iter(self.names.values()))

    @property
    def held_out(self) -> bool:
        """Whether the real samples that it looks at are those that features are not trained on."""
        return bool(getattr(self.metric, "held_out", False))

    @property
    def compares(self) -> bool:
        """Whether it looks at real samples."""
        return self.metric.needs not in ("logits", "pairs", "latents")

    @property
    def collects(self) -> bool:
        """Whether it looks at features of generated samples, one by one."""
        return self.metric.needs not in ("pairs", "latents")

    def real(self, count: int) -> FeatureRequest:
        if self.held_out:
            return self.fake()._replace(samples=tenth(count))
        if self.metric.needs == "labelled":
            return self.fake()._replace(samples=min(count, self.samples + tenth(self.samples) + 1))
        whole = self.metric.needs in ("moments", "classes", "all")
        return self.fake()._replace(samples=count if whole else min(count, self.samples))


def extractor_key(spec: MetricSpec) -> str:
    """An extractor's name and arguments."""
    features = metric_features(spec)
    return f"{features.use} {features.args}" if features.args else features.use


def build_metric(spec: MetricSpec, facts: DataFacts, roots: lookup.Roots, against: str, held: Held) -> BoundMetric:
    metric: Metric = lookup.build_component("metric", spec.use, spec.args, facts.for_metrics(held))
    return BoundMetric(
        spec, metric, {value: name for name, value in metric_value_names(spec, roots, against, held).items()}
    )


def build_extractor(spec: MetricSpec, facts: DataFacts, device: torch.device) -> nn.Module:
    """An extractor in evaluation mode; where it starts from random weights, from the same ones each time."""
    features = metric_features(spec)
    with first_weights(SEED):
        built = lookup.build_component("extractor", features.use, features.args, facts.provided)
    if not isinstance(built, nn.Module):
        raise UsageError(f"features: {features.use!r} made a {type(built).__name__}, which is no torch.nn.Module")
    return built.to(device).eval()


def check_logits(built: Sequence[BoundMetric], extractors: Mapping[str, nn.Module]) -> None:
    """Raises ValueError where a metric wants to know classes, and its features do not."""
    for one in built:
        if one.metric.needs == "logits" and not hasattr(extractors[extractor_key(one.spec)], "logits"):
            raise UsageError(
                f"metric '{one.spec.use}' needs features that know classes (inception, classifier or resnet50), "
                f"not {extractor_key(one.spec)!r}"
            )


def empty_accumulator(wanted: FeatureRequest, shape: Sequence[int], classes: int, device: torch.device) -> Collected:
    """What is wanted, of no samples yet, whose features have this shape."""
    kind, dim = KINDS[wanted.needs], shape[0]
    if kind is LabelledRows:
        return LabelledRows.empty(wanted.samples, shape, device)
    if kind is ClassMoments:
        return ClassMoments.empty(classes, dim, device)
    if kind is FeatureRows:
        return FeatureRows.empty(wanted.samples, dim, device)
    return Moments.empty(dim, device) if kind is Moments else PairwiseDistances.empty(dim, device)


def cache_file_name(wanted: FeatureRequest, facts: DataFacts, extractor: nn.Module) -> str | None:
    """The file that keeps the data's features: by the data's content and the extractor's weights. None for a person's
    own extractor, whose code may change unseen, and for one without weights, which costs nothing."""
    state = extractor.state_dict()
    if ":" in wanted.features.partition(" ")[0] or not state:
        return None
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in state.items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    key = [FORMAT, facts.checksum, facts.count, digest.hexdigest(), wanted.needs, wanted.samples]
    return f"{wanted.needs}-{state_of(key)}.safetensors"


def make_contiguous(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as a file takes them."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def compute_metric(one: BoundMetric, real: Collected | None, fake: Collected) -> list[float]:
    """The metric's numbers in the order of its values."""
    pair: list[Any] = [side.rows if isinstance(side, FeatureRows) else side for side in (real, fake)]
    found = one.metric.compare(*pair)
    if found.keys() != one.names.keys():
        raise UsageError(f"metric '{one.spec.use}' gave {', '.join(found)}, where it says {', '.join(one.names)}")
    return [float(found[value]) for value in one.names]


def draw_real(rows: Ingest, chosen: NDArray[np.int64]) -> Draw:
    """Draws the real samples at these positions."""
    return lambda part: rows.rows(chosen[part.start : part.stop])[0]


def labels_at(rows: Ingest, chosen: NDArray[np.int64]) -> Draw:
    """Gives their classes."""
    return lambda part: torch.from_numpy(rows.labels[chosen[part.start : part.stop]])


def fit_or_load_extractor(extractor: Any, key: str, rows: Ingest, cache: Folder, run: WorkerRuntime) -> None:
    """Give an extractor what it learns of the data; the first worker trains it, and the others read what it stored.

    Args:
        extractor: with `fit`.
        key: its name and arguments.
        rows: the data.
        cache: folder where it is kept.
        run: whose workers call this, every one.
    """
    facts = rows.facts
    # The same data have more words where a file with words of its own is compared with them.
    shapes = {name: list(tensor.shape) for name, tensor in extractor.state_dict().items()}
    name = f"extractor-{state_of([FORMAT, facts.checksum, facts.classes, key, shapes])}"
    if not all_ranks(run, cache.exists(f"{name}.safetensors")) and run.rank == 0:
        run.emit({"event": "stage", "text": f"metrics: training features {key}"})
        with torch.random.fork_rng(devices=[]):
            found = extractor.fit(rows.rows, facts.count)
        cache.write_json(f"{name}.json", {"features": key, "format": FORMAT, **found})
        cache.write(f"{name}.safetensors", save(make_contiguous(extractor.state_dict())))
        told = ", ".join(f"{fact} {value:.4g}" for fact, value in found.items())
        run.emit({"event": "stage", "text": f"metrics: features {key} trained ({told})"})
    all_ranks(run, True)
    extractor.load_state_dict(load(cache.read(f"{name}.safetensors")))


def all_ranks(run: WorkerRuntime, truth: bool) -> bool:
    """Whether it is true for all workers; whoever arrives first waits for the others."""
    votes = torch.tensor([float(truth)], device=run.device)
    return round(run.sum(votes).item()) == run.world
