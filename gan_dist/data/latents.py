"""Latents in place of pictures: prepared pictures encoded once, as the mean and deviation of each number of a map.

The encoder is an argument: nothing here knows networks. A folder of latents is a preparation like any other, with the
codec's files beside its shards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.facts import ImageFacts, LatentFacts
from gan_dist.data.prepare import MANIFEST, ORIGIN, Prepared, Progress, checksum_of, open_prepared
from gan_dist.data.shards import ShardReader, read_samples, read_shard, write_encoded_shard
from gan_dist.data.source import FORMAT, state_of
from gan_dist.errors import DataError
from gan_dist.runs.request import installed_versions
from gan_dist.runs.storage import Folder

DEVIATION = 0.5  # of each channel of what networks see (R3GAN2's latents)
AT_ONCE = 64
# Pictures uint8 [N, C, H, W] to means and deviations of latent maps, float32 [N, 2c, h, w].
EncodePictures = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def encode_prepared(
    found: Prepared,
    target: Folder,
    *,
    facts: ImageFacts,
    encode: EncodePictures,
    codec: Mapping[str, Any],
    files: Mapping[str, bytes],
    progress: Progress,
) -> Prepared:
    """Write the latents of prepared pictures into a folder, going on where an earlier try was interrupted.

    Args:
        found: pictures alone.
        facts: of these.
        codec: what is to be known of it: `source`, `checksum`, and of a person's own class its name, `use`.
        files: of the codec, which lie beside the latents.
        progress: told how many pictures are done, of how many.

    Raises:
        DataError: the folder holds something else.
    """
    key = state_of(["latents", FORMAT, facts.checksum, codec["checksum"]])
    if (done := open_prepared(target)) is not None and done.manifest["key"] == key:
        return done
    if target.names() and (target.read_json(ORIGIN) or {}).get("key") != key:
        raise DataError(f"{target.uri!r} is not empty, and holds other data; choose another folder, or delete it")
    target.write_json(ORIGIN, {"source": found.manifest["source"], "key": key, "channels": None})
    for name, content in files.items():
        target.write(name, content)
    shards, sums = _encoded_shards(found, target, encode, progress)
    known = _facts(facts, target, shards, codec=codec, sums=sums)
    manifest = {
        **{name: found.manifest[name] for name in ("source", "held_out", "shares")},
        "format": FORMAT,
        "key": key,
        **known.as_dict(),
        "vectors_checksum": None,
        "shards": shards,
        "versions": installed_versions(),
    }
    target.write_json(MANIFEST, manifest)
    return Prepared(target, manifest)


def _encoded_shards(
    found: Prepared, target: Folder, encode: EncodePictures, progress: Progress
) -> tuple[list[dict[str, Any]], _Moments]:
    """The records of all shards of latents, of which those that an earlier try finished are read; and their sums."""
    labels, first = found.column("label"), 0
    reader, shards, sums = ShardReader(found.folder, found.records, labels), [], _Moments()
    for number, record in enumerate(found.records):
        progress(first, len(labels))
        own = labels[first : first + record["rows"]]
        done = target.read_json(f"shard-{first:09d}.json")
        if done is None:
            pictures = reader.read(number)
            parts = []
            for at in range(0, len(pictures), AT_ONCE):
                parts.append(encode(pictures[at : at + AT_ONCE]))
                progress(first + min(at + AT_ONCE, len(pictures)), len(labels))
            latents = np.concatenate(parts).astype(np.float16)
            names = read_shard(found.folder, record["file"], ["name"])["name"].to_pylist()
            done = write_encoded_shard(target, first, names=names, labels=own, samples=latents)
        else:
            latents = read_samples(target, done, own)
        sums.add(latents)
        shards.append(done)
        first += record["rows"]
    progress(first, len(labels))
    return shards, sums


class _Moments:
    """Sums over all maps by channel: of means, their squares, and variances."""

    def __init__(self) -> None:
        self.count, self.mean, self.square = 0, np.zeros(1), np.zeros(1)

    def add(self, latents: NDArray[np.float16]) -> None:
        mean, deviation = np.split(latents.astype(np.float64), 2, axis=1)
        self.count += mean.size // mean.shape[1]
        self.mean = self.mean + mean.sum((0, 2, 3))
        self.square = self.square + (mean**2 + deviation**2).sum((0, 2, 3))

    @property
    def normalisation(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of each channel of what is drawn."""
        mean = self.mean / self.count
        return mean.tolist(), np.sqrt(np.maximum(self.square / self.count - mean**2, 1e-12)).tolist()


def _facts(
    facts: ImageFacts, target: Folder, shards: list[dict[str, Any]], *, codec: Mapping[str, Any], sums: _Moments
) -> LatentFacts:
    channels, height, width = shards[0]["shape"]
    mean, deviation = sums.normalisation
    common = {name: getattr(facts, name) for name in ImageFacts.__dataclass_fields__}
    size: Any = height if height == width else (height, width)
    common |= {"size": size, "channels": channels // 2, "checksum": checksum_of(target, shards)}
    known = {**codec, "where": target.uri, "mean": mean, "deviation": deviation}
    made = LatentFacts(**common, codec_record=known, picture_size=facts.size, picture_channels=facts.channels)
    return replace(made, remarks=(*facts.remarks, f"encoded by {codec['source']}"))
