"""The two sides of an evaluation: samples of a run, of a folder of images, or of a file of sentences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gan_dist.data.codec import SPECIAL, Codec, Splitting
from gan_dist.data.facts import DataFacts, ImageFacts, TextFacts
from gan_dist.data.image_decoding import begin_image
from gan_dist.data.ingest import Ingest, Memory, load_into_memory
from gan_dist.data.prepare import open_prepared
from gan_dist.data.sources.image_files import list_folder, read_image
from gan_dist.data.sources.registry import DecodedSample, read_part, source_of
from gan_dist.data.sources.walk import walk
from gan_dist.data.text.corpus import ENDINGS
from gan_dist.data.text.file_formats import TextReadOptions
from gan_dist.data.text.held_out import held_out_texts
from gan_dist.errors import DataError, DataNotFound, UnreadableSample, UsageError
from gan_dist.generation.modality import Draw
from gan_dist.generation.model import Model, load, prepared_beside, trained_on
from gan_dist.metrics.features.classifiers import SEED
from gan_dist.registry.lookup import Roots
from gan_dist.registry.metric_names import partial_features
from gan_dist.registry.trust import foreign_code
from gan_dist.runs.run_folder import METRICS
from gan_dist.runs.storage import Folder
from gan_dist.spec.image_size import Size, sides, size_of
from gan_dist.spec.job import ImageData, MetricSpec


@dataclass(kw_only=True, frozen=True)
class EvaluationSamples:
    """A. `most` is how many a folder or file holds; a generator makes any number. `metrics` are those of the run's job,
    `warnings` what is to be known of the samples, `partial` are features that the run trained by, `seed` is that of the
    run."""

    where: str
    facts: DataFacts
    draw: Draw
    cache: Folder
    labels: Draw | None = None
    most: int | None = None
    seen: int | None = None
    metrics: Sequence[MetricSpec] = ()
    roots: Roots = (".",)
    generator: nn.Module | None = None
    wanted: Draw | None = None
    warnings: Sequence[str] = ()
    partial: Collection[str] = ()
    seed: int | None = None

    @property
    def of_text(self) -> bool:
        return isinstance(self.facts, TextFacts)


@dataclass(frozen=True)
class ChosenRows:
    """Some samples of an ingest, as data of their own.

    Attributes:
        source: all of them.
        chosen: positions of those that are meant.
        facts: of these.
    """

    source: Ingest
    chosen: NDArray[np.int64]
    facts: DataFacts

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.source.labels[self.chosen]

    @property
    def vectors(self) -> NDArray[np.float32] | None:
        return self.source.vectors

    def positions(self, reals_drawn: int) -> NDArray[np.int64]:
        raise NotImplementedError("they are measured, and never served in the order of a run")

    def rows(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return self.source.rows(self.chosen[positions])


def samples_of_model(model: Model, device: torch.device) -> EvaluationSamples:
    """The very samples that the run's own metrics are of; of pairs, made of the inputs that the run was trained on."""
    generator, facts, seed = model.to(device).generator, model.facts, model.spec.seed
    modality = model.modality
    model.check_trust(foreign_code(model.spec, ["metrics"]))
    rows = trained_on(model) if modality.measured_by_data else None
    return EvaluationSamples(
        where=model.name,
        facts=facts if rows is None else modality.real_rows(rows).facts,
        draw=modality.metric_draw(generator, rows, seed, device),
        cache=prepared_beside(model).child(METRICS),
        labels=modality.metric_labels(generator, seed, device),
        seen=model.seen,
        metrics=model.spec.metrics,
        roots=[model.spec.environment.code or "."],
        generator=generator,
        wanted=modality.metric_targets(rows, seed),
        partial=partial_features(model.spec, [model.spec.environment.code or "."]),
        seed=seed,
    )


def samples_of_folder(where: str, cache: Folder) -> EvaluationSamples:
    ours = read_image_folder(where)
    shuffled = np.random.RandomState(SEED).permutation(ours.facts.count)

    def draw(part: range) -> torch.Tensor:
        return ours.rows(shuffled[part.start : part.stop])[0]

    return EvaluationSamples(where=where, facts=ours.facts, draw=draw, cache=cache, most=len(shuffled))


def samples_beside(
    ref: str, a: EvaluationSamples, device: torch.device, *, option: str, trust_code: bool
) -> EvaluationSamples:
    """A run beside A.

    Args:
        ref: the run.
        a: what it is beside.
        device: where it computes.
        option: that names it, for messages.
        trust_code: as in `load`.

    Raises:
        UsageError: it learnt from other data.
    """
    found = samples_of_model(load(ref, trust_code=trust_code), device)
    ours, theirs = a.facts, found.facts
    same = isinstance(ours, TextFacts) and isinstance(theirs, TextFacts) and ours.codec == theirs.codec
    if not same or ours.checksum != theirs.checksum:
        raise UsageError(
            f"{option}: {found.where} learnt from other data than {a.where} ({theirs.described} and {ours.described}; "
            f"checksums {theirs.checksum[:8]} and {ours.checksum[:8]}); gan-dist submit JOB --mle-twin trains a twin"
        )
    return found


def read_image_folder(where: str) -> Memory:
    """The images of a folder, or of prepared data, as they are: nothing is resized.

    Raises:
        DataError: there are none, one cannot be read, or they are not all of one size.
    """
    if not Path(where).is_dir():
        raise DataError(f"{where!r} is no folder of images")
    if (found := open_prepared(Folder.at(where))) is not None:
        return load_into_memory(found, 0, 1)
    rows = list(_rows(Path(where)))
    pixels = np.stack([row.sample for row in rows if row.sample is not None])
    count, channels, height, width = pixels.shape
    checksum = hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest()
    facts = ImageFacts(count=count, size=size_of(height, width), channels=channels, checksum=checksum)
    return Memory(blocks=[pixels], labels=np.zeros(count, np.int64), facts=facts, seed=0, batch=1)


