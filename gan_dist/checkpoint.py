"""Checkpoints on storage: a folder that exists once its `meta.json`, written last, is there and its checksums hold.

checkpoints/000000064000-a1/
  generator.safetensors, generator_ema.safetensors, discriminator.safetensors, ...
  training.pt     optimisers and small state; readable with weights_only=True
  meta.json       format, the job, the clock, data facts, metrics, versions, checksums
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from gan_dist.storage import Folder

FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the text says which and why."""


@dataclass(frozen=True)
class Checkpoint:
    """A stored checkpoint."""

    folder: Folder

    @property
    def name(self) -> str:
        return self.folder.uri.rsplit("/", 1)[-1]

    @cached_property
    def meta(self) -> dict[str, Any]:
        """Its description.

        Raises:
            CheckpointError: absent (never finished), or of a newer format.
        """
        found = self.folder.read_json("meta.json") or {}
        if not {"format", "clock", "ties", "checksums"} <= found.keys():
            raise CheckpointError(f"checkpoint {self.folder.uri}: meta.json is missing or damaged")
        if found["format"] > FORMAT:
            raise CheckpointError(
                f"checkpoint {self.folder.uri} has format {found['format']}; this gan-dist reads up to {FORMAT}"
            )
        return found

    @property
    def seen(self) -> int:
        return int(self.meta["clock"]["seen"])

    def _content(self, name: str) -> bytes:
        """A file whose checksum holds.

        Raises:
            CheckpointError: missing, truncated or altered.
        """
        try:
            content = self.folder.read(name)
        except FileNotFoundError as error:
            raise CheckpointError(f"checkpoint {self.folder.uri}: {name} is missing") from error
        if _checksum(content) != self.meta["checksums"].get(name):
            raise CheckpointError(f"checkpoint {self.folder.uri}: {name} is damaged (its checksum differs)")
        return content

    def verify(self) -> None:
        """Raises CheckpointError unless every file is there and whole."""
        for name in self.meta["checksums"]:
            self._content(name)

    def has(self, name: str) -> bool:
        return name in self.meta["checksums"]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The state of one network, such as `generator_ema`, with tied tensors under each of their names."""
        found: dict[str, Tensor] = load(self._content(f"{name}.safetensors"))
        ties: dict[str, str] = self.meta["ties"].get(name, {})
        return {**found, **{alias: found[original] for alias, original in ties.items()}}

    def training(self) -> dict[str, Any]:
        """Optimisers and the rest of what resumes."""
        content = io.BytesIO(self._content("training.pt"))
        return torch.load(content, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]


def write(
    parent: Folder,
    name: str,
    networks: Mapping[str, Mapping[str, Tensor]],
    training: Mapping[str, Any],
    meta: Mapping[str, Any],
) -> Checkpoint:
    """Store a checkpoint as `parent/name`; it counts once this returns.

    Raises:
        StorageError: the storage is full, read-only or unreachable.
        CheckpointError: a weight is not finite.
    """
    folder = parent.child(name)
    ties, checksums = {}, {}
    for network, state in networks.items():
        _check_finite(network, state)
        untied, ties[network] = _untie(state)
        checksums[f"{network}.safetensors"] = _put(folder, f"{network}.safetensors", save(untied))
    buffer = io.BytesIO()
    torch.save(dict(training), buffer)
    checksums["training.pt"] = _put(folder, "training.pt", buffer.getvalue())
    described = {"format": FORMAT, **meta, "ties": ties, "checksums": checksums}
    folder.write("meta.json", (json.dumps(described, indent=1) + "\n").encode())
    return Checkpoint(folder)


def stored(parent: Folder) -> list[Checkpoint]:
    """Every checkpoint that was finished, oldest first."""
    named = [Checkpoint(parent.child(name)) for name in parent.names()]
    done = [checkpoint for checkpoint in named if checkpoint.folder.exists("meta.json")]
    return sorted(done, key=lambda checkpoint: _position(checkpoint.name))


def newest(parent: Folder, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole; damaged ones after it are named through `warn`."""
    for checkpoint in reversed(stored(parent)):
        try:
            checkpoint.verify()
        except CheckpointError as error:
            warn(f"{error}; using the one before it")
            continue
        return checkpoint
    return None


def prune(parent: Folder, last: int, best: int, metric: str | None, mode: str) -> None:
    """Delete all but the `last` newest checkpoints and the `best` by a metric in their meta."""
    checkpoints = stored(parent)
    keep = {checkpoint.name for checkpoint in checkpoints[-last:]}
    keep |= {checkpoint.name for checkpoint in ranked(checkpoints, metric, mode)[:best]}
    for checkpoint in checkpoints:
        if checkpoint.name not in keep:
            checkpoint.folder.delete("meta.json")
            checkpoint.folder.delete()


def ranked(checkpoints: list[Checkpoint], metric: str | None, mode: str) -> list[Checkpoint]:
    """Those that carry the metric, best first."""
    scored = [c for c in checkpoints if metric in c.meta["metrics"]]
    sign = 1 if mode == "min" else -1
    return sorted(scored, key=lambda c: sign * float(c.meta["metrics"][metric]))


def name_of(seen: int, attempt: int) -> str:
    return f"{seen:012d}-a{attempt}"


def _position(name: str) -> tuple[int, int]:
    seen, _, attempt = name.partition("-a")
    return (int(seen), int(attempt)) if seen.isdigit() and attempt.isdigit() else (-1, -1)


def _put(folder: Folder, name: str, content: bytes) -> str:
    folder.write(name, content)
    return _checksum(content)


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _check_finite(network: str, state: Mapping[str, Tensor]) -> None:
    for key, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{network}: {key} is not finite; the checkpoint was not written")


def _untie(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Contiguous CPU tensors without repeats, and the names under which repeats are to come back."""
    kept: dict[str, Tensor] = {}
    ties: dict[str, str] = {}
    owners: dict[tuple[int, torch.Size, tuple[int, ...]], str] = {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() and place in owners:
            ties[name] = owners[place]
            continue
        owners[place] = name
        kept[name] = tensor.detach().to("cpu").contiguous().clone()
    return kept, ties
