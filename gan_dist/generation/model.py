"""A trained generator with what is known of it, how one is loaded, and the data it was trained on."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from html import escape
from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.data.encoding.image import encode, encode_png
from gan_dist.data.encoding.text import encode_prompts
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.facts import DataFacts, PairFacts, TextFacts, check_codec, facts_from_record
from gan_dist.data.ingest import Ingest, Memory, load_into_memory
from gan_dist.data.prepare import Prepared
from gan_dist.data.shards import read_shard
from gan_dist.errors import CheckpointError, DataError, UnreadableSample, UsageError
from gan_dist.generation import exported_model
from gan_dist.generation.chosen_weights import parse_weights, read_weights
from gan_dist.generation.codec_source import prepare_for_job
from gan_dist.generation.exported_model import is_exported
from gan_dist.generation.hub import fetch_model, is_on_hub
from gan_dist.generation.modality import modality_of
from gan_dist.generation.samples import generate_chunks, known_conditions
from gan_dist.networks.text.autoregressive import SamplingOptions
from gan_dist.registry.build import KINDS, build_networks
from gan_dist.registry.lookup import add_import_roots, check_arguments
from gan_dist.registry.slots import those_with
from gan_dist.registry.trust import check_trust, foreign_code
from gan_dist.runs.checkpoint import Checkpoint, check_weights, load_weights, newest
from gan_dist.runs.code import stored_code, unpack_code
from gan_dist.runs.index import find_run
from gan_dist.runs.run_folder import PREPARED, RunFolder
from gan_dist.runs.storage import Folder, home
from gan_dist.spec.data import is_own_data
from gan_dist.spec.job import JobSpec
from gan_dist.spec.problems import nearest_name

SHOWN = 8
INVERSE = "inverse"  # the network of `cyclegan` that makes the target's pictures into the source's
LOADED, BACKWARD = ("generator", "data.encode"), (f"networks.{INVERSE}",)  # parts of a job whose code a model runs
ClassLabel = int | str | Sequence[float] | None
Prompts = str | Sequence[str] | None


class Model:
    """A trained generator with what is known of it.

    Attributes:
        generator: makes samples, a plain `nn.Module` in evaluation mode.
        network: what was trained: the generator itself, or, of latents, what it decodes.
        spec: the job that trained it.
        facts: of the data it was trained on.
        classes: names of the classes; empty when unconditional.
        seen: samples it had seen.
        uri: of its checkpoint, or of the folder it was exported to.
        name: the id of its run.
        trusted: whether somebody vouched for the code that its job names.

    Example:
        >>> model = gan_dist.load("last")
        >>> pixels = model.sample(64, seed=1)  # uint8 [64, C, H, W]; from a text model, 64 strings
    """

    def __init__(
        self, *, generator: nn.Module, spec: JobSpec, facts: DataFacts, seen: int, uri: str, name: str
    ) -> None:
        self.spec, self.facts, self.seen, self.uri = spec, facts, seen, uri
        self.classes, self.name, self.modality = facts.classes, name, modality_of(facts)
        self.network = generator
        self.generator: nn.Module = self.modality.seen(generator, next(generator.parameters()).device)
        self.trusted, self._drawing = False, False

    def __repr__(self) -> str:
        return f"Model({self.spec.generator.use} of {self.name}: {self.facts.described}, {self.seen:,} samples seen)"

    def check_trust(self, named: Sequence[str]) -> None:
        """Refuse code that the model's job names, as `load` does. Raises UsageError."""
        run_uri = "" if is_exported(self.uri) else self.uri.rsplit("/", 2)[0]
        check_trust(named, self.uri, run_uri, self.trusted)

    def _repr_png_(self) -> bytes | None:
        """Show a sheet of samples in a notebook; None where the samples are no pictures of noise alone."""
        if self.modality.needs_data:
            return None
        sheet = self.modality.sheet(self.generator, None, 0, self.device)[0]
        return None if isinstance(sheet, list) else encode_png(sheet)

    def _repr_html_(self) -> str | None:
        """Show some sentences in a notebook; None where the samples are pictures."""
        lines = None if self.modality.needs_data else self.sample(SHOWN)
        if not isinstance(lines, list):
            return None
        return f"<p>{escape(repr(self))}</p><ol>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ol>"

    @property
    def device(self) -> torch.device:
        """Where the generator computes."""
        return next(self.generator.parameters()).device

    def to(self, device: str | torch.device) -> Model:
        """Move the generator to a device; returns this model."""
        self.network.to(device)
        self.generator = self.modality.seen(self.network, self.device)
        return self

    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        class_label: ClassLabel = None,
        truncation: float | None = None,
        truncation_layers: Sequence[int] | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        prefix: str | None = None,
        allow_unk: bool = False,
        prompt: Prompts = None,
    ) -> Tensor | list[str]:
        """Draw samples, the same ones for a seed; sample i does not depend on n.

        Args:
            n: how many.
            seed: of their noise.
            class_label: name or number of the class of all of them, or, where the data have vectors, the K numbers of
                one; without it, classes go round, or some vectors of the data.
            truncation: in [0, 1], in place of the job's: less makes images more alike and fewer of them bad.
            truncation_layers: numbers of the layers whose styles it counts for; None for all.
            temperature: text only: divides the logits; below 1 sentences are likelier and more alike.
            top_k: text only: only so many of the likeliest tokens are drawn.
            top_p: text only: only the likeliest tokens that make up this probability are drawn.
            min_p: text only: only tokens with at least this share of the likeliest one's probability are drawn, in
                [0, 1] (Nguyen et al. 2024, arXiv 2407.01082).
            prefix: text only: what every sentence begins with.
            allow_unk: text only: whether `<unk>`, which stands for words outside the vocabulary, is drawn too.
            prompt: what sentences follow, of a model that learnt from prompts: one, or several, which go round; without
                it, some prompts of the data. It is no part of what is returned.

        Returns:
            Images as uint8 [n, C, H, W], or sentences as a list of strings.

        Raises:
            UsageError: there is no such class, the model knows no prompts or not the words of one, the generator has no
                such option, or a value is out of range.
        """
        with self.drawing(
            truncation=truncation,
            truncation_layers=truncation_layers,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            prefix=prefix,
            allow_unk=allow_unk,
        ):
            rows = torch.cat(list(self.sample_chunks(n, seed=seed, class_label=class_label, prompt=prompt)))
        return self.modality.to_public(rows)

    def sample_chunks(
        self, n: int, *, seed: int = 0, class_label: ClassLabel = None, prompt: Prompts = None, first: int = 0
    ) -> Iterator[Tensor]:
        """Draw the same samples 64 at a time, for numbers that memory would not hold: uint8 [64, C, H, W] or ids [64,
        T].

        Args:
            first: number of the first one, a multiple of 64; any range of a seed's samples can be made alone.

        Raises:
            UsageError: the model makes pictures of other pictures, has no such class, or knows no such prompt.
        """
        if self.modality.needs_data:
            raise UsageError(
                f"{self.name} makes pictures of other pictures; name them: --inputs FOLDER, or translate(images)"
            )
        conditions = self.conditions_of(n, class_label, first, prompt)
        return self._drawn(generate_chunks(self.generator, n, seed, conditions, self.device, first))

    def _drawn(self, chunks: Iterator[Tensor]) -> Iterator[Tensor]:
        """The chunks, each drawn with the options that hold when it is asked for."""
        while True:
            with nullcontext() if self._drawing else self.drawing():
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def translate(self, images: Tensor, *, seed: int = 0, first: int = 0) -> Tensor:
        """Make the counterpart of each image, by a model of pairs: uint8 [n, C, H, W] to uint8 [n, C, H, W].

        Args:
            images: of the size and channels of the inputs it was trained on.
            seed: of the noise, which belongs to the seed and the number of the image.
            first: number of the first image, a multiple of 64.

        Raises:
            UsageError: the model makes nothing of images, or their shape is not that of its inputs.
        """
        facts = self.facts
        if not isinstance(facts, PairFacts):
            raise UsageError(f"{self.name} makes {facts.described} of noise alone; use sample()")
        wanted = (facts.input_channels, *facts.shape[1:])
        if tuple(images.shape[1:]) != wanted or images.dtype != torch.uint8:
            raise UsageError(
                f"images: {tuple(images.shape)} {images.dtype}; {self.name} wants uint8 [n, "
                f"{', '.join(map(str, wanted))}]"
            )
        like = next(self.generator.parameters())
        given = encode(images, like.device, like.dtype)
        return torch.cat(list(generate_chunks(self.generator, len(given), seed, given, like.device, first)))

    @contextmanager
    def drawing(
        self,
        *,
        truncation: float | None = None,
        truncation_layers: Sequence[int] | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        prefix: str | None = None,
        allow_unk: bool = False,
    ) -> Iterator[None]:
        """Inside, samples are drawn with these options (see `sample`); afterwards as before."""
        generator: Any = self.network
        options: dict[str, Any] = {}
        if truncation is not None:
            options["truncation"] = self._checked_truncation(truncation)
        if truncation_layers is not None:
            options["truncation_layers"] = self._checked_layers(truncation_layers)
        of_text = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "prefix": prefix}
        given = {name: value for name, value in of_text.items() if value is not None}
        if given or allow_unk or self._writes_tokens:
            options["drawing"] = self._sampling_options(given, allow_unk)
        before, drawing = {name: getattr(generator, name) for name in options}, self._drawing
        self._drawing = True
        try:
            for name, value in options.items():
                setattr(generator, name, value)
            yield
        finally:
            self._drawing = drawing
            for name, value in before.items():
                setattr(generator, name, value)

    @property
    def _writes_tokens(self) -> bool:
        return isinstance(self.facts, TextFacts) and hasattr(self.generator, "drawing")

    def _checked_truncation(self, truncation: float) -> float:
        if not hasattr(self.generator, "truncation"):
            use = self.spec.generator.use
            others = those_with("generator", "truncation")
            raise UsageError(f"truncation: {truncation}; the run's generator {use!r} has none; {others}")
        if not 0 <= truncation <= 1:
            raise UsageError(f"truncation: {truncation} must be in [0, 1]")
        return truncation

    def _checked_layers(self, layers: Sequence[int]) -> Sequence[int]:
        generator: Any = self.generator
        if not hasattr(generator, "truncation_layers"):
            use = self.spec.generator.use
            others = those_with("generator", "truncation_layers")
            raise UsageError(f"truncation_layers: the run's generator {use!r} has no styles by layer; {others}")
        most = len(generator.layers)
        if not layers or not all(0 <= layer <= most for layer in layers):
            raise UsageError(f"truncation_layers: {list(layers)}; the generator has layers 0 to {most}")
        return layers

    def _sampling_options(self, given: dict[str, Any], allow_unk: bool) -> SamplingOptions:
        if not self._writes_tokens:
            raise UsageError(
                "temperature, top-k, top-p, min-p, prefix and allow-unk want a generator that writes token by token; "
                f"{self.name}'s is {self.spec.generator.use!r}"
            )
        assert isinstance(self.facts, TextFacts)
        codec = self.facts.codec
        prefix = given.pop("prefix", "")
        words = self._known_words("prefix", prefix) if prefix else []
        if len(words) >= codec.length:
            raise UsageError(f"prefix: {len(words)} tokens leave nothing to write of {codec.length}")
        never = () if allow_unk or codec.unknown is None else (codec.unknown,)
        return SamplingOptions(**given, prefix=tuple(codec.ids[word] for word in words), never=never)

    def conditions_of(
        self, n: int, class_label: ClassLabel = None, first: int = 0, prompt: Prompts = None
    ) -> Tensor | None:
        """The class of each of n samples from `first` on, [n], the vector, [n, K], or the prompt, [n, P]: those there
        are go round, unless some are given.

        Raises:
            UsageError: the model has no such class, or knows no such prompt.
        """
        known = known_conditions(self.facts)
        if prompt is not None:
            known = self._prompts([prompt] if isinstance(prompt, str) else list(prompt))
        if class_label is None:
            return None if known is None else known[torch.arange(first, first + n) % len(known)]
        if self.facts.vectors:
            return self._vector(class_label, n)
        names = list(self.classes)
        number: object = names.index(str(class_label)) if str(class_label) in names else class_label
        if not isinstance(number, int) or not 0 <= number < len(names):
            there = f"its classes: {', '.join(names)}" if names else "it is not class-conditional"
            raise UsageError(f"class {class_label!r}: the model has no such class; {there}")
        return torch.full((n,), number)

    def _prompts(self, asked: Sequence[str]) -> Tensor:
        """Prompts as token ids, [n, P]; a word that the model does not know is refused, as nothing can be made of it.

        Raises:
            UsageError: the model knows no prompts, or not the words of one; or one is empty or too long.
        """
        facts = self.facts
        if not isinstance(facts, TextFacts) or facts.codec.prompt is None:
            raise UsageError(f"prompt: {self.name} learnt from no prompts, as its job has no data.prompt; use prefix")
        if not asked:
            raise UsageError("prompt: there is none; give one or more")
        rows = []
        for number, one in enumerate(asked, 1):
            what = "prompt" if len(asked) == 1 else f"prompt {number} of {len(asked)}, {one!r}"
            words, most = self._known_words(what, one), facts.codec.prompt_length
            if len(words) > most and facts.codec.cut:
                warnings.warn(f"{what}: of its {len(words)} tokens the last {most} count", stacklevel=2)
            try:
                rows.append(encode_prompts([one], facts.codec))
            except UnreadableSample as error:
                raise UsageError(f"{what}: {error}") from error
        return torch.cat(rows)

    def _known_words(self, what: str, text: str) -> list[str]:
        """The tokens of a text. Raises UsageError where the model does not know one."""
        assert isinstance(self.facts, TextFacts)
        codec = self.facts.codec
        words = codec.splitting.split(text)
        if unknown := [word for word in words if word not in codec.ids]:
            near = nearest_name(unknown[0], codec.ids)
            guess = f"; did you mean {near!r}?" if near else ""
            raise UsageError(f"{what}: {unknown[0]!r} is not among the {len(codec.ids):,} tokens of the model{guess}")
        return words

    def _vector(self, asked: int | str | Sequence[float], n: int) -> Tensor:
        """A vector given as numbers, or as text with commas, for each of n samples, [n, K]."""
        width = len(self.facts.vectors[0])
        listed = asked.split(",") if isinstance(asked, str) else [asked] if isinstance(asked, int) else asked
        try:
            numbers = [float(one) for one in listed]
        except ValueError:
            numbers = []
        if len(numbers) != width or not all(map(math.isfinite, numbers)):
            raise UsageError(f"class {asked!r}: the model is conditioned on vectors of {width} finite numbers")
        return torch.tensor(numbers).expand(n, width)


