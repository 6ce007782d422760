"""Checkpoints on storage: a folder that exists once its `meta.json`, written last, is there and its checksums hold.

checkpoints/000000064000-a1/
  generator.safetensors, generator_ema.safetensors, discriminator.safetensors, ...
  training.pt     optimisers and small state; readable with weights_only=True
  meta.json       format, the job, the clock, data facts, metrics, versions, checksums, and its own checksum
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from gan_dist.errors import CheckpointError, StorageError, StorageUnreachable, UsageError
from gan_dist.runs.storage import Folder
from gan_dist.runs.unpacking import open_zip

FORMAT = 1
OWN_CHECKSUM = "meta_checksum"
NO_POSITION = (-1, -1)
EMA = "generator_ema"


DESCRIBED = ("ties", "checksums", "clock", "job", "data", "metrics")  # what every meta.json holds, each a mapping
CLOCK = ("seen", "reals_drawn")


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
            CheckpointError: absent (never finished), damaged, or of a newer format.
        """
        try:
            found = self.folder.read_json("meta.json") or {}
        except StorageUnreachable:
            raise
        except StorageError as error:
            raise CheckpointError(f"checkpoint {self.folder.uri}: {error}") from error
        # The format comes first: a newer one may be described, and summed, in another way.
        if isinstance(form := found.get("format"), int) and form > FORMAT:
            raise CheckpointError(f"checkpoint {self.folder.uri} has format {form}; this gan-dist reads up to {FORMAT}")
        if found.pop(OWN_CHECKSUM, None) != _checksum(_canonical(found)):
            raise CheckpointError(f"checkpoint {self.folder.uri}: meta.json is missing or damaged")
        if lacking := [key for key in DESCRIBED if not isinstance(found.get(key), dict)]:
            raise CheckpointError(f"checkpoint {self.folder.uri}: meta.json says nothing of {', '.join(lacking)}")
        if not all(type(found["clock"].get(key)) is int and found["clock"][key] >= 0 for key in CLOCK):
            raise CheckpointError(f"checkpoint {self.folder.uri}: meta.json says nothing of where it stands (clock)")
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
        except StorageError:
            raise
        except OSError as error:
            raise CheckpointError(f"checkpoint {self.folder.uri}: {name} cannot be read: {error}") from error
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
        with self._decoding(f"{name}.safetensors") as content:
            found: dict[str, Tensor] = load(content)
            ties: dict[str, str] = self.meta["ties"].get(name, {})
            return {**found, **{alias: found[original] for alias, original in ties.items()}}

    def training(self) -> dict[str, Any]:
        """Optimisers and the rest of what resumes."""
        with self._decoding("training.pt") as content:
            with open_zip(content):  # torch reads members that are packed too, as many gigabytes as they say
                pass
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)  # type: ignore[no-any-return]

    @contextlib.contextmanager
    def _decoding(self, name: str) -> Iterator[bytes]:
        """The content of a file whose checksum holds, to be decoded inside.

        Raises:
            CheckpointError: it is damaged, or is not what its name says, whatever library finds that out.
        """
        content = self._content(name)
        try:
            yield content
        except MemoryError:
            raise
        except Exception as error:
            raise CheckpointError(f"checkpoint {self.folder.uri}: {name} is damaged: {error}") from error


def write(
    parent: Folder,
    name: str,
    *,
    networks: Mapping[str, Mapping[str, Tensor]],
    training: Mapping[str, Any],
    meta: Mapping[str, Any],
) -> Checkpoint:
    """Store a checkpoint as `parent/name`; it counts once this returns. What fails leaves nothing behind.

    Raises:
        StorageError: the storage is full, read-only or unreachable.
        CheckpointError: a weight is not finite.
    """
    for network, state in networks.items():
        _check_finite(network, state)
    folder = parent.child(name)
    try:
        _write_files(folder, networks, training, meta)
    except Exception:
        # Half a checkpoint only takes room, which may be what is lacking.
        with contextlib.suppress(OSError, StorageError):
            folder.delete()
        raise
    return Checkpoint(folder)


def _write_files(
    folder: Folder, networks: Mapping[str, Mapping[str, Tensor]], training: Mapping[str, Any], meta: Mapping[str, Any]
) -> None:
    ties, checksums = {}, {}
    for network, state in networks.items():
        untied, ties[network] = _untie(state)
        checksums[f"{network}.safetensors"] = _put(folder, f"{network}.safetensors", save(untied))
    buffer = io.BytesIO()
    torch.save(dict(training), buffer)
    checksums["training.pt"] = _put(folder, "training.pt", buffer.getvalue())
    described = {"format": FORMAT, **meta, "ties": ties, "checksums": checksums}
    described[OWN_CHECKSUM] = _checksum(_canonical(described))
    folder.write("meta.json", (json.dumps(described, indent=1) + "\n").encode())


