"""What would fail later, said before the workers start."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from gan_dist.data.codec import Codec
from gan_dist.data.facts import DataFacts, ImageFacts, PairFacts, TextFacts, UnpairedFacts, facts_from_record
from gan_dist.data.order import epoch_samples
from gan_dist.data.sources.builtin import stand_in
from gan_dist.data.text.held_out import check_held_out_exists
from gan_dist.distributed.lanes import lanes_of
from gan_dist.distributed.machine import total_memory
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.errors import CheckpointError, DataError
from gan_dist.execution.text_memory import GIB, step_memory
from gan_dist.execution.user_code import source_line, told
from gan_dist.generation.modality import modality_of
from gan_dist.registry import lookup
from gan_dist.registry.aliases import ALIASES, Kind
from gan_dist.registry.build import build_networks
from gan_dist.registry.lookup import load_object, resolve_target
from gan_dist.registry.signatures import read_constant
from gan_dist.runs.checkpoint import newest_described
from gan_dist.runs.request import READING, made_otherwise
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import DataSpec, PictureData
from gan_dist.spec.image_size import show_size
from gan_dist.spec.job import JobSpec
from gan_dist.spec.schedules import Clock
from gan_dist.training.batch_norm_statistics import batch_norms_of
from gan_dist.training.stages import Stage, build_stages

if TYPE_CHECKING:
    from gan_dist.evaluation.metric_runner import MetricRunner

BATCH = 2


def data_problems(spec: JobSpec, facts: DataFacts, workers: int, folder: RunFolder) -> list[str]:
    """Everything that would fail once the data are known."""
    found = batch_problems(spec, facts, workers) + network_problems(spec, facts)
    return found + resume_problems(folder, facts) + metric_problems(spec, facts) + held_out_problems(facts)


def assumed_problems(spec: JobSpec) -> list[str]:
    """What is wrong with the networks whatever the data turn out to be, before these are read."""
    found: list[str] = []
    for facts in _assumed_facts(spec.data, spec.batch):
        if not (found := network_problems(spec, facts)):
            return []
    return found


def _assumed_facts(data: DataSpec, batch: int) -> Iterator[DataFacts]:
    """What the data may be: grey or coloured where the job leaves it open."""
    contents = stand_in(data, batch).contents
    common: dict[str, Any] = {"count": batch, "checksum": "", "classes": contents.classes, "stand_in": True}
    common["class_counts"] = (batch,) * len(contents.classes)
    form = contents.form
    if isinstance(form, Codec):
        yield TextFacts(**common, codec=form, **contents.notes)
        return
    assert isinstance(data, PictureData)
    for channels in (1, 3, 4) if data.channels == "auto" else (data.channels,):
        known = common | {"size": form.size, "channels": channels}
        if contents.domains:
            yield UnpairedFacts(**known | {"count": 2 * batch}, input_channels=channels, target_count=batch)
        else:
            yield PairFacts(**known, input_channels=channels) if form.pair else ImageFacts(**known)


def batch_problems(spec: JobSpec, facts: DataFacts, workers: int) -> list[str]:
    """Whether batch, data and workers fit together."""
    found = []
    if facts.largest_batch < spec.batch:
        what = "the smaller of both domains" if isinstance(facts, UnpairedFacts) else "the data"
        told = f"{facts.largest_batch} samples in {spec.data.source!r}"
        found.append(f"batch: {spec.batch} is larger than {what} ({told})")
    most = len(lanes_of(spec.batch))
    if workers > most:
        found.append(f"resources.workers: batch {spec.batch} gives work to at most {most} workers, not {workers}")
    return found


# What other versions of the libraries that read files can change though the files are the same.
READ_BY_LIBRARIES = ("codec", "count", "checksum")


def resume_problems(folder: RunFolder, facts: DataFacts) -> list[str]:
    """Whether the run can go on: some checkpoint can be used, if any is stored, and was trained on these data."""
    try:
        newest = newest_described(folder.checkpoints())
    except CheckpointError as error:
        return [str(error)]
    if newest is None:
        return []
    before = facts_from_record(newest.meta["data"])
    for key in ("size", "channels", "input_channels", "codec", "oracle", "count", "checksum"):
        was, now = getattr(before, key, None), getattr(facts, key, None)
        if was != now:
            was, now = (show_size(one) if isinstance(one, tuple) else one for one in (was, now))
            told = f"{key} was {was} and is now {now}" if key != "codec" else "their tokens mean something else"
            if key in READ_BY_LIBRARIES and (others := made_otherwise(newest.meta, READING)):
                return [
                    f"data.source: they are read here as other samples than this run was trained on ({told}); it was "
                    f"made by {others}, which may read the same files otherwise; resume it with those versions, or "
                    "begin a new run with its weights: --from"
                ]
            return [f"data.source: the data are not those this run was trained on: {told}"]
    return []


def earlier_window(folder: RunFolder) -> int | None:
    """How many shards the order of the run's earlier attempts mixes at a time (0: all); None for a fresh run."""
    try:
        newest = newest_described(folder.checkpoints())
    except CheckpointError:
        return None
    return None if newest is None else int(newest.meta["data"].get("window", 0))