def load(
    run: str | os.PathLike[str] | RunFolder,
    *,
    device: str | torch.device = "cpu",
    weights: str = "ema",
    backward: bool = False,
    trust_code: bool = False,
) -> Model:
    """Load the generator of a run, of a checkpoint's folder, or of an exported one, here or on a hub.

    Args:
        run: a `Run`, a run's id, a unique beginning of one, `last`, a folder or URI, or a model of a hub as
            `hf://USER/MODEL` or `hf://USER/MODEL@REVISION`.
        device: where the generator is to compute.
        weights: "ema" for the moving average where there is one, the first of several; "raw" for the trained weights;
            "ema:0.10" for the average of that width, made of the run's snapshots where it is none of its averages.
        backward: of two domains that were learnt both ways, the network that makes the target's pictures into the
            source's.
        trust_code: whether a generator or an autoencoder of somebody else's (`module:Name` in the job) may be imported
            and run.
            Runs in the local index are the person's own, and need no word.

    Raises:
        UsageError: an argument is wrong, or the model would run code that nobody vouched for.
        DataError: it is of latents of a person's own autoencoder, which its job does not name.
        NoSuchRun: there is no such run.
        CheckpointError: it has no whole checkpoint.
    """
    sigma = parse_weights(weights)
    run = run if isinstance(run, RunFolder) else os.fspath(run)
    if isinstance(run, str) and is_on_hub(run):
        run = str(fetch_model(run))
    if isinstance(run, str) and exported_model.is_exported(run):
        if sigma is not None:
            raise UsageError(f"weights: {weights!r}: {run!r} is exported, with one set of weights; name the run")
        if backward:
            raise UsageError(f"backward: {run!r} is exported, with the one network that was asked for; name the run")
        return _load_exported(run, trust_code).to(device)
    stored = _checkpoint(run)
    try:
        spec, facts = JobSpec.model_validate(stored.meta["job"]), facts_from_record(stored.meta["data"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {stored.folder.uri}: meta.json does not describe a run: {error}") from error
    uri = stored.folder.uri
    run_uri = uri.rsplit("/", 2)[0]
    check_trust(foreign_code(spec, BACKWARD if backward else LOADED), uri, run_uri, trust_code)
    check_codec(spec.data, facts)
    if backward:
        _check_backward(spec, uri)
        name, tensors, seen = INVERSE, stored.tensors(INVERSE), stored.seen
    else:
        name, tensors, seen = read_weights(stored, spec, weights)
    generator, spec = _built(spec, facts, tensors, name=name, run_uri=run_uri)
    found = Model(generator=generator, spec=spec, facts=facts, seen=seen, uri=uri, name=uri.split("/")[-3])
    found.trusted = trust_code
    return found.to(device)


def _load_exported(folder: str, trust_code: bool) -> Model:
    """An exported model; raises what `load` raises."""
    known = exported_model.read_exported(folder)
    check_trust(foreign_code(known.spec, LOADED), folder, "", trust_code)
    check_codec(known.spec.data, known.facts)
    generator, _ = _built(known.spec, known.facts, known.tensors, name=exported_model.WEIGHTS)
    found = Model(generator=generator, spec=known.spec, facts=known.facts, seen=known.seen, uri=folder, name=known.run)
    found.trusted = trust_code
    return found


def _check_backward(spec: JobSpec, uri: str) -> None:
    if INVERSE not in spec.networks:
        raise UsageError(
            f"backward: {uri.split('/')[-3]} learnt one way: its job has no network `{INVERSE}`; cyclegan learns both"
        )


def _built(
    spec: JobSpec, facts: DataFacts, tensors: dict[str, Tensor], *, name: str, run_uri: str = ""
) -> tuple[nn.Module, JobSpec]:
    """The job's generator with these weights, in evaluation mode, and the job with the code that was kept with it."""
    kept = stored_code(Folder(run_uri)) if run_uri else None
    if kept is not None:
        code = str(unpack_code(kept))
        spec = spec.model_copy(update={"environment": spec.environment.model_copy(update={"code": code})})
    add_import_roots([spec.environment.code or "."])
    network = INVERSE if name == INVERSE else "generator"
    _check_stored(spec, facts, tensors, name, network)
    generator = build_networks(spec, facts, [network])[network]
    if any(tensor.dtype == torch.float64 for tensor in tensors.values()):
        generator.double()
    load_weights(generator, tensors, name)
    return generator.eval().requires_grad_(False), spec


def _check_stored(spec: JobSpec, facts: DataFacts, tensors: dict[str, Tensor], name: str, network: str) -> None:
    """Whether a stored generator is what its job says, before any memory is taken for it.

    Raises:
        UsageError: its arguments are none of its class, or its weights are of another network.
    """
    written, kind = spec.network_specs[network], KINDS.get(network, "network")
    wrong = check_arguments(kind, written.use, written.args, [spec.environment.code or "."])
    if wrong:
        raise UsageError("; ".join(f"{network}.{key}: {text}" for key, text in wrong))
    with torch.device("meta"):
        check_weights(build_networks(spec, facts, [network])[network], tensors, name)


def _checkpoint(run: str | RunFolder) -> Checkpoint:
    if isinstance(run, RunFolder):
        folder = run
    elif (at := Folder.at(run)).exists("meta.json"):
        return Checkpoint(at)
    else:
        folder = find_run(run)
    found = newest(folder.checkpoints(), lambda text: warnings.warn(text, stacklevel=3))
    if found is None:
        raise CheckpointError(f"run {folder.id} has no checkpoint yet ({folder.uri})")
    return found


def load_generator(run: str) -> nn.Module:
    """What `load` finds, without what is known of it."""
    return load(run).generator


def prepared_beside(model: Model) -> Folder:
    """Where decoded data are kept: beside the model's run, or, of one that has left its run or is stored where nothing
    is written from here, in our home."""
    if is_exported(model.uri) or Folder(model.uri).read_only:
        return Folder.at(home()).child(PREPARED)
    return RunFolder(Folder(model.uri.rsplit("/", 2)[0])).prepared()


def training_data(model: Model) -> Ingest:
    """Real samples of what the run's generator makes. Raises what `trained_on` raises."""
    return model.modality.real_rows(trained_on(model))


def names_in_training(model: Model, places: Sequence[int]) -> list[str]:
    """What the training samples at these places of the canonical order are called in their source: `stories.txt:17`.

    Raises what `trained_on` raises.
    """
    data = _prepared(model)
    names = [name for file in data.shards for name in read_shard(data.folder, file, ["name"])["name"].to_pylist()]
    return [str(names[place]) for place in places]


def trained_on(model: Model) -> Memory:
    """What the run was trained on, as it was prepared for it, or prepared now.

    Raises:
        UsageError: it is such a data set, and nobody vouched for it.
        DataError: it is no longer there, or has changed.
    """
    return load_into_memory(_prepared(model), 0, 1)


def _prepared(model: Model) -> Prepared:
    if is_own_data(model.spec.data.source):
        model.check_trust([f"data.source: {model.spec.data.source}"])
    data = prepare_for_job(
        model.spec.data,
        prepared_beside(model),
        load_generator,
        executor=write_shards_on_processes,
        progress=lambda done, total: None,
        encoding=lambda done, total: None,
    )
    if data.facts.checksum != model.facts.checksum:
        raise DataError(
            f"data.source: {model.spec.data.source!r} is not what {model.name} was trained on; put it back, or name "
            "what to compare with"
        )
    return data
