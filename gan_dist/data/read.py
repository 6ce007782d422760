"""Reading a source into blocks of decoded rows, and the facts of what was read. Two executors, one result."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.sources import DataError, Part, Row, Source, read

Columns = dict[str, NDArray[Any]]
SMALL = ("index", "name", "label", "native", "digest", "reason")
NAMED = 10


@dataclass(frozen=True)
class DataFacts:
    """What the data turned out to be; stored with every checkpoint.

    Attributes:
        count: usable samples.
        size, channels: of each image.
        classes: class names in label order; empty when unconditional.
        class_counts: samples of each class.
        checksum: over the decoded pixels and labels in canonical order.
        rejected: (name, reason) of what could not be decoded.
    """

    count: int
    size: int
    channels: int
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    checksum: str
    rejected: tuple[tuple[str, str], ...]
    stand_in: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "rejected": [list(pair) for pair in self.rejected]}


@dataclass(frozen=True)
class Located:
    """Where each usable row lies: position in canonical order -> (block, row), with its label."""

    block: NDArray[np.int32]
    row: NDArray[np.int32]
    label: NDArray[np.int64]


def decode(part: Part) -> Columns:
    """One part as columns; a rejected row holds zeros and its reason."""
    rows = list(read(part))
    blank = np.zeros((part.channels, part.size, part.size), np.uint8)
    return {
        "index": np.arange(part.first, part.first + len(rows), dtype=np.int64),
        "name": np.array([row.name for row in rows], dtype=object),
        "label": np.array([row.label for row in rows], np.int64),
        "native": np.array([row.native_channels for row in rows], np.int64),
        "digest": np.array([_digest(row) for row in rows], np.int64),
        "reason": np.array([row.reason for row in rows], dtype=object),
        "image": np.stack([blank if row.pixels is None else row.pixels for row in rows]),
    }


def read_here(source: Source, progress: Callable[[int], None] = lambda done: None) -> list[Columns]:
    """Decode every part in this process; Pillow works outside Python's lock, so threads help."""
    import os
    from concurrent.futures import ThreadPoolExecutor

    blocks = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for block in pool.map(decode, source.parts):
            blocks.append(block)
            progress(sum(len(done["index"]) for done in blocks))
    return blocks


def read_on_ray(source: Source, concurrency: int) -> tuple[list[Any], list[Columns]]:
    """Decode every part as Ray Data tasks, `concurrency` at a time.

    Returns references to the image blocks, and the small columns of each.
    """
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    parts = [{"part": asdict(part)} for part in source.parts]
    dataset = ray.data.from_items(parts, override_num_blocks=len(parts))
    # The workers start meanwhile and may hold every CPU, so the tasks ask for none; their number is limited.
    decoded = dataset.map_batches(
        _decode_batch, batch_size=1, batch_format="numpy", num_cpus=0, concurrency=min(concurrency, len(parts))
    ).materialize()
    references = decoded.to_arrow_refs()
    small = ray.remote(num_cpus=0)(_small_columns)
    return references, ray.get([small.remote(reference) for reference in references])


def _decode_batch(batch: dict[str, NDArray[Any]]) -> Columns:
    (part,) = batch["part"]
    kept: dict[str, Any] = {
        key: tuple(np.asarray(value).tolist()) if isinstance(value, (list, np.ndarray)) else value
        for key, value in part.items()
    }
    return decode(Part(**kept))


def _small_columns(table: Any) -> Columns:
    return {name: np.asarray(table[name].to_numpy(zero_copy_only=False)) for name in SMALL}


def facts_of(source: Source, blocks: Iterable[Columns], max_rejected: float) -> tuple[DataFacts, Located]:
    """What was read, and where each usable row lies, in the source's canonical order.

    Raises:
        DataError: more than `max_rejected` of the files are broken, nothing usable is left, or grey and
            coloured pictures are mixed where the job leaves `channels` open.
    """
    blocks = list(blocks)
    merged = {name: np.concatenate([block[name] for block in blocks]) for name in SMALL}
    block_of = np.concatenate([np.full(len(b["index"]), i, np.int32) for i, b in enumerate(blocks)])
    row_of = np.concatenate([np.arange(len(b["index"]), dtype=np.int32) for b in blocks])
    order = np.argsort(merged["index"], kind="stable")
    merged = {name: column[order] for name, column in merged.items()}
    good = np.array([not reason for reason in merged["reason"]], bool)
    rejected = tuple(
        (str(name), str(why)) for name, why in zip(merged["name"][~good], merged["reason"][~good], strict=True)
    )
    _check_rejected(source, rejected, max_rejected)
    if not source.channels_given:
        _check_channels(merged, good, source.channels)
    labels = merged["label"][good]
    facts = DataFacts(
        count=int(good.sum()),
        size=source.parts[0].size,
        channels=source.channels,
        classes=source.classes,
        class_counts=tuple(np.bincount(labels, minlength=len(source.classes)).tolist()) if source.classes else (),
        checksum=hashlib.blake2b(merged["digest"][good].tobytes(), digest_size=16).hexdigest(),
        rejected=rejected,
    )
    return facts, Located(block_of[order][good], row_of[order][good], labels)


def _check_rejected(source: Source, rejected: tuple[tuple[str, str], ...], most: float) -> None:
    if not rejected or (len(rejected) <= most * source.count and len(rejected) < source.count):
        return
    shown = "".join(f"\n  {name}: {why}" for name, why in rejected[:NAMED])
    raise DataError(
        f"data.source: {len(rejected)} of {source.count} images in {source.where!r} cannot be used, more than "
        f"data.max_rejected: {most:g} allows:{shown}"
    )


def _check_channels(merged: Columns, good: NDArray[np.bool_], channels: int) -> None:
    other = good & (merged["native"] != channels)
    if other.any():
        kinds = {1: "grey", 3: "coloured"}
        raise DataError(
            f"data.channels: auto found {int((good & ~other).sum())} {kinds[channels]} and {int(other.sum())} "
            f"{kinds[4 - channels]} images (first: {merged['name'][other][0]!r}); set data.channels to 1 or 3"
        )


def _digest(row: Row) -> int:
    if row.pixels is None:
        return 0
    content = row.pixels.tobytes() + row.label.to_bytes(4, "little")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)