def network_problems(spec: JobSpec, facts: DataFacts) -> list[str]:
    """Whether the networks can be built and fit together at this size; run on the meta device, without memory."""
    lookup.add_import_roots([spec.environment.code or "."])
    try:
        with torch.device("meta"):
            networks = build_networks(spec, facts)
        clock = Clock(spec.batch, max(spec.batch, epoch_samples(facts.pass_length, spec.batch)))
        stages = build_stages(spec, clock, networks)
    except (ValueError, TypeError) as error:
        return [str(error)]
    found = _stage_problems(stages, networks) + augment_problems(stages, facts)
    wrong, made = _shape_problems(networks, facts)
    found += wrong
    if spec.standing is not None and not batch_norms_of(networks["generator"]):
        found.append(f"standing: generator '{spec.generator.use}' has no batch normalisation; leave `standing` out")
    if found or made is None:
        return found
    return list(text_problems(spec, facts=facts, stages=stages, networks=networks, made=made))


def metric_problems(spec: JobSpec, facts: DataFacts) -> list[str]:
    """Whether the job's metrics can be built and have samples enough."""
    if not spec.metrics:
        return []
    from gan_dist.distributed.runtime import LocalRuntime
    from gan_dist.evaluation.metric_runner import MetricRunner

    roots = [spec.environment.code or "."]
    lookup.add_import_roots(roots)
    run = LocalRuntime(torch.device("cpu"), lambda event: None, lambda: False)
    try:
        compared = modality_of(facts).real_facts
        measuring = MetricRunner(metrics=spec.metrics, facts=compared, cache=Folder(""), run=run, roots=roots)
    except (ValueError, TypeError) as error:
        return [str(error)]
    return measuring.problems() or list(_own_metric_problems(measuring))


def held_out_problems(facts: DataFacts) -> list[str]:
    """Whether the test sentences are there; until the run is evaluated nobody reads them."""
    if not isinstance(facts, TextFacts) or facts.test is None or facts.stand_in:
        return []
    try:
        check_held_out_exists("test", facts.test["where"])
    except DataError as error:
        return [str(error)]
    return []


def _own_metric_problems(measuring: MetricRunner) -> Iterator[str]:
    """What a person's own metrics and features get wrong, tried on noise: else it would show hours later."""
    for one in measuring.built:
        if ":" in one.spec.use + one.spec.features.use:
            try:
                measuring.try_out(one)
            except Exception as error:
                raised = f"raised {told(error)}"
                yield f"metrics: '{one.spec.use}' with features '{one.spec.features.use}' {raised}"


