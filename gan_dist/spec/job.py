"""The whole job as one frozen object. It crosses from the user's machine to the cluster as JSON."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from gan_dist.spec.amounts import AmountField
from gan_dist.spec.data import DataSpec, ImageData, TextData
from gan_dist.spec.fields import AutoOr, Section, Truth, Whole
from gan_dist.spec.job_file import merge_values
from gan_dist.spec.problems import show_value, suggestion
from gan_dist.spec.sections import (
    Averages,
    ComponentSpec,
    EmaSpec,
    EnvironmentSpec,
    EverySpec,
    FeaturesSpec,
    KeepSpec,
    MetricSpec,
    NotifySpec,
    ObjectiveSpec,
    OptimizerSpec,
    PenaltySpec,
    ResourcesSpec,
    StandingSpec,
    StopSpec,
    TrackerSpec,
    laid_on,
    one_or_more,
    other_trackers,
)
from gan_dist.spec.sweep import SchedulerSpec, SweepSpec

__all__ = [
    "ComponentSpec",
    "DataSpec",
    "EmaSpec",
    "EnvironmentSpec",
    "EverySpec",
    "FeaturesSpec",
    "ImageData",
    "JobSpec",
    "KeepSpec",
    "MetricSpec",
    "NotifySpec",
    "ObjectiveSpec",
    "OptimizerSpec",
    "PenaltySpec",
    "ResourcesSpec",
    "SchedulerSpec",
    "StageSpec",
    "StandingSpec",
    "StopSpec",
    "SweepSpec",
    "TextData",
    "TrackerSpec",
]

CONFLICT = "conflict"
INHERITED = ("optimizer", "every")
Objectives = Annotated[tuple[ObjectiveSpec, ...], Field(min_length=1), BeforeValidator(one_or_more)]


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,60}", text):
        form = "at most 61 of a-z, 0-9, '.', '_' and '-', a letter or digit first"
        raise ValueError(f"{show_value(text)} is no valid name; use {form}")
    return text


def _form_of_frozen(written: object) -> str:
    return "[list]" if isinstance(written, list | tuple) else "[name]" if isinstance(written, str) else "[count]"


PartName = Annotated[str, Field(min_length=1)]
Frozen = Annotated[
    Annotated[Whole, Field(ge=1), Tag("[count]")]
    | Annotated[PartName, Tag("[name]")]
    | Annotated[tuple[PartName, ...], Field(min_length=1), Tag("[list]")],
    Discriminator(_form_of_frozen),
]


def _network_name(text: str) -> str:
    if not text.isidentifier() or text in ("generator", "discriminator"):
        raise ValueError(f"{show_value(text)} is no name for a further network; use a word of a-z, 0-9 and '_'")
    return text


class StageSpec(Section):
    """One phase of training. What it does not give, it takes from the job."""

    name: str | None = Field(default=None, description="Name shown in progress and logs.")
    objective: Objectives = Field(description="What is minimised: one objective, or a list that is summed.")
    length: AmountField = Field(
        alias="for", description="How long the stage lasts.", json_schema_extra={"unit": "samples"}
    )
    penalties: tuple[PenaltySpec, ...] | None = Field(
        default=None, description="In place of the job's penalties; [] for none, null for the job's."
    )
    optimizer: OptimizerSpec | None = Field(default=None, description="Keys that differ from the job's optimizer.")
    train: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Networks to train, such as [discriminator], whose phases alone are run; null for all.",
    )
    fresh_optimizer: Truth = Field(
        default=False, description="Whether the optimisers begin anew, without the moments of the stage before."
    )
    every: EverySpec | None = Field(default=None, description="Keys that differ from the job's `every`.")


class JobSpec(Section):
    """Everything about a run."""

    version: Literal[1] = Field(default=1, description="Version of this format.")
    name: Annotated[str, AfterValidator(_name)] = Field(description="Beginning of the run's id.")
    seed: Whole = Field(default=0, ge=0, le=2**31 - 1, description="Decides every random number of the run.")
    data: DataSpec = Field(description="What is learnt from.")
    generator: ComponentSpec = Field(description="The network that makes samples.")
    discriminator: ComponentSpec | None = Field(
        default=None,
        description="The network that tells samples from data; null where the objective needs none.",
    )
    networks: dict[Annotated[str, AfterValidator(_network_name)], ComponentSpec] = Field(
        default_factory=dict, description="Further networks by name, for objectives that use more than two."
    )
    objective: Objectives | None = Field(
        default=None,
        description="What is minimised: one objective, or a list that is summed. Not with `stages`.",
    )
    penalties: tuple[PenaltySpec, ...] = Field(default=(), description="Regularising terms beside the objective.")
    stages: Annotated[tuple[StageSpec, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Phases of training, one after the other, in place of `objective` and `until`.",
    )
    freeze: dict[str, Frozen] = Field(
        default_factory=dict,
        description="Parts of networks that are not trained, by network: a number of blocks next to the image, or "
        "names of parts, as in {discriminator: 4, generator: mapping}.",
    )
    augment: ComponentSpec | None = Field(
        default=None, description="Changes of real and generated images before the discriminator; null for none."
    )
    optimizer: OptimizerSpec = Field(default=OptimizerSpec(), description="How weights are stepped.")
    ema: Averages = Field(
        default=None, description="Moving average of the generator's weights, or a list of them; null for none."
    )
    standing: StandingSpec | None = Field(
        default=None,
        description="Batch normalisation of G estimated anew for samples; null for training's running statistics.",
    )
    batch: Whole = Field(
        ge=1,
        le=1_000_000,
        description="Samples per iteration over all workers: the same run on 1 or 8.",
        json_schema_extra={"unit": "samples"},
    )
    micro_batch: Annotated[int | Literal["auto"], AutoOr(ge=1)] = Field(
        default="auto",
        description="Samples per worker and forward pass; auto finds what fits in memory.",
        json_schema_extra={"unit": "samples"},
    )
    until: AmountField | None = Field(
        default=None,
        description="How long to train. Not with `stages`.",
        json_schema_extra={"unit": "samples"},
    )
    metrics: tuple[MetricSpec, ...] = Field(default=(), description="What is measured during training.")
    stop_when: StopSpec | None = Field(
        default=None, description="Ends the run before `until`, once a metric is good enough."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16", "fp64"] = Field(
        default="auto",
        description="Number format of forward passes; auto is bf16 where the device has it, else fp32. fp16 scales the "
        "losses, for GPUs without bf16.",
    )
    determinism: Literal["exact", "fast"] = Field(
        default="exact",
        description="exact: a resumed run has the same bits. fast: a GPU's libraries choose kernels by speed and round "
        "float32 products to TF32; no difference on a CPU.",
    )
    compile: Truth = Field(
        default=False,
        description="Whether to compile networks (slower start, faster steps); lstm, rmc and transformer never are.",
    )
    trackers: Annotated[tuple[TrackerSpec, ...], BeforeValidator(other_trackers)] = Field(
        default=(), description="Where the run is shown besides TensorBoard, whose files every run has."
    )
    notify: NotifySpec | None = Field(default=None, description="Whom to tell what becomes of the run.")
    labels: dict[str, str] = Field(
        default_factory=dict, description="What the run is found by, such as {team: vision}: list --label team=vision."
    )
    every: EverySpec = Field(default=EverySpec(), description="How often something is written.")
    keep: KeepSpec = Field(default=KeepSpec(), description="Which checkpoints stay.")
    resources: ResourcesSpec = Field(default=ResourcesSpec(), description="What the run asks of the cluster.")
    environment: EnvironmentSpec = Field(
        default=EnvironmentSpec(), description="What the workers need besides gan-dist."
    )
    storage: str | None = Field(
        default=None, description="Folder or URI for runs; null is ./runs. GAN_DIST_STORAGE and --storage override it."
    )
    sweep: SweepSpec | None = Field(
        default=None, description="Makes the job a search: many runs that differ in some keys."
    )

    @property
    def network_specs(self) -> dict[str, ComponentSpec]:
        """Every network by name, the generator first."""
        pair = {"generator": self.generator, "discriminator": self.discriminator}
        return {name: spec for name, spec in pair.items() if spec is not None} | self.networks

    def with_absolute_paths(self) -> Self:
        """The same job as another process finds its data and weights, that runs in another folder."""
        measured = [(one, one.features.with_absolute_paths()) for one in self.metrics]
        terms = self._with_absolute_paths_of_terms(self)
        return self.model_copy(
            update=terms
            | {
                "data": self.data.with_absolute_paths(),
                "generator": self.generator.with_absolute_paths(),
                "discriminator": self.discriminator and self.discriminator.with_absolute_paths(),
                "networks": {name: one.with_absolute_paths() for name, one in self.networks.items()},
                "metrics": tuple(one.model_copy(update={"features": features}) for one, features in measured),
            }
        )

    def _with_absolute_paths_of_terms(self, section: JobSpec | StageSpec) -> dict[str, Any]:
        """Those of a section's objectives and penalties, and of the job its stages'."""
        found: dict[str, Any] = {}
        for key in ("objective", "penalties"):
            if (terms := getattr(section, key)) is not None:
                found[key] = tuple(term.with_absolute_paths() for term in terms)
        if isinstance(section, JobSpec) and section.stages is not None:
            found["stages"] = tuple(
                stage.model_copy(update=self._with_absolute_paths_of_terms(stage)) for stage in section.stages
            )
        return found

    @property
    def phases_plan(self) -> tuple[StageSpec, ...]:
        """The stages, with all they take from the job; `objective` and `until` make one stage."""
        if self.objective is not None and self.until is not None:
            return (self._completed(StageSpec.model_validate({"objective": self.objective, "for": self.until})),)
        assert self.stages is not None
        return tuple(map(self._completed, self.stages))

    @property
    def doubled(self) -> str:
        """The override that makes the run, or its last stage, twice as long: `until=128k`, `stages.1.for=20 epochs`."""
        if self.until is not None:
            return f"until={self.until.twice}"
        assert self.stages is not None
        return f"stages.{len(self.stages) - 1}.for={self.stages[-1].length.twice}"

    def _completed(self, stage: StageSpec) -> StageSpec:
        own = {key: value for key in ("penalties", *INHERITED) if (value := getattr(stage, key)) is not None}
        return stage.model_copy(update={key: getattr(self, key) for key in ("penalties", *INHERITED)} | own)

    @model_validator(mode="before")
    @classmethod
    def _lay_stages_on_job(cls, written: Any) -> Any:
        """A stage may give only the optimiser's keys that it changes."""
        if not isinstance(written, Mapping) or not isinstance(written.get("stages"), list | tuple):
            return written
        return {**written, "stages": [_laid(stage, written) for stage in written["stages"]]}

    @model_validator(mode="after")
    def _fits_together(self) -> JobSpec:
        found = find_conflicts(self.model_dump())
        if found:
            raise PydanticCustomError(CONFLICT, "{text}", {"text": "; ".join(": ".join(one) for one in found)})
        return self


