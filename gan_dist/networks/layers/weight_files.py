"""Files of published weights: where torch keeps them, what they hold, and their checksum. Nothing is downloaded."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import torch


def weights_path(file: str, named: str | None) -> Path:
    """The path that a person names, or where torch keeps a download of that name."""
    if named:
        return Path(named).expanduser()
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
