"""Files of published weights: where they are looked for, what they hold, and their checksums. `gan-dist download` is
what fetches them."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import nn

from gan_dist.data.downloads import hub_checkpoints, weights_file
from gan_dist.spec.paths import absolute_path


def weights_path(file: str, named: str | None, package: str = "") -> Path:
    """The path that a person names; else where an installed package has it, or `gan-dist download` and torch put it.

    Args:
        package: the module of a package that brings the file, found without importing it.
    """
    if named:
        return absolute_path(named)
    if package and (spec := find_spec(package)) is not None:
        for root in spec.submodule_search_locations or ():
            if found := next(Path(root).rglob(file), None):
                return found
    return hub_checkpoints() / file


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_tensors(path: Path) -> dict[str, Any]:
    """What a file of safetensors or of torch holds; it may hold nothing but tensors. Raises ValueError."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be read as weights of torch: {error.strerror}") from error
    except Exception as error:
        # What torch says of it runs over many lines, and advises to load what the file may do.
        wanted = "safetensors, or what torch.save wrote of a state_dict, and nothing but tensors"
        raise ValueError(f"{str(path)!r} cannot be read as weights of torch; they are {wanted}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{str(path)!r} holds a {type(found).__name__}, not the tensors of a state_dict by name")
    return found


LEAST_DIGITS = 8
SHOWN = 3


class PublishedWeights(NamedTuple):
    """A file of weights: which features need it, its name, how it is got, the first digits of its SHA-256, and the
    module of a package that brings it."""

    features: str
    file: str
    origin: str
    checksum: str
    package: str = ""


def downloadable(name: str) -> PublishedWeights:
    """What `gan-dist download NAME` fetches, for the features of that name."""
    file = weights_file(name)
    return PublishedWeights(name, file.name, f"gan-dist download {name}", file.checksum.partition(":")[2])


def find_weights(known: PublishedWeights, named: str | None, checksum: str | None) -> Path:
    """The file, whose checksum holds. Nothing is downloaded.

    Args:
        named: its path; by default it is looked for where `gan-dist download` and torch put it.
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
            f"{who} needs the weights {known.file}, and {str(path)!r} is not there; get them: {known.origin}, or name "
            f"a file: features: {{use: {known.features}, weights: FILE}}. Without it use features: random"
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