def _laid(stage: Any, job: Mapping[str, Any]) -> Any:
    if not isinstance(stage, Mapping):
        return stage
    both = [key for key in INHERITED if isinstance(stage.get(key), dict) and isinstance(job.get(key), dict)]
    lay = {"optimizer": laid_on, "every": merge_values}
    return {**stage, **{key: lay[key](job[key], stage[key]) for key in both}}


def find_conflicts(job: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(key, message) of every impossible combination in plain values, which may have other faults."""
    found = [*_what_is_trained(job), *_sizes(job), *_stage_names(job), *_stage_networks(job)]
    return [*found, *_frozen_networks(job), *_snapshots(job)]


def _what_is_trained(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    given = {key for key in ("objective", "until", "stages") if job.get(key) is not None}
    if "stages" in given:
        for key, place in (("objective", "stages.0.objective"), ("until", "stages.0.for")):
            if key in given:
                yield (
                    key,
                    f"give either `objective` and `until`, or `stages`, not both; in the first stage it is {place}",
                )
    elif "objective" not in given:
        yield "objective", "required, but missing (or give `stages`)"
    elif "until" not in given:
        yield (
            "until",
            "required, but missing; say how long to train, such as 64k, '150 epochs' or '2000 steps'",
        )


def _sizes(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    batch, micro = _count(job.get("batch")), _count(job.get("micro_batch"))
    if batch and micro and micro > batch:
        yield "micro_batch", f"{micro} is larger than the batch of {batch} that it is a part of"
    resources = job.get("resources")
    workers = resources.get("workers") if isinstance(resources, Mapping) else None
    fewest = _count(workers.get("min") if isinstance(workers, Mapping) else workers)
    if batch and fewest and fewest > batch:
        yield "resources.workers", f"{fewest} workers cannot share a batch of {batch}; each needs a sample"
    if isinstance(resources, Mapping) and resources.get("autoscale") is True and job.get("sweep") is not None:
        yield "resources.autoscale", "trials share the nodes that are there; start them first, and leave this out"


def _stage_names(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    names = Counter(str(stage["name"]) for stage in _stages(job) if stage.get("name"))
    for name, times in names.items():
        if times > 1:
            yield "stages", f"{times} stages are named '{name}'; names must differ"


def _network_names(job: Mapping[str, Any]) -> list[str]:
    further = job.get("networks")
    known = ["generator", *(["discriminator"] if job.get("discriminator") is not None else [])]
    return known + (list(further) if isinstance(further, Mapping) else [])


def _frozen_networks(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    frozen, known = job.get("freeze"), _network_names(job)
    for name in frozen if isinstance(frozen, Mapping) else ():
        if name not in known:
            yield f"freeze.{name}", f"the job has no network {name!r}{suggestion(str(name), known)}"


def _snapshots(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    averages = job.get("ema")
    listed = averages if isinstance(averages, list | tuple) else [averages]
    if any(isinstance(one, Mapping) and one.get("sigma") is not None for one in listed):
        return
    for place, section in (("", job), *((f"stages.{number}.", one) for number, one in enumerate(_stages(job)))):
        every = section.get("every")
        if isinstance(every, Mapping) and every.get("snapshot") is not None:
            yield (
                f"{place}every.snapshot",
                "keeps averages by sigma, and the job's ema has none; give ema: [{sigma: 0.05}, {sigma: 0.10}]",
            )


def _stage_networks(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    known = _network_names(job)
    for place, stage in enumerate(_stages(job)):
        train = stage.get("train")
        for name in train if isinstance(train, list | tuple) else ():
            if name not in known:
                yield f"stages.{place}.train", f"the job has no network {name!r}{suggestion(str(name), known)}"


def _stages(job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    stages = job.get("stages")
    return [one for one in stages if isinstance(one, Mapping)] if isinstance(stages, list | tuple) else []


def _count(value: object) -> int | None:
    """A whole number as it is written, also as 1e3; None for all else."""
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
    return int(value) if whole else None  # type: ignore[call-overload]