def parameter_counts(spec: JobSpec, facts: DataFacts) -> dict[str, int]:
    """Parameters of each network."""
    with torch.device("meta"):
        networks = build_networks(spec, facts)
    return {name: sum(p.numel() for p in net.parameters()) for name, net in networks.items()}


def describe(spec: JobSpec, facts: DataFacts, workers: int, device: str) -> list[str]:
    """The plan in a few lines, for people."""
    labels = f", {len(facts.classes)} classes" if facts.classes else ", no labels"
    if facts.vectors:
        labels = f", a vector of {len(facts.vectors[0])} each"
    rejected = f", {len(facts.rejected)} rejected" if facts.rejected else ""
    clock = Clock(spec.batch, epoch_samples(facts.pass_length, spec.batch))
    ends = sum(clock.samples(stage.length) for stage in spec.phases_plan)
    steps = math.ceil(ends / spec.batch)
    epochs = "" if facts.stand_in else f" = {ends / clock.epoch:,.1f} epochs"
    sizes = ", ".join(f"{name} {count / 1e6:.2f}M" for name, count in parameter_counts(spec, facts).items())
    source = "a stand-in of random samples" if facts.stand_in else repr(spec.data.source)
    return [
        f"data      {source}: {facts.count:,} {facts.described}{labels}{rejected}",
        f"networks  {sizes} parameters",
        f"plan      {ends:,} samples = {steps:,} iterations of {spec.batch}{epochs}",
        f"workers   {workers} on {device}",
        *_memory_line(spec, facts, workers, device),
        *[f"          rejected {name}: {why}" for name, why in facts.rejected[:10]],
        *[f"          read {remark}" for remark in facts.remarks],
    ]


def _memory_line(spec: JobSpec, facts: DataFacts, workers: int, device: str) -> Iterator[str]:
    """What a worker of a text job takes of memory, as far as its networks and objectives can be looked at."""
    if not isinstance(facts, TextFacts):
        return
    try:
        found = step_memory(spec, facts, workers)
    except Exception as error:
        yield f"memory    not known beforehand, --smoke measures it: {told(error)}"
        return
    if found is not None:
        yield f"memory    {found.describe(on_cpu=device.lower() == 'cpu')}"


def _stage_problems(stages: list[Stage], networks: Mapping[str, nn.Module]) -> list[str]:
    found = []
    for stage in stages:
        trained = {name for phase in stage.phases for name in phase.train}
        found += [f"objective: {stage.name} trains {n!r}, which the job has not" for n in trained - set(networks)]
        found += _lacking(stage, networks)
        for one in stage.objectives:
            asked: Any = getattr(one.objective, "problems", lambda networks: ())
            found += [f"objective: {one.label}: {text}" for text in asked(networks)]
        for lazy in stage.penalties:
            phase = next((one for one in stage.phases if one.name == lazy.penalty.phase), None)
            if phase is None:
                found.append(
                    f"penalties: {lazy.label} belongs to phase {lazy.penalty.phase!r}, which {stage.name} has not; "
                    "give that stage penalties of its own, or []"
                )
            elif getattr(lazy.penalty, "second_order", True) and any(
                _has_batch_norm(networks[name]) for name in phase.train if name in networks
            ):
                found.append(
                    f"penalties: {lazy.label} differentiates a network with batch normalisation, whose samples "
                    "depend on each other; give the discriminator `norm: none`"
                )
    return found


def _lacking(stage: Stage, networks: Mapping[str, nn.Module]) -> Iterator[str]:
    """Methods beyond the contracts that objectives and penalties call, and networks have not."""
    parts: list[tuple[str, str, object]] = [("objective", one.label, one.objective) for one in stage.objectives]
    parts += [("penalties", one.label, one.penalty) for one in stage.penalties]
    for key, label, part in parts:
        for name, methods in getattr(part, "needs_methods", {}).items():
            lacking = [method for method in methods if name in networks and not hasattr(networks[name], method)]
            if lacking:
                yield f"{key}: {label} needs a {name} with {' and '.join(lacking)}{_example(name, lacking)}"


