"""A trained generator with what is known of it, and how one is loaded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.data.encoding.image import encode
from gan_dist.data.encoding.text import decode_lines
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.facts import DataFacts, PairFacts, TextFacts, facts_from_record
from gan_dist.data.ingest import Ingest, Memory, load_into_memory
from gan_dist.data.prepare import prepare_or_load
from gan_dist.errors import CheckpointError, DataError, UsageError
from gan_dist.generation import exported_model
from gan_dist.generation.exported_model import is_exported
from gan_dist.generation.paired_samples import real_rows
from gan_dist.generation.samples import generate_chunks
from gan_dist.networks.text.autoregressive import SamplingOptions
from gan_dist.registry.build import build_networks
from gan_dist.registry.lookup import add_import_roots
from gan_dist.runs.checkpoint import Checkpoint, load_weights, newest
from gan_dist.runs.index import find_run
from gan_dist.runs.run_folder import PREPARED, RunFolder
from gan_dist.runs.storage import Folder, home
from gan_dist.spec.job import JobSpec
from gan_dist.spec.problems import nearest_name


class Model:
    """A trained generator with what is known of it.

    Attributes:
        facts: of the data it was trained on.
        seen: samples it had seen.
        uri: of its checkpoint, or of the folder it was exported to.
        name: the id of its run.
    """

    def __init__(self, generator: nn.Module, spec: JobSpec, facts: DataFacts, seen: int, uri: str, name: str) -> None:
        self.generator, self.spec, self.facts, self.seen, self.uri = generator, spec, facts, seen, uri
        self.classes, self.name = facts.classes, name

    def sample(self, n: int, seed: int = 0, cls: int | str | None = None) -> Tensor:
        """Samples, uint8 [n, C, H, W] or token ids [n, T], the same for a seed. Classes go round unless one is given.

        Raises:
            ValueError: the model has no such class.
        """
        return torch.cat(list(self.sample_chunks(n, seed, cls)))

    def sample_chunks(self, n: int, seed: int = 0, cls: int | str | None = None, first: int = 0) -> Iterator[Tensor]:
        """The same samples a few at a time, for numbers that memory would not hold.

        Args:
            first: number of the first one, a multiple of 64; any stretch of a seed's samples can be made alone.

        Raises:
            ValueError: the model makes pictures of other pictures, or has no such class.
        """
        if isinstance(self.facts, PairFacts):
            raise UsageError(
                f"{self.name} makes pictures of other pictures; name them: --inputs FOLDER, or made_of(pictures)"
            )
        device = next(self.generator.parameters()).device
        return generate_chunks(self.generator, n, seed, self.classes_of(n, cls, first), device, first)

    def made_of(self, pictures: Tensor, seed: int = 0, first: int = 0) -> Tensor:
        """What a model of pairs makes of pictures, uint8 [n, C, H, W] both.

        Args:
            first: number of the first one, a multiple of 64; noise belongs to the seed and the number.

        Raises:
            ValueError: the model makes nothing of pictures, or their shape is not that of its inputs.
        """
        facts = self.facts
        if not isinstance(facts, PairFacts):
            raise UsageError(f"{self.name} makes {facts.described} of noise alone; use sample()")
        wanted = (facts.input_channels, facts.size, facts.size)
        if tuple(pictures.shape[1:]) != wanted or pictures.dtype != torch.uint8:
            raise UsageError(
                f"pictures: {tuple(pictures.shape)} {pictures.dtype}; {self.name} wants uint8 [n, "
                f"{', '.join(map(str, wanted))}]"
            )
        like = next(self.generator.parameters())
        given = encode(pictures, like.device, like.dtype)
        return torch.cat(list(generate_chunks(self.generator, len(given), seed, given, like.device, first)))

    def sentences(self, n: int, seed: int = 0, cls: int | str | None = None) -> list[str]:
        """The same samples of a text model, as people write them.

        Raises:
            ValueError: the model makes images.
        """
        if not isinstance(self.facts, TextFacts):
            raise UsageError(f"{self.name} makes {self.facts.described}; use sample()")
        return decode_lines(self.sample(n, seed, cls), self.facts.codec)

    def draw_with(
        self, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0, prefix: str = ""
    ) -> Model:
        """This text model, with its tokens drawn otherwise from now on.

        Args:
            temperature: divides the logits; below 1 sentences are likelier and more alike.
            top_k, top_p: only the likeliest tokens are drawn: so many, or those that make up this probability.
            prefix: what every sentence begins with.

        Raises:
            ValueError: it does not write token by token, a number is out of range, or a word of the prefix is unknown.
        """
        generator: Any = self.generator
        if not isinstance(self.facts, TextFacts) or not hasattr(generator, "drawing"):
            raise UsageError(
                f"temperature, top-k, top-p and prefix want a generator that writes token by token; {self.name}'s is "
                f"{self.spec.generator.use!r}"
            )
        codec = self.facts.codec
        words = codec.splitting.split(prefix)
        if unknown := [word for word in words if word not in codec.ids]:
            near = nearest_name(unknown[0], codec.ids)
            guess = f"; did you mean {near!r}?" if near else ""
            raise UsageError(f"prefix: {unknown[0]!r} is not among the {len(codec.ids):,} tokens of the model{guess}")
        if len(words) >= codec.length:
            raise UsageError(f"prefix: {len(words)} tokens leave nothing to write of {codec.length}")
        generator.drawing = SamplingOptions(temperature, top_k, top_p, tuple(codec.ids[word] for word in words))
        return self

    def classes_of(self, n: int, cls: int | str | None = None, first: int = 0) -> Tensor | None:
        """The class of each of n samples from `first` on, [n]: they go round, unless one is given.

        Raises:
            ValueError: the model has no such class.
        """
        if cls is None:
            return torch.arange(first, first + n) % len(self.classes) if self.classes else None
        names = list(self.classes)
        number = names.index(str(cls)) if str(cls) in names else cls
        if not isinstance(number, int) or not 0 <= number < len(names):
            known = f"its classes: {', '.join(names)}" if names else "it is not class-conditional"
            raise UsageError(f"class {cls!r}: the model has no such class; {known}")
        return torch.full((n,), number)


def load(run: str | Path | RunFolder, weights: str = "ema", truncation: float | None = None) -> Model:
    """The generator of a run (id, beginning of one, `last`, folder), of a checkpoint's folder, or of an exported one.

    Args:
        weights: "ema" for the moving average where there is one, "raw" for the trained weights.
        truncation: in [0, 1], in place of the job's: less makes samples more alike and fewer of them bad. Only
            generators that have one take it.

    Raises:
        ValueError: the generator has no truncation, or it is out of range.
        NoSuchRun: there is no such run.
        CheckpointError: it has no whole checkpoint.
    """
    if weights not in ("ema", "raw"):
        raise UsageError(f"weights: {weights!r}; allowed: ema, raw")
    if not isinstance(run, RunFolder) and exported_model.is_exported(run):
        known = exported_model.read_exported(run)
        generator = _built(known.spec, known.facts, known.tensors, exported_model.WEIGHTS, truncation)
        return Model(generator, known.spec, known.facts, known.seen, str(run), known.run)
    found = _checkpoint(run)
    spec, facts = JobSpec.model_validate(found.meta["job"]), facts_from_record(found.meta["data"])
    name = "generator_ema" if weights == "ema" and found.has("generator_ema.safetensors") else "generator"
    generator = _built(spec, facts, found.tensors(name), name, truncation)
    return Model(generator, spec, facts, found.seen, found.folder.uri, found.folder.uri.split("/")[-3])


def _built(
    spec: JobSpec, facts: DataFacts, tensors: dict[str, Tensor], name: str, truncation: float | None
) -> nn.Module:
    """The job's generator with these weights, in evaluation mode."""
    add_import_roots([spec.environment.code or "."])
    generator = build_networks(spec, facts)["generator"]
    if truncation is not None:
        _truncate(generator, spec.generator.use, truncation)
    if any(tensor.dtype == torch.float64 for tensor in tensors.values()):
        generator.double()
    load_weights(generator, tensors, name)
    return generator.eval().requires_grad_(False)