def stored(parent: Folder) -> list[Checkpoint]:
    """Every checkpoint that was finished, oldest first."""
    return [checkpoint for checkpoint in _named(parent) if checkpoint.folder.exists("meta.json")]


def newest(parent: Folder, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole; damaged ones after it are named through `warn`. None where none is stored.

    Raises:
        CheckpointError: some are stored and none can be used; whoever goes on from here would start from nothing.
    """
    return _newest(parent, Checkpoint.verify, warn)


def newest_described(parent: Folder) -> Checkpoint | None:
    """The newest checkpoint whose meta is whole, its other files unread; None where none is stored.

    Raises:
        CheckpointError: some are stored and no meta can be used.
    """
    return _newest(parent, lambda checkpoint: checkpoint.meta, lambda text: None)


def _newest(parent: Folder, look: Callable[[Checkpoint], object], warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint at which `look` does not raise CheckpointError."""
    refused: list[str] = []
    for checkpoint in reversed(stored(parent)):
        try:
            look(checkpoint)
        except CheckpointError as error:
            refused.append(str(error))
            continue
        if refused:
            warn(f"{'; '.join(refused)}; using the one before it")
        return checkpoint
    if refused:
        raise CheckpointError(f"{'; '.join(refused)}; no other checkpoint is stored")
    return None


def prune(parent: Folder, *, last: int, best: int, metric: str | None, mode: str) -> None:
    """Delete all but the `last` newest checkpoints and the `best` by a metric in their meta, and what an attempt that
    died left half written. One whose meta cannot be used (damaged, or of a newer format) is left alone."""
    # By attempt first: what an earlier attempt has beyond where a later one began was found damaged.
    named = sorted(_named(parent), key=lambda checkpoint: _position(checkpoint.name)[::-1])
    described = [checkpoint for checkpoint in named if _is_described(checkpoint)]
    keep = {checkpoint.name for checkpoint in described[-last:]}
    keep |= {checkpoint.name for checkpoint in ranked(described, metric, mode)[:best]}
    for checkpoint in described:
        if checkpoint.name not in keep:
            checkpoint.folder.delete("meta.json")
            checkpoint.folder.delete()
    for checkpoint in named[: named.index(described[-1])] if described else []:
        if not checkpoint.folder.exists("meta.json"):
            checkpoint.folder.delete()


def ranked(checkpoints: list[Checkpoint], metric: str | None, mode: str) -> list[Checkpoint]:
    """Those that carry the metric, best first; those whose meta cannot be used are passed over."""
    scored = [c for c in checkpoints if _is_described(c) and metric in c.meta["metrics"]]
    sign = 1 if mode == "min" else -1
    return sorted(scored, key=lambda c: sign * float(c.meta["metrics"][metric]))


def _named(parent: Folder) -> list[Checkpoint]:
    """Every folder that has a checkpoint's name, whatever it holds, in the order of samples and attempts."""
    found = [Checkpoint(parent.child(name)) for name in parent.names() if _position(name) != NO_POSITION]
    return sorted(found, key=lambda checkpoint: _position(checkpoint.name))


def _is_described(checkpoint: Checkpoint) -> bool:
    try:
        checkpoint.meta  # noqa: B018
    except CheckpointError:
        return False
    return True


def average_name(sigma: float | None) -> str:
    """The name of a further average of the generator."""
    return f"{EMA}_{sigma:g}"


def name_of(seen: int, attempt: int) -> str:
    return f"{seen:012d}-a{attempt}"


def _position(name: str) -> tuple[int, int]:
    seen, _, attempt = name.partition("-a")
    return (int(seen), int(attempt)) if seen.isdecimal() and attempt.isdecimal() else NO_POSITION


def _put(folder: Folder, name: str, content: bytes) -> str:
    folder.write(name, content)
    return _checksum(content)


def _canonical(described: Mapping[str, Any]) -> bytes:
    """One spelling for equal content, whatever its order and white space in the file."""
    return json.dumps(described, sort_keys=True, separators=(",", ":")).encode()


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


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Load a network's weights.

    Raises:
        ValueError: names or shapes differ; the first differences are listed.
    """
    check_weights(module, tensors, name)
    module.load_state_dict(dict(tensors))


def check_weights(module: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Raises ValueError where weights are not those of a network, which may be on the meta device."""
    own = module.state_dict()
    differing = [key for key in own if key not in tensors or tensors[key].shape != own[key].shape]
    differing += [key for key in tensors if key not in own]
    if differing:
        shown = "; ".join(f"{key}: {_shape(own, key)} here, {_shape(tensors, key)} stored" for key in differing[:5])
        raise UsageError(f"{name}: the stored weights are of another network ({shown})")


def _shape(tensors: Mapping[str, Tensor], key: str) -> str:
    return "x".join(map(str, tensors[key].shape)) or "scalar" if key in tensors else "absent"
