"""From a source to a folder of shards with a manifest, once; every later run starts from the shards.

FOLDER/
  source.json               what is prepared here; written first
  shard-000000000.npy       decoded samples (see shards.py)
  shard-000000000.parquet   name, class and digest of each
  shard-000000000.json      that shard's record, written after it
  vectors.npy               the distinct vectors that samples are conditioned on, float32 [M, K], where they are
  test.jsonl, validation.jsonl   of text, sentences that are kept from training, where shares of them are
  manifest.json             what it all is; written last
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.codec import Codec
from gan_dist.data.facts import (
    DataFacts,
    ImageFacts,
    LatentFacts,
    PairFacts,
    TextFacts,
    UnpairedFacts,
    check_domains,
    check_images,
    check_rejected,
    check_text,
    facts_from_record,
)
from gan_dist.data.order import resolve_class_weights
from gan_dist.data.shards import numbers_of, read_shard
from gan_dist.data.source import FORMAT, Contents, Part, Source, explain_damage
from gan_dist.data.sources.builtin import stand_in
from gan_dist.data.sources.domains import TARGET
from gan_dist.data.sources.registry import find_source
from gan_dist.data.text.held_out import describe_held_out, write_held_out
from gan_dist.errors import DataError, DataNotFound, StorageError
from gan_dist.runs.request import installed_versions
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import BUILT_IN, DOWNLOAD, DataSpec, ImageData, PairData, PictureData, TextData, UnpairedData
from gan_dist.spec.fields import HELD

MANIFEST, ORIGIN, VECTORS = "manifest.json", "source.json", "vectors.npy"
SHOWN_VECTORS = 8
SECTION_OF: dict[type[DataFacts], type[PictureData]] = {
    ImageFacts: ImageData,
    LatentFacts: ImageData,
    PairFacts: PairData,
    UnpairedFacts: UnpairedData,
}
Record = dict[str, Any]
Executor = Callable[[Sequence[Part], Folder], Iterator[Record]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Prepared:
    """A folder of shards and its manifest."""

    folder: Folder
    manifest: Mapping[str, Any]

    @property
    def facts(self) -> DataFacts:
        return facts_from_record(self.manifest)

    @property
    def shards(self) -> dict[str, int]:
        """The samples of each file that holds any, in canonical order."""
        return {shard["file"]: shard["rows"] for shard in self.records}

    @property
    def records(self) -> list[Record]:
        """What is known of each shard that holds any samples, in canonical order."""
        return [shard for shard in self.manifest["shards"] if shard["rows"]]

    @property
    def bytes(self) -> int:
        return sum(int(shard["bytes"]) for shard in self.manifest["shards"])

    def served(self, window: int) -> Prepared:
        """The same data, whose order mixes `window` shards at a time (0: all)."""
        return replace(self, manifest={**self.manifest, "window": window})

    @cached_property
    def vectors(self) -> NDArray[np.float32] | None:
        """The distinct vectors that samples are conditioned on, [M, K], whose rows are their labels; None for none.

        Raises:
            DataError: the file is gone or damaged.
        """
        if not self.facts.vectors:
            return None
        with explain_damage(f"{self.folder.uri}/{VECTORS}"):
            found: NDArray[np.float32] = np.load(io.BytesIO(self.folder.read(VECTORS)), allow_pickle=False)
        if _digest(found) != self.manifest["vectors_checksum"]:
            raise DataError(f"{self.folder.uri}/{VECTORS} is damaged; delete that folder, and it is prepared anew")
        return found

    def column(self, name: str) -> NDArray[np.int64]:
        """A small column of all samples, in canonical order."""
        (values,) = _columns(self.folder, list(self.shards), name)
        return values


def prepare_or_load(
    data: DataSpec, cache: Folder, *, executor: Executor, progress: Progress, stand_in_of: int | None = None
) -> Prepared:
    """The job's data as shards: as prepared before, or prepared now under `cache`.

    Args:
        progress: told how many shards are done, of how many.
        stand_in_of: how many random samples replace a source that is not at hand; None for none.

    Raises:
        DataError: the data cannot be used.
    """
    try:
        return _asked(
            _given(data) or _cached(find_source(data), data, cache=cache, executor=executor, progress=progress), data
        )
    except DataNotFound:
        if stand_in_of is None:
            raise
    found = _cached(stand_in(data, stand_in_of), data, cache=cache, executor=executor, progress=progress)
    return _asked(replace(found, manifest={**found.manifest, "stand_in": True}), data)


def _asked(found: Prepared, data: DataSpec) -> Prepared:
    """The same data, and what else the job says of them: weights of classes, and where held-out sentences are.

    Raises:
        DataError: a share is to be held out of a preparation that holds out none.
    """
    if isinstance(data, ImageData | TextData):
        facts = found.facts
        asked = "equal" if facts.stand_in and data.class_weights != "data" else data.class_weights
        weights = resolve_class_weights(asked, facts.classes, facts.class_counts)
        found = replace(found, manifest={**found.manifest, "class_weights": list(weights)})
    if not isinstance(data, TextData):
        return found
    shares = found.manifest.get("shares", {})
    held: Record = {
        key: describe_held_out(data, key, folder=found.folder, written=shares.get(key), stand_in=found.facts.stand_in)
        for key in HELD
    }
    return replace(found, manifest={**found.manifest, **held})


def prepare(source: Source, folder: Folder, *, executor: Executor, progress: Progress, max_rejected: float) -> Prepared:
    """Write what is missing of a source's shards, then the manifest.

    Raises:
        DataError: too much of it was rejected.
        StorageError: the folder cannot be written.
    """
    contents = _begun(source, folder)
    shards = _shards(contents, folder, executor, progress)
    native = _kinds_met(shards)
    if _lost_colour(contents, native):
        contents = contents.in_colour()
        _begin(source, folder, contents, anew=True)
        shards = _shards(contents, folder, executor, progress)
    facts = _facts(contents, folder, shards, native)
    check_rejected(source.where, facts, max_rejected)
    check_domains(facts)
    kept = contents.held_out
    write_held_out(folder, kept)
    if contents.vectors is not None:
        stored = io.BytesIO()
        np.save(stored, contents.vectors)
        folder.write(VECTORS, stored.getvalue())
    manifest = {
        "format": FORMAT,
        "source": source.where,
        "key": source.key,
        **facts.as_dict(),
        "vectors_checksum": None if contents.vectors is None else _digest(contents.vectors),
        "held_out": {key: len(texts) for key, texts in kept.items()},
        "shares": dict(contents.shares),
        "shards": shards,
        "versions": installed_versions(),
    }
    folder.write_json(MANIFEST, manifest)
    return Prepared(folder, manifest)


def _begun(source: Source, folder: Folder) -> Contents:
    """What is to be prepared: as an earlier try went about it, or from the beginning."""
    contents, before = source.contents, folder.read_json(ORIGIN) or {}
    if contents.channels_open and before.get("key") == source.key and before.get("channels") == 3:
        return contents.in_colour()  # it had met a coloured picture
    _begin(source, folder, contents, anew=False)
    return contents


def _begin(source: Source, folder: Folder, contents: Contents, *, anew: bool) -> None:
    channels = getattr(contents.form, "channels", None)
    folder.write_json(ORIGIN, {"source": source.where, "key": source.key, "channels": channels})
    if anew:
        for name in folder.names():
            if name.startswith("shard-"):
                folder.delete(name)


def _shards(contents: Contents, folder: Folder, executor: Executor, progress: Progress) -> list[Record]:
    """The records of all shards, in canonical order."""
    parts, records = contents.parts, dict[str, Record]()
    progress(0, len(parts))
    for record in executor(parts, folder):
        records[record["file"]] = record
        progress(len(records), len(parts))
    return [records[file] for file in sorted(records)]


def _kinds_met(shards: list[Record]) -> dict[str, int]:
    """How many pictures of each kind there are: grey, "1", and coloured, "3"."""
    native: Counter[str] = Counter()
    for shard in shards:
        native.update({kind: count for kind, (count, _) in shard["native"].items()})
    return dict(native)


def _lost_colour(contents: Contents, native: Mapping[str, int]) -> bool:
    """Whether the pictures that were looked at first were grey, and others are not."""
    return contents.channels_open and getattr(contents.form, "channels", None) == 1 and native.get("3", 0) > 0


def prepare_into(data: DataSpec, target: str, executor: Executor, progress: Progress) -> Prepared:
    """Prepare into a folder of the user's, going on where an earlier try was interrupted.

    Raises:
        DataError: the data cannot be used, or the folder holds something else.
        StorageError: the folder cannot be written.
    """
    if _given(data) is not None:
        raise DataError(f"{data.source!r} is prepared already; use it as it is: data: {{source: {data.source}}}")
    source, folder = find_source(data), Folder.at(target)
    if folder.names():
        origin = folder.read_json(ORIGIN)
        if origin is None or "key" not in origin:
            raise DataError(f"{target!r} is not empty, and no preparation; choose another folder")
        if origin["key"] != source.key:
            raise DataError(
                f"{target!r} holds a preparation of {origin['source']!r} in another state, with other options or by "
                "another version of gan-dist; choose another folder, or delete it"
            )
    return _in(folder, source, data=data, executor=executor, progress=progress)


def open_prepared(folder: Folder) -> Prepared | None:
    """What a folder holds, or None when no manifest is there.

    Raises:
        DataError: it was written by a newer version.
    """
    manifest = folder.read_json(MANIFEST)
    if manifest is None or "shards" not in manifest:
        return None
    if manifest["format"] != FORMAT:
        age = "a newer" if manifest["format"] > FORMAT else "an earlier"
        raise DataError(
            f"{folder.uri}: prepared by {age} gan-dist (format {manifest['format']}, known: {FORMAT}); prepare it anew"
        )
    return Prepared(folder, manifest)


def _given(data: DataSpec) -> Prepared | None:
    """The source itself, where it is a prepared folder that fits the job."""
    if data.source in BUILT_IN or data.source.startswith(DOWNLOAD) or (isinstance(data, TextData) and data.from_oracle):
        return None
    try:
        found = open_prepared(Folder.at(data.source))
    except (OSError, StorageError):
        found = None  # whoever lists the source says why it cannot be reached
    if found is None:
        return None
    facts = found.facts
    if isinstance(facts, ImageFacts) and type(data) is SECTION_OF[type(facts)]:
        check_images(data, facts)
    elif isinstance(facts, TextFacts) and isinstance(data, TextData):
        check_text(data, facts)
    else:
        raise DataError(f"data.modality: {data.modality}, but {data.source!r} was prepared with {facts.described}")
    if isinstance(data, PairData) and data.inputs is not None and not data.of_itself:
        raise DataError(f"data.inputs: {data.source!r} is prepared and holds both sides of its pairs; remove this key")
    if isinstance(data, UnpairedData) and data.target is not None:
        raise DataError(f"data.target: {data.source!r} is prepared and holds both domains; remove this key")
    there = "vectors" if facts.vectors else "classes" if facts.classes else "no labels"
    if data.labels != "none" and there != ("vectors" if data.labels == "vectors" else "classes"):
        raise DataError(f"data.labels: {data.labels!r}, but {data.source!r} was prepared with {there}")
    check_rejected(data.source, facts, data.max_rejected)
    if data.labels == "none":
        return replace(found, manifest={**found.manifest, "classes": [], "class_counts": [], "vectors": []})
    return found


def _cached(source: Source, data: DataSpec, *, cache: Folder, executor: Executor, progress: Progress) -> Prepared:
    return _in(cache.child(source.key), source, data=data, executor=executor, progress=progress)


def _in(folder: Folder, source: Source, *, data: DataSpec, executor: Executor, progress: Progress) -> Prepared:
    found = open_prepared(folder)
    if found is None:
        return prepare(source, folder, executor=executor, progress=progress, max_rejected=data.max_rejected)
    check_rejected(source.where, found.facts, data.max_rejected)
    return found


def _facts(contents: Contents, folder: Folder, shards: list[Record], native: Mapping[str, int]) -> DataFacts:
    files = [shard["file"] for shard in shards if shard["rows"]]
    digests, labels = _columns(folder, files, "digest", "label")
    classes, form, remarks = contents.classes, contents.form, list(contents.remarks)
    if contents.channels_open and len(native) > 1:
        remarks.append(f"channels: RGB, as {native['3']:,} pictures are coloured and {native['1']:,} are grey")
    common: dict[str, Any] = {
        "count": len(labels),
        "classes": classes,
        "class_counts": tuple(np.bincount(labels, minlength=len(classes)).tolist()) if classes else (),
        "vectors": _some_vectors(contents.vectors),
        "checksum": _digest(digests, *([] if contents.vectors is None else [contents.vectors])),
        "rejected": tuple((name, why) for shard in shards for name, why in shard["rejected"]),
        "remarks": tuple(remarks),
    }
    if isinstance(form, Codec):
        return TextFacts(**common, codec=form, **contents.notes)
    common |= {"size": form.size, "channels": form.channels}
    if contents.domains:
        return UnpairedFacts(**common, input_channels=form.channels, target_count=int((labels == TARGET).sum()))
    return PairFacts(**common, input_channels=form.channels) if form.pair else ImageFacts(**common)


def _some_vectors(vectors: NDArray[np.float32] | None) -> tuple[tuple[float, ...], ...]:
    """A fair choice of distinct vectors."""
    if vectors is None:
        return ()
    chosen = np.random.Generator(np.random.Philox(0)).permutation(len(vectors))[:SHOWN_VECTORS]
    return tuple(tuple(map(float, vectors[row])) for row in chosen)


def _digest(*arrays: NDArray[Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()


def checksum_of(folder: Folder, shards: list[Record]) -> str:
    """Over all samples of some shards, as a preparation's facts have it."""
    (digests,) = _columns(folder, [shard["file"] for shard in shards if shard["rows"]], "digest")
    return _digest(digests)


def _columns(folder: Folder, files: list[str], *names: str) -> tuple[NDArray[np.int64], ...]:
    """Small columns of all samples, in canonical order."""
    tables = [read_shard(folder, file, list(names)) for file in files]
    empty = np.empty(0, np.int64)
    return tuple(np.concatenate([empty, *(numbers_of(table, name) for table in tables)]) for name in names)