def _truncate(generator: Any, use: str, truncation: float) -> None:
    if not hasattr(generator, "truncation"):
        raise UsageError(f"truncation: {truncation}; the run's generator {use!r} has none; stylegan2 has")
    if not 0 <= truncation <= 1:
        raise UsageError(f"truncation: {truncation} must be in [0, 1]")
    generator.truncation = truncation


def _checkpoint(run: str | Path | RunFolder) -> Checkpoint:
    if isinstance(run, RunFolder):
        folder = run
    elif (at := Folder.at(run)).exists("meta.json"):
        return Checkpoint(at)
    else:
        folder = find_run(str(run))
    found = newest(folder.checkpoints(), lambda text: warnings.warn(text, stacklevel=3))
    if found is None:
        raise CheckpointError(f"run {folder.id} has no checkpoint yet ({folder.uri})")
    return found


def prepared_beside(model: Model) -> Folder:
    """Where decoded data are kept: beside the model's run, or, of one that has left its run, in our home."""
    if is_exported(model.uri):
        return Folder.at(home()).child(PREPARED)
    return RunFolder(Folder(model.uri.rsplit("/", 2)[0])).prepared()


def training_data(model: Model) -> Ingest:
    """Real samples of what the run's generator makes. Raises what `trained_on` raises."""
    return real_rows(trained_on(model))


def trained_on(model: Model) -> Memory:
    """What the run was trained on, as it was prepared for it, or prepared now.

    Raises:
        DataError: it is no longer there, or has changed.
    """
    data = prepare_or_load(model.spec.data, prepared_beside(model), write_shards_on_processes, lambda done, total: None)
    if data.facts.checksum != model.facts.checksum:
        remedy = "put it back" if isinstance(model.facts, TextFacts) else "name B"
        raise DataError(f"data.source: {model.spec.data.source!r} is not what {model.name} was trained on; {remedy}")
    return load_into_memory(data, 0, 1)