def _example(kind: str, methods: Sequence[str]) -> str:
    """A shipped network that has these methods, for a message: `, as lstm has it`."""
    for alias, target in ALIASES.get(cast(Kind, kind), {}).items():
        if all(hasattr(load_object(target), method) for method in methods):
            return f", as {alias} has it"
    return ""


def _shape_problems(networks: Mapping[str, nn.Module], facts: DataFacts) -> tuple[list[str], Tensor | None]:
    """What is wrong with the shapes of samples and of D's answers; and samples as they are made in training."""
    generator: Any = networks["generator"].eval()
    want = (BATCH, *facts.shape)
    try:
        made = _made(generator, facts)
    except Exception as error:
        return [f"generator: cannot make {BATCH} samples: {told(error)}"], None
    if not isinstance(made, Tensor) or tuple(made.shape) != want:
        shape = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        wanted = f"where the data are {want} {modality_of(facts).shape_words}"
        return [f"generator: makes {shape} {wanted}{_place(generator)}"], None
    # In training a generator may give relaxed samples, such as rows of the vocabulary in place of token ids.
    trained: Tensor = _made(generator.train(), facts)
    if "discriminator" not in networks:
        return [], trained
    return _discriminated(networks, made, facts) or _discriminated(networks, trained, facts), trained


def _made(generator: Any, facts: DataFacts) -> Any:
    """Samples on the meta device."""
    noise = _to_meta(generator.draw(BATCH, single_lane_rng(("preflight",), BATCH, torch.device("cpu"))))
    return generator(noise, modality_of(facts).example_conditions(BATCH, None))


def _discriminated(networks: Mapping[str, nn.Module], made: Tensor, facts: DataFacts) -> list[str]:
    """What is wrong with D's answer to some samples."""
    try:
        logits = networks["discriminator"](made, modality_of(facts).example_conditions(BATCH, None))
    except Exception as error:
        return [f"discriminator: cannot judge samples of {tuple(made.shape)}: {told(error)}"]
    if not isinstance(logits, Tensor) or logits.ndim < 1 or logits.shape[0] != BATCH:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        return [
            f"discriminator: gives {shape} for {BATCH} samples where logits [B] or [B, ...] are wanted"
            + _place(networks["discriminator"])
        ]
    return []


def _place(network: nn.Module) -> str:
    """Where a network of a person's own is written, for a message; nothing for one of ours."""
    place = source_line(type(network).forward) or source_line(type(network))
    return f" ({place})" if place else ""


