"""Files of published weights: where they are looked for, what they hold, and their checksums. Nothing is downloaded."""

from __future__ import annotations

import hashlib
import os
import string
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from gan_dist.spec.paths import absolute_path


def weights_path(file: str, named: str | None, package: str = "") -> Path:
    """The path that a person names; else where an installed package has it, or torch keeps a download of that name.

    Args:
        package: the module of a package that brings the file, found without importing it.
    """
    if named:
        return absolute_path(named)
    if package and (spec := find_spec(package)) is not None:
        for root in spec.submodule_search_locations or ():
            if found := next(Path(root).rglob(file), None):
                return found
    # What torch.hub.get_dir says, without its import.
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser() / "hub" / "checkpoints" / file


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_tensors(path: Path) -> dict[str, Any]:
    """What a file of torch holds; it may hold nothing but tensors. Raises ValueError."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be read as weights of torch: {error.strerror}") from error
    except Exception as error:
        # What torch says of it runs over many lines, and advises to load what the file may do.
        wanted = "what torch.save wrote of a state_dict, and nothing but tensors"
        raise ValueError(f"{str(path)!r} cannot be read as weights of torch; they are {wanted}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{str(path)!r} holds a {type(found).__name__}, not the tensors of a state_dict by name")
    return found


LEAST_DIGITS = 8
SHOWN = 3


class PublishedWeights(NamedTuple):
    """A file of weights: which features need it, its name, where it is from, the first digits of its SHA-256, empty
    where none are published, and the module of a package that brings it."""

    features: str
    file: str
    origin: str
    checksum: str
    package: str = ""


def find_weights(known: PublishedWeights, named: str | None, checksum: str | None) -> Path:
    """The file, whose checksum holds. Nothing is downloaded.

    Args:
        named: its path; by default it is looked for where torch keeps downloads.
        checksum: first digits of the SHA-256 of another file than the published one.

    Raises:
        ValueError: it is not there, or is another file; the text says which file is wanted and where.
    """
    wanted = checksum or known.checksum
    path = weights_path(known.file, named, known.package)
    who = f"features '{known.features}'"
    if known.package and not named and not path.is_file():
        raise ValueError(f"{who} needs weights that a package brings: {known.origin}; without it use features: random")
    if not path.is_file():
        raise ValueError(
            f"{who} needs the weights {known.file}, and {str(path)!r} is not there; download it from {known.origin} "
            f"to that path, or name it: features: {{use: {known.features}, weights: FILE}}. Without it use features: "
            "random"
        )
    if not wanted:
        raise ValueError(
            f"{who}: nobody has published a checksum of {known.file}; give the first {LEAST_DIGITS} digits of your "
            f"file's SHA-256 (sha256sum {path}), which will be in the number's name: "
            f"features: {{use: {known.features}, checksum: ...}}"
        )
    if len(wanted) < LEAST_DIGITS or set(wanted) - set(string.hexdigits.lower()):
        raise ValueError(
            f"checksum: {wanted!r} must be the first {LEAST_DIGITS} or more digits of a SHA-256, 0-9 and a-f"
        )
    found = sha256_of(path)
    if not found.startswith(wanted):
        meant = f"is not {known.file}" if not checksum else "is another file or damaged"
        raise ValueError(f"{who}: {str(path)!r} {meant}: its SHA-256 does not begin with {wanted}, but {found[:16]}")
    return path


def store_weights(tensors: Mapping[str, Any], network: nn.Module, path: Path) -> None:
    """Give a network built on the meta device its weights. Raises ValueError where they are those of another."""
    wanted = {name: one.shape for name, one in network.state_dict().items()}
    wrong = [name for name, shape in wanted.items() if name not in tensors or tensors[name].shape != shape]
    if wrong:
        raise ValueError(
            f"{str(path)!r} holds the weights of another network: {len(wrong)} of {len(wanted)} are absent or of "
            f"another shape, first {', '.join(wrong[:SHOWN])}"
        )
    network.load_state_dict({name: tensors[name] for name in wanted}, assign=True)