def _rows(root: Path) -> Iterator[DecodedSample]:
    listing = list_folder(ImageData(source=str(root), size=64), Folder.at(root), walk(Folder.at(root)))
    if listing is None:
        raise DataError(f"no images in {str(root)!r}")
    names = listing.names
    folder = Folder.at(root)
    size, first = _size(folder, names[0]), names[0]
    for name in names:
        if (other := _size(folder, name)) != size:
            raise DataError(
                f"{str(root)!r} holds images of several sizes (height x width): {first} is {_shown(size)}, {name} is "
                f"{_shown(other)}; resize them first, for how it is done moves every metric"
            )
    for part in source_of(ImageData(source=str(root), size=size), listing).parts:
        for row in read_part(part):
            if row.sample is None:
                raise DataError(f"{str(root)!r}: {row.name} cannot be read: {row.reason}")
            yield row


def _shown(size: Size) -> str:
    return "x".join(map(str, sides(size)))


def _size(folder: Folder, name: str) -> Size:
    content = read_image(folder, name)
    try:
        if isinstance(content, UnreadableSample):
            raise content
        image, _ = begin_image(content)
    except UnreadableSample as error:
        raise DataError(f"'{folder.uri}/{name}' cannot be read: {error}") from error
    return size_of(image.height, image.width)


@dataclass(frozen=True)
class SentenceFile:
    """What a file holds, by the ids of a codec that knows all its words.

    Attributes:
        rows: token ids [N, T].
        codec: the one that was given, and further words after its own.
        warnings: what became of sentences that are too long or empty.
    """

    where: str
    rows: NDArray[np.int64]
    codec: Codec
    warnings: tuple[str, ...]


def is_text_file(where: str) -> bool:
    """Whether it is a file of sentences by its name. Raises DataNotFound where a file of such a name is not there."""
    if not where.lower().endswith(ENDINGS):
        return False
    if not Path(where).exists():
        raise DataNotFound(f"{where!r} does not exist")
    return Path(where).is_file()


def read_sentence_file(where: str, codec: Codec) -> SentenceFile:
    """A file's sentences, cut into tokens as a codec cuts them. Of one with prompts, what follows these: lines have it
    after a tab, as `gan-dist sample` writes them, or hold nothing else.

    Raises:
        DataError: it cannot be read, or holds no sentence.
    """
    texts = _texts(where)
    if codec.prompt is not None:
        texts = [text.partition("\t")[2] or text for text in texts]
    cut = [codec.splitting.split(text) for text in texts]
    if codec.eos is not None:  # an oracle knows no other tokens than its own
        new = dict.fromkeys(token for tokens in cut for token in tokens if token not in codec.ids)
        codec = replace(codec, vocabulary=(*codec.vocabulary, *new))
    too_long = sum(len(tokens) > codec.length for tokens in cut)
    encoded, rows = replace(codec, cut=True, prompt=None), []
    for text, tokens in zip(texts, cut, strict=True):
        try:
            rows += [encoded.encode(text)] if tokens else []
        except UnreadableSample as error:
            raise DataError(f"{where!r}: {text!r} is no sentence of the oracle: {error}") from error
    if not rows:
        raise DataError(f"{where!r} holds no sentence")
    told = [f"{too_long:,} of {len(cut):,} sentences of {where} are longer than {codec.length} tokens: they are cut"]
    return SentenceFile(where, np.stack(rows).astype(np.int64), codec, tuple(told if too_long else ()))


def codec_for(files: Sequence[str], tokens: str, lower: bool) -> Codec:
    """A codec of no words yet, for sentences as long as the longest of some files. Raises DataError."""
    codec = Codec(1, Splitting(tokens, lower), SPECIAL)
    longest = max(len(codec.splitting.split(text)) for file in files for text in _texts(file))
    return replace(codec, length=max(longest, 1))


def file_samples(found: SentenceFile, facts: TextFacts, cache: Folder) -> EvaluationSamples:
    """The sentences of a file in place of generated ones, in an order of chance.

    Args:
        found: the sentences.
        facts: of what they are compared with.
        cache: where what is found of that is kept.
    """
    shuffled = found.rows[np.random.RandomState(SEED).permutation(len(found.rows))]

    def draw(part: range) -> torch.Tensor:
        return torch.from_numpy(shuffled[part.start : part.stop])

    return EvaluationSamples(
        where=found.where, facts=replace(facts, codec=found.codec), draw=draw, cache=cache, most=len(shuffled)
    )


def file_as_data(found: SentenceFile) -> Memory:
    """The sentences of a file in place of a run's data: as training text, and as held-out text."""
    # Two files may differ in nothing but words that their codecs number alike.
    words = json.dumps(found.codec.vocabulary).encode()
    checksum = hashlib.blake2b(words + found.rows.tobytes(), digest_size=16).hexdigest()
    held = {"where": str(Path(found.where).absolute()), "encoding": "utf-8", "columns": []}
    facts = TextFacts(count=len(found.rows), checksum=checksum, codec=found.codec, test=held, validation=held)
    return Memory(blocks=[found.rows], labels=np.zeros(len(found.rows), np.int64), facts=facts, seed=0, batch=1)


def _texts(where: str) -> Sequence[str]:
    return held_out_texts(str(Path(where).absolute()), TextReadOptions())