def _has_batch_norm(network: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def _to_meta(noise: Any) -> Any:
    if isinstance(noise, Tensor):
        return noise.to("meta")
    if isinstance(noise, dict):
        return {key: _to_meta(value) for key, value in noise.items()}
    return type(noise)(_to_meta(value) for value in noise)


def augment_problems(stages: list[Stage], facts: DataFacts) -> list[str]:
    """Whether the augmentation gives pictures back; tried on noise, as it is cheap."""
    augment = stages[0].augment
    if augment is None:
        return []
    if not isinstance(facts, ImageFacts):
        return [f"augment: changes pictures, but the data are {facts.described}; remove it"]
    if isinstance(facts, PairFacts):
        return ["augment: would change a picture and not the one it is made of; remove it, or use data.xflip"]
    rng = single_lane_rng(("preflight",), BATCH, torch.device("cpu"))
    pictures = rng.uniform(*facts.shape)
    try:
        changed: Any = augment(pictures, rng)
    except Exception as error:
        return [f"augment: cannot change images of {tuple(pictures.shape)}: {told(error)}"]
    if not isinstance(changed, Tensor) or changed.shape != pictures.shape:
        shape = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        return [f"augment: makes {shape} of images {tuple(pictures.shape)} [B, C, H, W]; it must keep the shape"]
    return []


PASSES = 4  # rows of the vocabulary that a step holds at once: real, generated, and the gradients of both


def text_problems(
    spec: JobSpec, *, facts: DataFacts, stages: list[Stage], networks: Mapping[str, nn.Module], made: Tensor
) -> Iterator[str]:
    """Every such problem of a job.

    Args:
        made: what the generator gives in training, ids [B, T] or rows of the vocabulary [B, T, V].
    """
    relaxed = made.is_floating_point()
    if not hasattr(networks["generator"], "log_prob"):
        for metric in spec.metrics:
            if (
                read_constant(resolve_target("metric", metric.use), "needs", [spec.environment.code or "."])
                == "generator"
            ):
                yield f"metrics: {metric.use} needs a generator with log_prob, as lstm has it; remove it"
    for stage in stages:
        if isinstance(facts, TextFacts) and not relaxed:
            yield from _differentiating(stage)
        for weighted in stage.objectives:
            own = {phase.name for phase in weighted.objective.phases}
            trains_through = any("generator" in phase.train for phase in stage.phases if phase.name in own)
            for_text = getattr(weighted.objective, "modality", "image") == "text"
            if for_text and not isinstance(facts, TextFacts):
                yield f"objective: {weighted.label} is for text, but the data are {facts.described}"
            elif relaxed and getattr(weighted.objective, "from_tokens", False):
                yield (
                    f"objective: {weighted.label} learns from token ids, but the generator gives rows of the "
                    "vocabulary; set generator.relax: none"
                )
            elif isinstance(facts, TextFacts) and not for_text and trains_through and not relaxed:
                yield (
                    f"objective: {weighted.label} trains the generator through its samples, but token ids carry no "
                    "gradient; set generator.relax to gumbel or straight_through, or use seqgan or scratchgan"
                )
            if isinstance(facts, TextFacts) and for_text:
                yield from _logits_of_each_token(weighted.label, weighted.objective, networks, facts)
    if isinstance(facts, TextFacts) and relaxed:
        yield from _too_large(spec, facts)


def _differentiating(stage: Stage) -> Iterator[str]:
    """Penalties that want a gradient by samples, where these are token ids."""
    for lazy in stage.penalties:
        if getattr(lazy.penalty, "second_order", True):
            yield (
                f"penalties: {lazy.label} differentiates by samples, but {stage.name} works on token ids; remove it, "
                "or relax the generator and use an adversarial objective"
            )


def _logits_of_each_token(
    label: str, objective: Any, networks: Mapping[str, nn.Module], facts: TextFacts
) -> Iterator[str]:
    """Objectives that want a logit for each token, and a D that gives another number."""
    if not getattr(objective, "logits_per_token", False) or "discriminator" not in networks:
        return
    cond = modality_of(facts).example_conditions(1, None)
    tokens = torch.zeros(1, facts.codec.length, dtype=torch.int64, device="meta")
    shape = tuple(networks["discriminator"](tokens, cond).shape)
    if shape != tuple(tokens.shape):
        yield (
            f"objective: {label} wants a discriminator with a logit for each token [B, {facts.codec.length}], not "
            f"[B{''.join(f', {size}' for size in shape[1:])}]; use textlstm"
        )


def _too_large(spec: JobSpec, facts: TextFacts) -> Iterator[str]:
    rows = facts.codec.length * len(facts.codec.vocabulary) * 4 * PASSES
    held, room = spec.batch * rows, total_memory()
    if spec.micro_batch == "auto" and held > room:
        yield (
            f"data.vocabulary: {len(facts.codec.vocabulary):,} tokens at each of {facts.codec.length} places for a "
            f"batch of {spec.batch} are {held / GIB:.0f} GiB of relaxed samples, more than this machine's "
            f"{room / GIB:.0f}; raise data.min_count, set micro_batch, or use seqgan or scratchgan, which need none"
        )
